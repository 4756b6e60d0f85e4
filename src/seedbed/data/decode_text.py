"""Text from bytes: decoding, control characters, Unicode normal forms, and what makes a text unusable."""

from __future__ import annotations

import html
import re
import statistics
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from seedbed.core.settings import Settings
from seedbed.data.files import suffix_of
from seedbed.data.rows import Raw, Row, Unreadable, number

SUFFIXES = frozenset({".txt", ".text", ".md"})
MAX_BAD_SHARE = 0.2  # of control and replacement characters, before a text counts as binary
MAX_PERIOD = 13  # a text that is one phrase of at most so many words, repeated ...
MIN_REPEATS = 32  # ... at least so often, teaches nothing
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
# Normal forms sort runs of combining marks in quadratic time: 50,000 of them take seconds, a million an hour.
_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u064b-\u065f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{256}"
)
_BLANKS = bytes.maketrans(b"\t\n\v\f\r", b" " * 5)
_PREVIEW_CHARS = 400
_HEAD_CHARS = 1000


def sniff(values: Path | Sequence[object]) -> bool:
    """Whether a file, by its name, or values of a column are text."""
    if isinstance(values, Path):
        return suffix_of(values) in SUFFIXES
    return bool(len(values)) and all(isinstance(value, str | bytes) for value in values)


def read(row: Row, settings: Settings, shape: tuple[int, ...] = ()) -> str:
    """The text of a row: UTF-8, control characters dropped, line ends as line feeds, normal form C.

    Raises:
        Unreadable: with the reason.
    """
    text = _decode(row.raw)
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    found = len(text)
    if _CONTROL.search(text):
        text = _CONTROL.sub("", text)
    bad = found - len(text) + text.count("\ufffd")
    if bad > MAX_BAD_SHARE * found and text:
        raise Unreadable(f"{bad:,} of {found:,} characters are control or replacement characters: not text")
    if not text.isascii():
        if _MARKS.search(text):
            raise Unreadable("more than 255 combining marks in a row")
        text = unicodedata.normalize("NFC", text)
    if 0 < len(text.strip()) < settings.data.min_chars:
        raise Unreadable(f"shorter than min_chars = {settings.data.min_chars}")
    return text


def _decode(raw: Raw) -> str:
    if isinstance(raw, str):
        if raw.isascii():
            return raw
        try:  # undecodable bytes of a table arrive as lone surrogates
            raw = raw.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise Unreadable(f"half of a surrogate pair at character {error.start + 1:,}") from error
    assert isinstance(raw, bytes), "a text row holds text or bytes"
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        place = f"byte 0x{raw[error.start]:02x} at position {error.start + 1:,}"
        raise Unreadable(f"not UTF-8 ({place}){_likely_encoding(raw, error.start)}") from error


def _likely_encoding(raw: bytes, start: int) -> str:
    around = raw[max(0, start - 1) : start + 2]
    letters = sum(chr(byte).isalpha() for byte in around)
    window = raw[max(0, start - 100) : start + 100]
    rare = sum(byte >= 0x80 for byte in window) < 0.3 * len(window)  # else it is a script of its own, like GB 18030
    if raw[start] >= 0xC0 and letters >= 2 and rare:
        return "; it looks like Latin-1 or Windows-1252: iconv -f WINDOWS-1252 -t UTF-8"
    return ""


def fold(content: str) -> bytes:
    """What two texts must share to be the same: case, compatibility forms and the width of blanks do not count."""
    if content.isascii():
        folded = content.lower().encode()
    else:
        folded = unicodedata.normalize("NFKC", content).casefold().encode()
    folded = folded.translate(_BLANKS).strip()
    while b"  " in folded:
        folded = folded.replace(b"  ", b" ")
    return folded


def rule(content: str) -> str | None:
    """The rule that excludes a readable text, or None."""
    if not content.strip():
        return "empty text"
    head = content[:_HEAD_CHARS].split()
    if len(head) > 1 and not _repeats(head[:-1], 2):  # the last word may be cut
        return None
    words = content.split()
    if _repeats(words if len(words) > 1 else words[0], MIN_REPEATS):
        return "one phrase repeated throughout"
    return None


def _repeats(items: Sequence[str], least: int) -> bool:
    """Whether the whole of it is one run of at most MAX_PERIOD items, at least so often."""
    longest = min(MAX_PERIOD, len(items) // least)
    return any(items[period] == items[0] and items[period:] == items[:-period] for period in range(1, longest + 1))


def working_shape(rows: Sequence[Row], settings: Settings) -> tuple[tuple[int, ...], str]:
    """Texts keep their length: no shape, nothing to say."""
    return (), ""


def fit(content: str, shape: tuple[int, ...], settings: Settings) -> str:
    """Texts keep their length."""
    return content


def pack(contents: list[str], shape: tuple[int, ...]) -> list[str]:
    """All texts of a data set, as they are kept."""
    return contents


def profile(items: Sequence[str]) -> dict[str, object]:
    """What a planner asks of texts: how many, how long (in characters), of what script.

    Args:
        items: texts as `read` returns them.
    """
    lengths = [len(item) for item in items] or [0]
    sample = "".join(item[:2000] for item in items[:: max(1, len(items) // 200)])
    letters = [character for character in sample if character.isalpha()]
    latin = sum(character < "\u0250" for character in letters)
    return {
        "num_items": len(items),
        "chars": sum(lengths),
        "median_chars": int(statistics.median(lengths)),
        "longest_chars": max(lengths),
        "latin_share": latin / max(1, len(letters)),
        "blank_share": sum(character.isspace() for character in sample) / max(1, len(sample)),
    }


def baseline(items: Sequence[str]) -> list[str]:
    """What a classic model is given: the texts themselves, for it to cut into n-grams."""
    return list(items)


def preview(raw: object) -> str:
    """The beginning of a text as HTML."""
    text = str(raw)
    cut = f" … ({number(len(text), 'character')})" if len(text) > _PREVIEW_CHARS else ""
    return html.escape(text[:_PREVIEW_CHARS]) + cut
