"""Arrow IPC files and streams, Feather, and frames that hand out an Arrow stream: nothing is believed unchecked."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import pyarrow as pa

from seedbed.core.errors import DataError
from seedbed.data.files import damage_of, most_decoded, reason_of, require_bounded, stem_of
from seedbed.data.rows import Quarantined, Unreadable, number
from seedbed.data.tables import ROW_BYTES, SAMPLE_ROWS, Block, Columns, Table, from_columns, identity_of, sample_of
from seedbed.data.values import flat_columns, values_of

SUFFIXES = frozenset({".arrow", ".feather", ".ipc"})
_MAGIC, _TAIL, _OLD_MAGIC = b"ARROW1\0\0", b"ARROW1", b"FEA1"
_BATCH_ROWS = 4096
_INDEX = "__index_level_"  # pandas' names of an index that is no column
_DAMAGE = (pa.ArrowException, OSError, ValueError)


@runtime_checkable
class ArrowStream(Protocol):
    """A frame of pandas, polars and others that can be read without their libraries."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow C stream interface."""


class Looked(NamedTuple):
    """What one pass over an IPC file tells.

    Attributes:
        schema: of its columns.
        names: of its columns.
        num_rows: in its whole batches.
        num_bytes: about what they take when they are held.
        first: the first batch, None without rows.
        broken: why it ends before its end; "" if it does not.
    """

    schema: pa.Schema
    names: list[str]
    num_rows: int
    num_bytes: int
    first: pa.RecordBatch | None
    broken: str


def open_arrow(path: Path, name: str, room: int) -> tuple[Table, pa.Schema]:
    """Look at an Arrow IPC file or stream, or a Feather file of version 2.

    Args:
        path: the file.
        name: what its keys begin with.
        room: bytes that may be held of it.

    Returns:
        the table, and its schema.

    Raises:
        Unreadable: the whole file cannot be used.
    """
    try:
        identity = identity_of(path)
        _refuse_swollen(path)
        looked = _look(path)
    except OSError as error:
        raise Unreadable(reason_of(error) if error.errno else f"damaged Arrow file: {damage_of(error)}") from error
    except _DAMAGE as error:
        raise Unreadable(f"damaged Arrow file: {damage_of(error)}") from error

    def blocks(names: list[str], first: int) -> Iterator[Block]:
        at = 0
        try:
            for batch in _batches(path, names):
                here = batch.slice(max(first - at, 0)).slice(0, looked.num_rows - at)
                at += batch.num_rows
                for low in range(0, here.num_rows, _BATCH_ROWS):
                    part = here.slice(low, _BATCH_ROWS)
                    begin = min(at, looked.num_rows) - here.num_rows + low + 1
                    columns = {key: values_of(part.column(key)) for key in names}
                    yield Block(range(begin, begin + part.num_rows), columns)
                if at >= looked.num_rows:
                    return
        except _DAMAGE as error:
            raise Unreadable(f"damaged Arrow file: {damage_of(error)}") from error

    table = Table(
        name=name,
        stem=stem_of(path),
        columns=looked.names,
        num_rows=looked.num_rows,
        num_bytes=looked.num_bytes,
        held=looked.num_bytes <= room,
        sample=_sample(looked),
        blocks=blocks,
        broken=[Quarantined(f"{name}:{looked.num_rows + 1} and after", looked.broken)] if looked.broken else [],
        identity=identity,
    )
    return table, looked.schema


def _sample(looked: Looked) -> Columns:
    try:
        head = looked.first.slice(0, SAMPLE_ROWS) if looked.first is not None else None
        flat = flat_columns(looked.schema)
        return sample_of({key: values_of(head.column(key)) if head is not None else [] for key in flat})
    except _DAMAGE as error:
        raise Unreadable(f"damaged Arrow file: {damage_of(error)}") from error


@contextmanager
def _opened(path: Path, names: Sequence[str] | None = None) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """The schema of a file or stream, and its batches, with some columns only if these are named."""
    with pa.memory_map(str(path)) as stored:
        is_file = _is_file(stored)
        make = pa.ipc.open_file if is_file else pa.ipc.open_stream
        start = stored.tell()
        schema = make(stored).schema
        fields = [schema.get_field_index(key) for key in (schema.names if names is None else names)]
        stored.seek(start)
        reader = make(stored, options=pa.ipc.IpcReadOptions(included_fields=fields))
        yield schema, (map(reader.get_batch, range(reader.num_record_batches)) if is_file else iter(reader))


def _is_file(stored: pa.NativeFile) -> bool:
    """Whether it has the form with an index at its end; else it is left where a stream's first message begins.

    A file cut off before its index is read as the stream it holds.
    """
    head = stored.read(len(_MAGIC))
    if head[:4] == _OLD_MAGIC:
        raise Unreadable("Feather version 1: write it again with version 2, or as Parquet")
    stored.seek(max(stored.size() - len(_TAIL), 0))
    is_file = head == _MAGIC and stored.read(len(_TAIL)) == _TAIL
    stored.seek(len(_MAGIC) if head == _MAGIC and not is_file else 0)
    return is_file


