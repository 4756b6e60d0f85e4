"""CSV and TSV, row by row with its line number, so that a broken row costs that row and no more."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from seedbed.data.files import MAX_TEXT_BYTES, Piece, lines, suffix_of
from seedbed.data.rows import KEPT_BYTES, Quarantined, Unreadable

HEAD_LINES = 1000
_DELIMITERS = (",", "\t", ";", "|")
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?%?\s*")
_LONGEST_NAME = 64
_FEW = 50
Quoting = Literal[0, 1, 2, 3]


class Dialect(NamedTuple):
    """How a file marks its cells.

    Attributes:
        delimiter: one character.
        quoted: whether a quotation mark at the start of a cell encloses it; False: it is a character like others.
    """

    delimiter: str
    quoted: bool


class Head(NamedTuple):
    """What the first rows of a delimited file tell of all of them.

    Attributes:
        dialect: how cells are marked.
        columns: names from its first row, or "column1" ... where that holds data; none in a file without rows.
        header: whether the first row was names.
    """

    dialect: Dialect
    columns: list[str]
    header: bool


class _Feed:
    """The lines of a file for csv.reader, which cannot say itself where a row began."""

    def __init__(self, pieces: Iterator[Piece], name: str, broken: list[Quarantined]) -> None:
        self.pieces, self.name, self.broken = pieces, name, broken
        self.last = 0

    def __iter__(self) -> Iterator[str]:
        try:
            for piece in self.pieces:
                self.last = piece.number
                if piece.too_long:
                    self.broken.append(too_long(f"{self.name}:{piece.number}", piece))
                else:
                    yield piece.data.decode("utf-8", "surrogateescape") + "\n"
        except Unreadable as error:
            key = f"{self.name}:{self.last + 1}" if self.last else self.name
            self.broken.append(Quarantined(key, str(error)))


def too_long(key: str, piece: Piece) -> Quarantined:
    """The entry for a line, cell or paragraph beyond the limit."""
    reason = f"longer than {MAX_TEXT_BYTES >> 20} MiB without a break ({piece.size:,} bytes)"
    return Quarantined(key, reason, piece.data[:KEPT_BYTES])


def read_head(path: Path) -> Head:
    """Look at the first rows of a CSV or TSV file, also compressed."""
    first = [piece.data for piece in islice(_sound(lines(path)), HEAD_LINES)]
    dialect = sniff_dialect(first, _DELIMITERS if suffix_of(path) == ".csv" else ("\t",))
    head = [cells for _, cells in islice(_records(path, "", dialect, []), HEAD_LINES)]
    if not head:
        return Head(dialect, [], False)
    header = has_header(head)
    width = len(head[0]) if header else Counter(map(len, head)).most_common(1)[0][0]
    columns = [cell.strip() if header else "" for cell in (head[0] if header else [""] * width)]
    return Head(dialect, _distinct([name or f"column{at}" for at, name in enumerate(columns, 1)]), header)


def read_delimited(path: Path, name: str, head: Head, broken: list[Quarantined]) -> Iterator[tuple[int, list[str]]]:
    """Read a CSV or TSV file; UTF-8 errors inside a cell stay in it as lone surrogates, for its reader to refuse.

    Args:
        path: the file, also as .gz.
        name: of the file in keys.
        head: what `read_head` found.
        broken: receives the rows that have another number of cells, or cannot be cut out.

    Yields:
        the line each good row begins at, from 1, and its cells, as many as there are columns.
    """
    width = len(head.columns)
    for at, (line, cells) in enumerate(_records(path, name, head.dialect, broken)):
        if at == 0 and head.header:
            continue
        if len(cells) == width:
            yield line, cells
        else:
            broken.append(_ragged(f"{name}:{line}", cells, width, head.dialect))


def _records(path: Path, name: str, dialect: Dialect, broken: list[Quarantined]) -> Iterator[tuple[int, list[str]]]:
    feed = _Feed(lines(path), name, broken)
    quoting: Quoting = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    before = csv.field_size_limit(MAX_TEXT_BYTES)
    try:
        reader = csv.reader(feed, delimiter=dialect.delimiter, quoting=quoting)
        while True:
            first = feed.last + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                reason = f"{error} (lines {first:,} to {feed.last:,}): a quotation mark is not closed"
                broken.append(Quarantined(f"{name}:{first}", reason))
                continue
            if cells is None:
                return
            if cells:
                yield first, cells
    finally:
        csv.field_size_limit(before)


def _ragged(key: str, cells: list[str], width: int, dialect: Dialect) -> Quarantined:
    kept = dialect.delimiter.join(cells).encode("utf-8", "surrogateescape")[:KEPT_BYTES]
    reason = f"{len(cells)} cells where {width} were expected"
    if any(cell.count("\n") > _FEW for cell in cells):
        reason += ": a quotation mark is not closed"
    return Quarantined(key, reason, kept)


def _sound(pieces: Iterator[Piece]) -> Iterator[Piece]:
    try:
        yield from (piece for piece in pieces if not piece.too_long)
    except Unreadable:
        return  # it is reported when the rows are read


def _distinct(columns: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    names = []
    for column in columns:
        seen[column] += 1
        names.append(column if seen[column] == 1 else f"{column}.{seen[column]}")
    return names


def sniff_dialect(head: list[bytes], delimiters: Sequence[str] = _DELIMITERS) -> Dialect:
    """The delimiter that cuts most of the first lines into one number of cells, and whether quotes enclose cells.

    Args:
        head: the first lines of the file.
        delimiters: those to choose from, the likeliest first.
    """
    text = [line.decode("utf-8", "replace") for line in head if line.strip()]
    best, most = Dialect(delimiters[0], True), 0.0
    for delimiter in delimiters:
        quoted = _quotes_enclose(text, delimiter)
        quoting: Quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        try:
            widths = Counter(map(len, csv.reader((line + "\n" for line in text), delimiter=delimiter, quoting=quoting)))
        except csv.Error:
            continue
        ((width, count),) = widths.most_common(1) or [(1, 0)]
        agreed = count / max(1, widths.total())
        if width > 1 and agreed > most + 0.05:  # the earlier delimiter wins when they agree about as well
            best, most = Dialect(delimiter, quoted), agreed
    return best


def _quotes_enclose(text: list[str], delimiter: str) -> bool:
    """False where some cell begins with a quotation mark that the same line does not close: then it is a character.

    Commas are common inside cells, and line ends too, so that only for tabs a single line can tell.
    """
    if delimiter != "\t":
        return True
    cells = [cell for line in text for cell in line.split(delimiter) if cell.startswith('"')]
    inner = (cell[1:-1].replace('""', "") for cell in cells)
    return all(cell.endswith('"') and len(cell) > 1 for cell in cells) and not any('"' in cell for cell in inner)


def has_header(head: list[list[str]]) -> bool:
    """Whether the first row names the columns: short, distinct, no numbers, and not values that occur again below."""
    first, *rest = head
    names = [cell.strip() for cell in first]
    if names == [str(at) for at in range(len(names))] and len(names) > 1:  # as pandas numbers columns
        return True
    if any(_NUMBER.fullmatch(name) or len(name) > _LONGEST_NAME for name in names) or len(set(names)) < len(names):
        return False
    for at, name in enumerate(names):
        below = [row[at].strip() for row in rest if at < len(row)]
        if name and len(set(below)) <= min(_FEW, len(below) // 2) and name in below:
            return False
    return True
