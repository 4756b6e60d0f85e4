"""Tables as columns: Parquet, CSV, TSV, JSON Lines, and columns that are in memory already."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from seedbed.core.errors import DataError
from seedbed.data.delimited import read_delimited, too_long
from seedbed.data.files import lines, reason_of
from seedbed.data.rows import KEPT_BYTES, Quarantined, Unreadable

SUFFIXES = frozenset({".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json"})
SAMPLE_ROWS = 1000
_BATCH_ROWS = 4096
Columns = dict[str, list[object]]


@dataclass(frozen=True)
class Table:
    """A table that can be looked at before it is read.

    Attributes:
        name: in keys.
        stem: what may name its split.
        columns: names, in order.
        num_rows: good rows.
        sample: the first values of each column that holds scalars.
        load: names of columns -> their values, in full.
        key_numbers: what follows the colon in the key of each row.
        broken: rows that could not be cut out.
        header: False where the names of the columns are ours.
    """

    name: str
    stem: str
    columns: list[str]
    num_rows: int
    sample: Columns
    load: Callable[[list[str]], Columns]
    key_numbers: Sequence[int]
    broken: list[Quarantined] = field(default_factory=list)
    header: bool = True


def suffix_of(path: Path) -> str:
    """The ending that tells the kind of a file, below a .gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def stem_of(path: Path) -> str:
    """The name without any ending."""
    name = path.name.removesuffix(".gz").removesuffix(".GZ")
    return Path(name).stem


def open_table(path: Path, name: str) -> Table:
    """Look at a table.

    Args:
        path: the file.
        name: what its keys begin with.

    Raises:
        Unreadable: the whole file cannot be used.
    """
    kind = suffix_of(path)
    if kind == ".parquet":
        return _open_parquet(path, name)
    if kind in (".jsonl", ".ndjson", ".json"):
        return _open_json_lines(path, name)
    return open_delimited(path, name)


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


def from_records(records: Sequence[Mapping[str, object]], name: str) -> Table:
    """A table of a list of dictionaries; a missing key is an empty cell."""
    return _in_memory(name, name, _columns_of(records), range(1, len(records) + 1))


def _columns_of(records: Sequence[Mapping[str, object]]) -> Columns:
    names = dict.fromkeys(str(key) for record in records for key in record)
    return {name: [record.get(name) for record in records] for name in names}


def _in_memory(name: str, stem: str, columns: Columns, numbers: Sequence[int]) -> Table:
    sample = {key: values[:SAMPLE_ROWS] for key, values in columns.items()}
    scalar = {key: values for key, values in sample.items() if not any(isinstance(v, list | dict) for v in values)}
    return Table(name, stem, list(columns), len(numbers), scalar, lambda names: {n: columns[n] for n in names}, numbers)


def open_delimited(path: Path, name: str) -> Table:
    """Read a CSV or TSV file, whatever its ending."""
    records = read_delimited(path, name)
    columns: Columns = {column: [row[at] for row in records.cells] for at, column in enumerate(records.columns)}
    table = _in_memory(name, stem_of(path), columns, records.numbers)
    return replace(table, broken=records.broken, header=records.header)


def _open_json_lines(path: Path, name: str) -> Table:
    records: list[Mapping[str, object]] = []
    numbers: list[int] = []
    broken: list[Quarantined] = []
    for number, value in _json_values(path, name, broken):
        if number == 1 and isinstance(value, list):
            raise Unreadable(f"one JSON list, not JSON Lines: jq -c '.[]' {path.name} > {stem_of(path)}.jsonl")
        if isinstance(value, dict):
            records.append(value)
            numbers.append(number)
        else:
            broken.append(Quarantined(f"{name}:{number}", f"not a JSON object but a {type(value).__name__}"))
    table = _in_memory(name, stem_of(path), _columns_of(records), numbers)
    return replace(table, broken=broken)


def _json_values(path: Path, name: str, broken: list[Quarantined]) -> Iterator[tuple[int, object]]:
    number = 0
    try:
        for piece in lines(path):
            number = piece.number
            key = f"{name}:{number}"
            if piece.too_long:
                broken.append(too_long(key, piece))
            elif piece.data.strip():
                try:
                    yield number, json.loads(piece.data.decode())
                except RecursionError:
                    broken.append(Quarantined(key, "JSON nested too deep", piece.data[:KEPT_BYTES]))
                except UnicodeDecodeError as error:
                    broken.append(Quarantined(key, f"not UTF-8 at byte {error.start + 1:,}", piece.data[:KEPT_BYTES]))
                except ValueError as error:
                    start = piece.data.lstrip()[:1]
                    if number == 1 and start == b"[":
                        raise Unreadable(
                            f"a JSON list over several lines, not JSON Lines: jq -c '.[]' {path.name}"
                        ) from error
                    broken.append(Quarantined(key, f"no valid JSON: {str(error)[:100]}", piece.data[:KEPT_BYTES]))
    except Unreadable as error:
        if number <= 1:
            raise
        broken.append(Quarantined(f"{name}:{number + 1}", str(error)))


def _open_parquet(path: Path, name: str) -> Table:
    try:
        with pq.ParquetFile(path) as stored:
            schema, num_rows = stored.schema_arrow, stored.metadata.num_rows
            flat = [f.name for f in schema if not pa.types.is_nested(f.type)]
            first = next(stored.iter_batches(SAMPLE_ROWS, columns=flat), None)
            sample: Columns = {key: _values(first.column(key)) for key in flat} if first else {key: [] for key in flat}
    except OSError as error:
        raise Unreadable(_parquet_reason(error)) from error
    except (pa.ArrowException, ValueError) as error:
        raise Unreadable(f"damaged Parquet file: {str(error).splitlines()[0][:200]}") from error

    def load(names: list[str]) -> Columns:
        try:
            with pq.ParquetFile(path) as stored:
                read: Columns = {key: [] for key in names}
                for batch in stored.iter_batches(_BATCH_ROWS, columns=names):
                    for key in names:
                        read[key].extend(_values(batch.column(key)))
        except (OSError, pa.ArrowException) as error:
            raise Unreadable(f"damaged Parquet file: {str(error).splitlines()[0][:200]}") from error
        return read

    return Table(name, stem_of(path), schema.names, num_rows, sample, load, range(1, num_rows + 1))


def _parquet_reason(error: OSError) -> str:
    return reason_of(error) if error.errno else f"damaged Parquet file: {str(error).splitlines()[0][:200]}"


def _values(column: pa.Array) -> list[object]:
    """Values as Python objects; strings as bytes, so that one that is not UTF-8 costs its row only."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = column.view(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary())
    values: list[object] = column.to_pylist()
    return values
