"""JSON files that are one value: a list of objects, read item by item in bounded memory, or columns."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from seedbed.data.files import MAX_TEXT_BYTES, damage_of, stem_of, suffix_of, utf8_chunks
from seedbed.data.rows import Quarantined, Unreadable
from seedbed.data.tables import Table, Twice, from_columns, from_records, open_table, unique_keys, why_no_row

SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
MAX_OBJECT_BYTES = 256 << 20  # of a file that is one object: it can only be read whole
_LONGEST_NUMBER = 4000  # digits; Python itself refuses more than 4,300
_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder(
    parse_int=lambda digits: int(digits) if len(digits) < _LONGEST_NUMBER else digits, object_pairs_hook=unique_keys
)


def open_json(path: Path, name: str, room: int) -> Table:
    """Look at a JSON file: a list of objects, an object of columns, an object around one list, or JSON Lines.

    Args:
        path: the file.
        name: what its keys begin with.
        room: bytes that may be held of JSON Lines; the other forms are always held.

    Raises:
        Unreadable: it is none of these, or damaged from its beginning.
    """
    first = next((chunk for chunk in utf8_chunks(path) if chunk.strip()), b"").lstrip()
    if first[:1] == b"[":
        return _open_list(path, name)
    if first[:1] == b"{" and suffix_of(path) == ".json" and not _is_lines(first):
        return _open_object(path, name)
    return open_table(path, name, room)


def _is_lines(first: bytes) -> bool:
    """Whether the first line is a whole object, and something follows it."""
    line, _, rest = first.partition(b"\n")
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return rest.lstrip()[:1] == b"{"  # a broken line costs itself only
    return bool(rest.strip())


def _open_list(path: Path, name: str) -> Table:
    values: list[object] = []
    end = ""
    try:
        values.extend(_items(path))
    except Unreadable as error:
        if not values:
            raise
        end = str(error)
    table = _table(values, path, name)
    if end:
        table.broken.append(Quarantined(f"{name}:{len(values) + 1} and after", end))
    return table


def _table(values: Sequence[object], path: Path, name: str) -> Table:
    """The objects among some values as a table; the others are broken rows."""
    records = [value for value in values if isinstance(value, dict)]
    numbers = [number for number, value in enumerate(values, 1) if isinstance(value, dict)]
    broken = [
        Quarantined(f"{name}:{number}", why_no_row(value))
        for number, value in enumerate(values, 1)
        if not isinstance(value, dict)
    ]
    return replace(from_records(records, name, numbers), stem=stem_of(path), broken=broken)


def _items(path: Path) -> Iterator[object]:
    """The items of a list, one at a time.

    Raises:
        Unreadable: what follows is no JSON, nested too deep, or one item is too long.
    """
    pieces = _texts(path)
    text, at, ended = next(pieces).lstrip(_BLANK), 1, False
    while True:
        while at < len(text) and text[at] in _BLANK + ",":
            at += 1
        if text[at : at + 1] == "]":
            if (text[at + 1 :] + next(pieces, "")).strip(_BLANK):
                raise Unreadable("something follows the end of the JSON list")
            return
        try:
            value, end = _DECODER.raw_decode(text, at)
        except RecursionError as error:
            raise Unreadable("JSON nested too deep") from error
        except json.JSONDecodeError as error:
            if ended or len(text) - at > MAX_TEXT_BYTES:
                raise Unreadable(f"no valid JSON, or cut off: {damage_of(error)}") from error
            end = len(text)
        if end < len(text) or ended:
            yield value
            at = end
        else:  # the item is cut, or might go on, as numbers do: twice as much is looked at
            left = text[at:]
            text, at = left, 0
            while len(text) < 2 * len(left) + 1 and not ended:
                piece = next(pieces, "")
                text, ended = text + piece, not piece


def _texts(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for chunk in utf8_chunks(path):
        if text := decoder.decode(chunk):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def _open_object(path: Path, name: str) -> Table:
    held = bytearray()
    for chunk in utf8_chunks(path):
        held += chunk
        if len(held) > MAX_OBJECT_BYTES:
            raise Unreadable(f"one JSON object of more than {MAX_OBJECT_BYTES >> 20} MiB: write it as JSON Lines")
    try:
        value = _DECODER.decode(held.decode("utf-8", "surrogateescape"))
    except RecursionError as error:
        raise Unreadable("JSON nested too deep") from error
    except ValueError as error:
        raise Unreadable(f"no valid JSON: {damage_of(error)}") from error
    if isinstance(value, Twice):
        raise Unreadable(why_no_row(value))
    lists = [part for part in value.values() if isinstance(part, list) and part and isinstance(part[0], dict)]
    if len(lists) == 1:
        return _table(lists[0], path, name)
    columns = {key: list(part.values()) if isinstance(part, dict) else part for key, part in value.items()}
    if not any(isinstance(part, list) for part in columns.values()):
        return _table([value], path, name)
    if len({len(part) if isinstance(part, list) else -1 for part in columns.values()}) > 1:
        raise Unreadable("one JSON object that is neither rows nor columns: write a list of objects, or JSON Lines")
    return replace(from_columns(columns, name), stem=stem_of(path))
