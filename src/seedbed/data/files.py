"""From files to bounded pieces of bytes: lines, paragraphs, parts of long documents, in UTF-8."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

import pyarrow as pa

from seedbed.data.rows import KEPT_BYTES, Quarantined, TooLarge, Unreadable

CHUNK_BYTES = 1 << 20
MAX_TEXT_BYTES = 16 << 20  # of one line, paragraph or cell
PART_BYTES = 4 << 20  # longer documents are read as consecutive parts
MAX_INFLATION = 200  # decoded bytes per stored byte of whatever is compressed, once it is past FREE_INFLATED_BYTES
FREE_INFLATED_BYTES = 1 << 30
_XZ_MEMORY_BYTES = 256 << 20  # an .xz may ask for 4 GiB to be decoded; xz -9 needs 65 MiB

COMPRESSED = frozenset({".gz", ".zst", ".bz2", ".xz"})  # endings that may follow the ending of any text or table
IGNORED_NAMES = {"thumbs.db", "desktop.ini"}
MARKS = (  # the longer ones first: the UTF-32 mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Found(NamedTuple):
    """A file of the data.

    Attributes:
        path: where it lies.
        name: in keys, with "/" everywhere: relative to what was asked for, through the archive it was in.
    """

    path: Path
    name: str

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders, and the archive, it is in."""
        return tuple(self.name.split("/")[:-1])

    @property
    def base(self) -> str:
        """Its own name, without folders."""
        return self.name.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The ending that tells its kind, in lower case, below a .gz or the like."""
        return suffix_of(self.path)


class Piece(NamedTuple):
    """A run of bytes of a file.

    Attributes:
        number: of its first line, from 1; for parts of a document, of the part.
        data: UTF-8 as far as the file is; the first bytes only where the piece is too long.
        size: all its bytes; more than len(data) where it is too long to be used.
    """

    number: int
    data: bytes
    size: int

    @property
    def too_long(self) -> bool:
        """Whether only its beginning was kept."""
        return self.size > len(self.data)


def bare_name(path: Path) -> str:
    """The name of a file without the ending of a compression."""
    stem, dot, ending = path.name.rpartition(".")
    return stem if dot and stem and f".{ending.lower()}" in COMPRESSED else path.name


def suffix_of(path: Path) -> str:
    """The ending that tells the kind of a file, in lower case, below a .gz or the like."""
    return Path(bare_name(path).lower()).suffix


def stem_of(path: Path) -> str:
    """The name of a file without any ending of its kind."""
    return Path(bare_name(path)).stem


def shown(path: Path) -> str:
    """A path as text that can always be printed, with "/" everywhere."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def damage_of(error: Exception) -> str:
    """The first line of what a library says of a file it cannot read, short enough for a reason."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def reason_of(error: OSError) -> str:
    """An operating system's refusal as a reason, without the path."""
    return f"cannot be read: {error.strerror or error}"


def list_files(root: Path, name: str = "") -> tuple[list[Found], list[Quarantined]]:
    """All files below a folder in a stable order, hidden ones and the litter of desktops left out.

    Args:
        root: the folder.
        name: what the names of its files begin with, such as "archive.zip/".

    Returns:
        files, and what could not be listed or is no file.
    """
    found: list[Path] = []
    refused: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=refused.append):
        folders[:] = sorted(entry for entry in folders if not is_litter(entry))
        found.extend(Path(folder, entry) for entry in names if not is_litter(entry))
    broken = [Quarantined(shown(Path(str(error.filename))), reason_of(error)) for error in refused]
    files = []
    for path in sorted(found, key=lambda path: path.parts):
        try:
            reason = "" if path.is_file() else "not a file, or a link to nothing"  # a pipe would wait for ever
        except OSError as error:
            reason = reason_of(error)
        key = name + shown(path.relative_to(root))
        if reason:
            broken.append(Quarantined(key, reason))
        else:
            files.append(Found(path, key))
    return files, broken


def is_litter(name: str) -> bool:
    """Whether a file or folder, by its name, is hidden or left behind by a desktop."""
    return name.startswith(".") or name == "__MACOSX" or name.lower() in IGNORED_NAMES


def open_binary(path: Path) -> IO[bytes]:
    """Open for reading; what its ending says is compressed is decompressed, whatever stands before that ending."""
    ending = path.suffix.lower()
    if ending in (".gz", ".tgz"):
        return cast("IO[bytes]", gzip.open(path))
    if ending in (".bz2", ".tbz2", ".tbz"):
        return cast("IO[bytes]", bz2.open(path))
    stream = path.open("rb")
    if ending in (".zst", ".tzst"):
        return cast("IO[bytes]", pa.CompressedInputStream(stream, "zstd"))
    return cast("IO[bytes]", _Xz(stream)) if ending in (".xz", ".txz") else stream