def _look(path: Path) -> Looked:
    with _opened(path) as (schema, batches):
        num_rows, num_bytes, first, broken = 0, 0, None, ""
        try:
            for batch in batches:
                first = first if first is not None else batch
                num_rows += batch.num_rows
                num_bytes += batch.num_rows * ROW_BYTES + batch.nbytes
        except _DAMAGE as error:
            if not num_rows:
                raise
            broken = f"damaged Arrow file: {damage_of(error)}"
        return Looked(schema, list(schema.names), num_rows, num_bytes, first, broken)


def _batches(path: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with _opened(path, names) as (_, batches):
        yield from batches


def _refuse_swollen(path: Path) -> None:
    """Refuse a file whose compressed buffers promise more than is allowed, before one of them is decompressed.

    Raises:
        TooLarge: it does.
    """
    most = most_decoded(path.stat().st_size)
    promised = 0
    with pa.memory_map(str(path)) as stored:
        try:
            messages = _indexed(stored) if _is_file(stored) else pa.ipc.MessageReader.open_stream(stored)
            for message in messages:
                promised += _promised(message)
                require_bounded(promised, most)
        except (pa.ArrowException, OSError, EOFError, struct.error):
            return  # damaged from here on, which shows when it is read


def _indexed(stored: pa.NativeFile) -> Iterator[pa.ipc.Message]:
    """The messages a file's index tells of.

    Source: File.fbs of the Arrow columnar format (Footer and Block).
    """
    stored.seek(stored.size() - len(_TAIL) - 4)
    (size,) = struct.unpack("<i", stored.read(4))
    stored.seek(max(stored.size() - len(_TAIL) - 4 - size, 0))
    footer = stored.read(size)
    root = _pointer(footer, 0)
    for index in (2, 3):  # of dictionaries, of batches
        if place := _field(footer, root, index):
            vector = _pointer(footer, place)
            (count,) = struct.unpack_from("<I", footer, vector)
            for at in range(count):
                (offset,) = struct.unpack_from("<q", footer, vector + 4 + 24 * at)
                stored.seek(max(offset, 0))
                yield pa.ipc.read_message(stored)


def _promised(message: pa.ipc.Message) -> int:
    """Decoded bytes of one message: each compressed buffer begins with how many it holds.

    Source: Message.fbs of the Arrow columnar format (fields of the tables by their number), and the wire format of
    flatbuffers.
    """
    data, body = message.metadata.to_pybytes(), message.body
    header = _field(data, _pointer(data, 0), 2)
    if message.type == "dictionary" and header:
        header = _field(data, _pointer(data, header), 1)
    if not header or message.type not in ("record batch", "dictionary") or body is None:
        return 0
    batch = _pointer(data, header)
    buffers, compression = _field(data, batch, 2), _field(data, batch, 3)
    if not buffers or not compression:
        return 0
    vector = _pointer(data, buffers)
    (count,) = struct.unpack_from("<I", data, vector)
    total = 0
    for at in range(count):
        start, length = struct.unpack_from("<qq", data, vector + 4 + 16 * at)
        if length >= 8 and 0 <= start <= body.size - 8:
            (size,) = struct.unpack("<q", body.slice(start, 8).to_pybytes())
            total += length if size == -1 else abs(size)
    return total


def _pointer(data: bytes, at: int) -> int:
    """Where a flatbuffer's relative pointer leads."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, index: int) -> int:
    """Where a field of a flatbuffer's table lies; 0 if it has its default."""
    (back,) = struct.unpack_from("<i", data, table)
    size, entry = struct.unpack_from("<H", data, table - back)[0], 4 + 2 * index
    offset = struct.unpack_from("<H", data, table - back + entry)[0] if entry < size else 0
    return table + int(offset) if offset else 0


def table_of_stream(frame: ArrowStream, name: str, understood: list[str]) -> tuple[Table, pa.Schema]:
    """A table of a frame in memory.

    Raises:
        DataError: it holds what Arrow has no type for, or is a single column.
    """
    try:
        held = pa.RecordBatchReader.from_stream(frame).read_all()
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"The {type(frame).__name__} cannot be read as a table.",
            found=damage_of(error),
            cause="Its columns must each be of one type, and it must be a frame, not a single column of one.",
            fix="Convert the columns that mix types to strings; give frame[[column]] in place of frame[column].",
        ) from error
    index = [key for key in held.schema.names if key.startswith(_INDEX)]
    if index:
        understood.append("the index of the frame is not used")
        held = held.drop_columns(index)
    columns = {key: _whole(column) for key, column in zip(held.schema.names, held.columns, strict=True)}
    understood.append(f"a {type(frame).__name__} of {number(held.num_rows, 'row')}")
    return from_columns(columns, name), held.schema


def _whole(column: pa.ChunkedArray) -> list[object]:
    return [value for chunk in column.chunks for value in values_of(chunk)]
