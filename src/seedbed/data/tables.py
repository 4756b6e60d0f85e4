"""Tables as columns: Parquet, CSV, TSV, JSON Lines, and columns that are in memory already."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seedbed.core.errors import DataError
from seedbed.data.delimited import read_delimited, read_head, too_long
from seedbed.data.files import lines, most_decoded, reason_of, require_bounded, stem_of, suffix_of
from seedbed.data.rows import KEPT_BYTES, Quarantined, Unreadable
from seedbed.data.values import flat_columns, values_of

SUFFIXES = frozenset({".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json"})
SAMPLE_ROWS = 1000
SAMPLE_CHARS = 4096
HELD_BYTES = 128 << 20  # tables that take more are read again, block by block, instead of being held
ROW_BYTES = 256  # what a row takes besides its text, about
MAX_CELLS = 50_000_000  # of rows whose keys differ; a table that has them all written out may have more
_BATCH_ROWS = 4096
_BATCH_BYTES = 32 << 20
Columns = dict[str, list[object]]


class Block(NamedTuple):
    """Consecutive rows of a table.

    Attributes:
        numbers: what follows the colon in the key of each row.
        columns: name -> value of each row.
    """

    numbers: Sequence[int]
    columns: Columns


@dataclass(frozen=True)
class Table:
    """A table that can be looked at before it is read.

    Attributes:
        name: in keys.
        stem: what may name its split.
        columns: names, in order.
        num_rows: good rows.
        num_bytes: about what its rows take when they are held.
        held: whether they are, or may be.
        sample: the first values of each column that holds scalars.
        blocks: (names of columns, number of rows to leave out) -> the rows that follow, block by block.
        broken: rows that could not be cut out.
        header: False where the names of the columns are ours.
        identity: tells whether a file changed: its size and its time of change; empty for what is in memory.
        image: the column that holds files of images, None without one.
    """

    name: str
    stem: str
    columns: list[str]
    num_rows: int
    num_bytes: int
    held: bool
    sample: Columns
    blocks: Callable[[list[str], int], Iterator[Block]]
    broken: list[Quarantined] = field(default_factory=list)
    header: bool = True
    identity: str = ""
    image: str | None = None


def open_table(path: Path, name: str, room: int = HELD_BYTES) -> Table:
    """Look at a table.

    Args:
        path: the file.
        name: what its keys begin with.
        room: bytes that may be held of it; a longer one is read again, block by block, when its rows are wanted.

    Raises:
        Unreadable: the whole file cannot be used.
    """
    kind = suffix_of(path)
    if kind == ".parquet":
        return _open_parquet(path, name, room)
    if kind in (".jsonl", ".ndjson", ".json"):
        return _open_json_lines(path, name, room)
    return open_delimited(path, name, room)


def from_columns(columns: Mapping[str, Sequence[object]], name: str) -> Table:
    """A table of columns in memory.

    Raises:
        DataError: their lengths differ.
    """
    held: Columns = {str(key): list(values) for key, values in columns.items()}
    lengths = {key: len(values) for key, values in held.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            "The columns differ in length.",
            found=", ".join(f'"{key}": {length:,}' for key, length in lengths.items()),
            fix="Give every column one value for each row; None where there is none.",
        )
    num_rows = next(iter(lengths.values()), 0)
    return _in_memory(name, name, held, range(1, num_rows + 1))


def from_records(records: Sequence[Mapping[str, object]], name: str, numbers: Sequence[int] | None = None) -> Table:
    """A table of a list of dictionaries; a missing key is an empty cell.

    Args:
        records: its rows.
        name: what its keys begin with.
        numbers: what follows the colon in the key of each row; counted from 1 by default.
    """
    numbers = range(1, len(records) + 1) if numbers is None else numbers
    return _in_memory(name, name, _columns_of(records, _names(records)), numbers)


def _names(records: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(str(key) for record in records for key in record))


def _columns_of(records: Sequence[Mapping[str, object]], names: Sequence[str]) -> Columns:
    return {name: [record.get(name) for record in records] for name in names}


def _in_memory(name: str, stem: str, columns: Columns, numbers: Sequence[int]) -> Table:
    def blocks(names: list[str], first: int) -> Iterator[Block]:
        yield Block(numbers[first:], {key: columns[key][first:] if first else columns[key] for key in names})

    return Table(name, stem, list(columns), len(numbers), 0, True, sample_of(columns), blocks)


def sample_of(columns: Columns) -> Columns:
    """The first values of columns of scalars, long ones cut: enough to tell what a column is."""
    sample = {key: [_cut(value) for value in values[:SAMPLE_ROWS]] for key, values in columns.items()}
    return {key: values for key, values in sample.items() if not any(isinstance(v, list | dict) for v in values)}


def _cut(value: object) -> object:
    return value[:SAMPLE_CHARS] if isinstance(value, str | bytes) else value


def open_delimited(path: Path, name: str, room: int = HELD_BYTES) -> Table:
    """Read a CSV or TSV file, whatever its ending."""
    head = read_head(path)
    place = {column: at for at, column in enumerate(head.columns)}

    def records(broken: list[Quarantined]) -> Iterator[tuple[int, list[str]]]:
        return read_delimited(path, name, head, broken)

    def columns_of(rows: Sequence[list[str]], names: Sequence[str]) -> Columns:
        return {column: [row[place[column]] for row in rows] for column in names}

    table = _counted(path, name, records, columns_of, lambda _: head.columns, room)
    return replace(table, header=head.header)


def _open_json_lines(path: Path, name: str, room: int) -> Table:
    def records(broken: list[Quarantined]) -> Iterator[tuple[int, Mapping[str, object]]]:
        for number, value in _jsonvalues_of(path, name, broken):
            if isinstance(value, dict):
                yield number, value
            else:
                broken.append(Quarantined(f"{name}:{number}", why_no_row(value)))

    return _counted(path, name, records, _columns_of, _names, room)


Record = TypeVar("Record", list[str], Mapping[str, object])


def _counted(
    path: Path,
    name: str,
    records: Callable[[list[Quarantined]], Iterator[tuple[int, Record]]],
    columns_of: Callable[[Sequence[Record], Sequence[str]], Columns],
    names_of: Callable[[Iterable[Record]], list[str]],
    room: int,
) -> Table:
    """Read a file of records once: held where it is short, else counted, and read again when its rows are wanted."""
    broken: list[Quarantined] = []
    numbers: list[int] = []
    held: list[Record] = []
    names: dict[str, None] = {}
    num_rows = num_bytes = 0
    identity = identity_of(path)  # before it is read: what changes meanwhile shows later
    for batch in _batched(records(broken)):
        num_rows += len(batch)
        num_bytes += sum(_size(record) for _, record in batch)
        names.update(dict.fromkeys(names_of(record for _, record in batch)))
        if num_bytes <= room or len(held) < SAMPLE_ROWS:
            numbers += [number for number, _ in batch]
            held += [record for _, record in batch]
        elif len(held) > SAMPLE_ROWS:
            del held[SAMPLE_ROWS:]
    columns = list(names) or names_of([])
    if len(columns) * len(held) > max(MAX_CELLS, num_bytes):
        raise Unreadable(f"{len(columns):,} different keys in {len(held):,} rows: most cells would be empty")
    if num_rows == len(held):
        table = _in_memory(name, stem_of(path), columns_of(held, columns), numbers)
        return replace(table, num_bytes=num_bytes, broken=broken, identity=identity)

    def blocks(wanted: list[str], first: int) -> Iterator[Block]:
        for batch in _batched(islice(records([]), first, None)):
            yield Block([number for number, _ in batch], columns_of([record for _, record in batch], wanted))

    sample = sample_of(columns_of(held[:SAMPLE_ROWS], columns))
    return Table(name, stem_of(path), columns, num_rows, num_bytes, False, sample, blocks, broken, identity=identity)


def _jsonvalues_of(path: Path, name: str, broken: list[Quarantined]) -> Iterator[tuple[int, object]]:
    number = 0
    try:
        for piece in lines(path):
            number = piece.number
            key = f"{name}:{number}"
            if piece.too_long:
                broken.append(too_long(key, piece))
            elif piece.data.strip():
                try:
                    yield number, _JSON.decode(piece.data.decode())
                except RecursionError:
                    broken.append(Quarantined(key, "JSON nested too deep", piece.data[:KEPT_BYTES]))
                except UnicodeDecodeError as error:
                    broken.append(Quarantined(key, f"not UTF-8 at byte {error.start + 1:,}", piece.data[:KEPT_BYTES]))
                except ValueError as error:
                    broken.append(Quarantined(key, f"no valid JSON: {str(error)[:100]}", piece.data[:KEPT_BYTES]))
    except Unreadable as error:
        if number <= 1:
            raise
        broken.append(Quarantined(f"{name}:{number + 1}", str(error)))


def _open_parquet(path: Path, name: str, room: int) -> Table:
    try:
        identity = identity_of(path)
        most = most_decoded(path.stat().st_size)
        with pq.ParquetFile(path) as stored:
            coded = _coded(stored.metadata)
        with pq.ParquetFile(path, read_dictionary=coded) as stored:
            schema, num_rows = stored.schema_arrow, stored.metadata.num_rows
            groups = [stored.metadata.row_group(at) for at in range(stored.metadata.num_row_groups)]
            num_bytes = num_rows * ROW_BYTES + sum(group.total_byte_size for group in groups)
            require_bounded(num_bytes - num_rows * ROW_BYTES, most)
            starts = np.cumsum([0, *(group.num_rows for group in groups)])
            flat = flat_columns(schema)
            first = next(stored.iter_batches(SAMPLE_ROWS, columns=flat), None)
            sample = sample_of({key: values_of(first.column(key)) if first else [] for key in flat})
    except OSError as error:
        raise Unreadable(_parquet_reason(error)) from error
    except (pa.ArrowException, ValueError) as error:
        raise Unreadable(f"damaged Parquet file: {str(error).splitlines()[0][:200]}") from error

    def blocks(names: list[str], first: int) -> Iterator[Block]:
        group = int(np.searchsorted(starts, first, side="right")) - 1
        at, decoded = int(starts[group]), 0
        size = max(1, min(_BATCH_ROWS, _BATCH_BYTES * num_rows // max(num_bytes, 1)))
        try:
            with pq.ParquetFile(path, read_dictionary=coded) as stored:
                wanted = range(group, len(groups))
                for batch in stored.iter_batches(size, row_groups=wanted, columns=names) if wanted else ():
                    batch, at = batch.slice(max(first - at, 0)), at + batch.num_rows
                    numbers = range(at - batch.num_rows + 1, at + 1)
                    if batch.num_rows:
                        columns = {key: values_of(batch.column(key)) for key in names}
                        decoded += sum(len(v) for values in columns.values() for v in values if isinstance(v, bytes))
                        require_bounded(decoded, most)
                        yield Block(numbers, columns)
        except (OSError, pa.ArrowException) as error:
            raise Unreadable(f"damaged Parquet file: {str(error).splitlines()[0][:200]}") from error

    held = num_bytes <= room
    return Table(name, stem_of(path), schema.names, num_rows, num_bytes, held, sample, blocks, identity=identity)


def _coded(metadata: pq.FileMetaData) -> list[str]:
    """Columns of strings that are stored as a dictionary and numbers in it; decoded, 2 MB of them may become 20 GB."""
    coded: dict[str, None] = {}
    for group in range(metadata.num_row_groups):
        for at in range(metadata.num_columns):
            column = metadata.row_group(group).column(at)
            is_coded = any("DICTIONARY" in encoding for encoding in column.encodings)
            if is_coded and column.physical_type == "BYTE_ARRAY" and "." not in column.path_in_schema:
                coded[column.path_in_schema] = None
    return list(coded)


class Twice(NamedTuple):
    """What stands for a JSON object in which a key occurs twice: one of its values would be lost."""

    key: str


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object] | Twice:
    """A JSON object from its keys and values."""
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    return Twice(next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))


def why_no_row(value: object) -> str:
    """The reason why a JSON value is no row."""
    if isinstance(value, Twice):
        return f'the key "{value.key}" occurs twice'
    return f"not a JSON object but a {type(value).__name__}"


_JSON = json.JSONDecoder(object_pairs_hook=unique_keys)


def identity_of(path: Path) -> str:
    """What changes when a file does: its size and its time of change.

    Raises:
        Unreadable: it is not there.
    """
    try:
        known = path.stat()
    except OSError as error:
        raise Unreadable(reason_of(error)) from error
    return f"{known.st_size} {known.st_mtime_ns}"


def _batched(records: Iterator[tuple[int, Record]]) -> Iterator[list[tuple[int, Record]]]:
    """Some thousand records at a time, fewer of long ones."""
    batch: list[tuple[int, Record]] = []
    size = 0
    for record in records:
        batch.append(record)
        size += _size(record[1])
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(record: list[str] | Mapping[str, object]) -> int:
    """About how many bytes a record takes."""
    cells = record if isinstance(record, list) else record.values()
    return ROW_BYTES + sum(len(cell) for cell in cells if isinstance(cell, str))


def _parquet_reason(error: OSError) -> str:
    return reason_of(error) if error.errno else f"damaged Parquet file: {str(error).splitlines()[0][:200]}"