class _Xz:
    """An .xz file in bounded memory, which `lzma.open` cannot promise."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder = self._fresh()
        self._left = b""

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=_XZ_MEMORY_BYTES)

    def read(self, size: int) -> bytes:
        while True:
            if self._decoder.eof:  # another stream may follow
                self._left = self._decoder.unused_data or self._stream.read(CHUNK_BYTES)
                if not self._left:
                    return b""
                self._decoder = self._fresh()
            elif self._decoder.needs_input and not self._left:
                self._left = self._stream.read(CHUNK_BYTES)
                if not self._left:
                    raise EOFError("it ends before its end mark")
            data, self._left = self._decoder.decompress(self._left, size), b""
            if data:
                return data

    def __enter__(self) -> _Xz:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def most_decoded(stored: int) -> int:
    """Bytes that so many stored bytes may become, whatever packed them."""
    return max(FREE_INFLATED_BYTES, stored * MAX_INFLATION)


def require_bounded(decoded: int, most: int) -> None:
    """Refuse to decode more than is allowed.

    Raises:
        TooLarge: it is more.
    """
    if decoded > most:
        raise TooLarge(f"decompresses to more than {most:,} bytes")


def chunks(path: Path, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The bytes of a file, decompressed, in pieces of at most `size`.

    Raises:
        Unreadable: the file cannot be opened, is damaged, or swells beyond measure.
    """
    read = 0
    kind = path.suffix.lower().removeprefix(".")
    try:
        most = most_decoded(path.stat().st_size)
        with open_binary(path) as stream:
            while chunk := stream.read(size):
                read += len(chunk)
                require_bounded(read, most)
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise Unreadable(f"damaged {kind} file: {damage_of(error)}") from error
    except OSError as error:
        told = reason_of(error) if error.errno else f"damaged {kind} file: {damage_of(error)}"
        raise Unreadable(told) from error


def utf8_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a text file as UTF-8: a byte-order mark is obeyed and dropped, nothing else is guessed.

    Raises:
        Unreadable: no text (many NUL bytes), or not what its byte-order mark says.
    """
    stream = chunks(path)
    first = next(stream, b"")
    encoding = next((name for mark, name in MARKS if first.startswith(mark)), None)
    if encoding == "utf-8-sig":
        first, encoding = first.removeprefix(codecs.BOM_UTF8), None
    if encoding is None:
        if first.count(0) > len(first) // 5:
            raise Unreadable("more than a fifth are NUL bytes: not text, or UTF-16 without a byte-order mark")
        yield first
        yield from stream
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        yield decoder.decode(first).encode()
        for chunk in stream:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise Unreadable(f"begins with the mark of {encoding.upper()} but is not: {error}") from error


def lines(path: Path, limit: int = MAX_TEXT_BYTES) -> Iterator[Piece]:
    """The lines of a text file without their ends, in memory bounded by `limit` whatever their length."""
    line, count, size = b"", 0, 0
    for chunk in utf8_chunks(path):
        *ended, rest = chunk.split(b"\n")
        for end in ended:
            count, size = count + 1, size + len(end)
            yield _piece(count, line + end if line else end, size, limit)
            line, size = b"", 0
        size += len(rest)
        line = line + rest if size <= limit else line[:KEPT_BYTES]
    if size:
        yield _piece(count + 1, line, size, limit)


def _piece(count: int, line: bytes, size: int, limit: int) -> Piece:
    if size > limit:
        return Piece(count, line[:KEPT_BYTES], size)
    line = line.removesuffix(b"\r")
    return Piece(count, line, len(line))


def paragraphs(path: Path, limit: int = MAX_TEXT_BYTES) -> Iterator[Piece]:
    """Runs of lines that are not blank, in memory bounded by `limit`."""
    held: list[bytes] = []
    first, size = 0, 0
    for line in lines(path, limit):
        if line.data.strip() or line.too_long:
            first = first if size else line.number
            size += line.size + bool(size)
            if size <= limit:
                held.append(line.data)
            else:
                del held[1:]
        elif size:
            yield _paragraph(first, held, size)
            held, size = [], 0
    if size:
        yield _paragraph(first, held, size)


def _paragraph(first: int, held: list[bytes], size: int) -> Piece:
    text = b"\n".join(held)
    return Piece(first, text if len(text) == size else text[:KEPT_BYTES], size)


def parts(path: Path, size: int = PART_BYTES) -> Iterator[Piece]:
    """A document in consecutive parts of at most `size` bytes, cut at a line end, else a space: no byte is lost."""
    held, count = b"", 0
    for chunk in utf8_chunks(path):
        held += chunk
        while len(held) > size:
            cut = _cut(held, size)
            count += 1
            yield Piece(count, held[:cut], cut)
            held = held[cut:]
    if held or not count:
        yield Piece(count + 1, held, len(held))


def _cut(data: bytes, size: int) -> int:
    for mark in (b"\n", b" "):
        if (at := data.rfind(mark, size // 2, size)) >= 0:
            return at + 1
    at = size
    while at > size - 4 and data[at] & 0xC0 == 0x80:  # not inside a character
        at -= 1
    return at
