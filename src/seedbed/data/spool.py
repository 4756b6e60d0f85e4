"""Long files read block by block into a folder, where a command that was killed goes on from the block it stood in.

A block is a file that is whole or not there, with a hash of itself. The blocks stay as long as the file they were read
from does not change: the next command on it need not decode and hash everything again.
"""

from __future__ import annotations

import os
import shutil
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from seedbed.core.errors import DataError
from seedbed.core.memory import give_back_freed
from seedbed.core.runs import fingerprint, friendly, write_atomic
from seedbed.core.settings import Settings
from seedbed.data.reading import Seen, read_rows
from seedbed.data.rows import Row, Stream
from seedbed.data.strings import Strings

if sys.platform != "win32":
    import fcntl

BLOCK_ROWS = 1 << 15
BLOCK_BYTES = 32 << 20
_FORMAT = 1
_HASH_BYTES = 16


def read_long(
    stream: Stream, paths: list[Path], reader: ModuleType, settings: Settings, folder: Path
) -> tuple[Seen, Strings, Path]:
    """Read rows of long files into blocks, those that are not there yet.

    Args:
        stream: the rows.
        paths: what was asked for: blocks of earlier versions of the same are removed.
        reader: of texts.
        settings: for the reader.
        folder: where the folder of blocks is made.

    Returns:
        facts of all rows, the content of each ("" where there is none), and the folder of blocks.

    Raises:
        DataError: the files changed while they were read.
    """
    where = fingerprint([path.resolve() for path in paths])[:8]
    name = f".read-{where}-{fingerprint([_FORMAT, stream.identity, settings.data.model_dump(mode='json')])[:16]}"
    work = folder / name
    with friendly(work):
        work.mkdir(parents=True, exist_ok=True)
        lock = _used(work)
        for other in folder.glob(f".read-{where}-*"):
            if other.name != name:
                _remove_unused(other)
    parts: list[Seen] = []
    counts: list[int] = []
    texts: list[str] = []
    names: dict[str | None, str | None] = {}
    rows, at, done = stream.read(0), 0, 0
    while done < len(stream):
        path = work / f"block-{len(parts):05d}"
        part = _facts(path)
        if part is None:
            if at != done:
                rows, at = stream.read(done), done
            texts.clear()
            part = read_rows(_bounded(rows), reader, settings, partial(_keep, texts))
            at += len(part)
            if not len(part):
                break
            _write(path, part, texts)
        parts.append(_shared(part, names))
        counts.append(len(part))
        done += len(part)
    if done != len(stream) or (at == done and next(rows, None) is not None):
        raise DataError(
            f"{', '.join(map(str, paths))} changed while being read.",
            found=f"{len(stream):,} rows at first, then {done:,}.",
            cause="Another program writes to it.",
            fix="Wait until it has finished, then repeat the command.",
        )
    load = partial(_texts, work)
    if lock is not None:
        weakref.finalize(load, os.close, lock)
    give_back_freed()
    return _joined(parts), Strings(counts, load), work


def _bounded(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows of one block."""
    size = 0
    for count, row in enumerate(rows, 1):
        yield row
        size += len(row.raw) if isinstance(row.raw, str | bytes) else 0
        if count == BLOCK_ROWS or size >= BLOCK_BYTES:
            return


def _keep(texts: list[str], place: int, content: str | np.ndarray, _: bytes) -> None:
    texts += [""] * (place - len(texts))
    texts.append(str(content))


def _write(path: Path, part: Seen, texts: list[str]) -> None:
    fill = dict(zip(part.noted.tolist(), zip(part.reasons, part.kept, strict=True), strict=True))
    notes = [fill.get(place, (None, None)) for place in range(len(part))]
    table = pa.table(
        {
            "key": part.keys,
            "fate": part.fates,
            "high": part.digests[:, 0],
            "low": part.digests[:, 1],
            "id": part.ids,
            "label": pa.array(part.labels, pa.string()),
            "split": pa.array(part.splits, pa.string()),
            "group": pa.array(part.groups, pa.string()),
            "aside": pa.array(part.asides, pa.string()),
            "reason": pa.array([reason for reason, _ in notes], pa.string()),
            "kept": pa.array([kept for _, kept in notes], pa.binary()),
            "text": pa.array([*texts, *[""] * (len(part) - len(texts))], pa.large_string()),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue().to_pybytes()
    write_atomic(path, xxhash.xxh3_128_digest(body) + body)


def _read(path: Path) -> pa.Table | None:
    """A block, None where there is none or it is damaged."""
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    if xxhash.xxh3_128_digest(content[_HASH_BYTES:]) != content[:_HASH_BYTES]:
        return None
    return pa.ipc.open_file(pa.py_buffer(content[_HASH_BYTES:])).read_all()


def _facts(path: Path) -> Seen | None:
    table = _read(path)
    if table is None:
        return None
    reasons = table.column("reason").to_pylist()
    noted = [place for place, reason in enumerate(reasons) if reason is not None]
    kept = table.column("kept")
    return Seen(
        # Copied: a view would keep the whole block, its texts too, in memory.
        keys=pa.concat_arrays([pa.array([], pa.large_string()), table.column("key").combine_chunks()]),
        fates=table.column("fate").to_numpy().copy(),
        digests=np.stack([table.column("high").to_numpy(), table.column("low").to_numpy()], axis=1),
        ids=table.column("id").to_numpy().copy(),
        labels=table.column("label").to_pylist(),
        splits=table.column("split").to_pylist(),
        groups=table.column("group").to_pylist(),
        asides=table.column("aside").to_pylist(),
        noted=np.array(noted, dtype=np.int64),
        reasons=[reasons[place] for place in noted],
        kept=[kept[place].as_py() for place in noted],
    )


def _texts(work: Path, number: int) -> list[str]:
    path = work / f"block-{number:05d}"
    table = _read(path)
    if table is None:
        raise DataError(
            f"{path} is damaged.",
            cause="It was edited or removed by hand, or the disk changed it.",
            fix="Repeat the command: it reads these rows anew.",
        )
    texts: list[str] = table.column("text").to_pylist()
    return texts


def _shared(part: Seen, names: dict[str | None, str | None]) -> Seen:
    """The same facts, equal names being one object, also those of other blocks."""
    labels, splits, groups = (
        [names.setdefault(name, name) for name in column] for column in (part.labels, part.splits, part.groups)
    )
    asides = [names.setdefault(aside, aside) or "" for aside in part.asides]
    return replace(part, labels=labels, splits=splits, groups=groups, asides=asides)


def _joined(parts: list[Seen]) -> Seen:
    """Facts of all blocks; the list is emptied, so that each fact is in memory twice for a moment only."""
    starts = np.cumsum([0, *map(len, parts)])[:-1].tolist()
    columns = {name: [getattr(part, name) for part in parts] for name in Seen.__dataclass_fields__}
    parts.clear()
    columns["noted"] = [noted + start for noted, start in zip(columns["noted"], starts, strict=True)]
    joined: dict[str, Any] = {}
    for name in list(columns):
        pieces = columns.pop(name)
        if isinstance(pieces[0], pa.Array):
            joined[name] = pa.concat_arrays(pieces)
        elif isinstance(pieces[0], np.ndarray):
            joined[name] = np.concatenate(pieces)
        else:
            joined[name] = list(chain.from_iterable(pieces))
        del pieces
    return Seen(**joined)


def _used(work: Path) -> int | None:
    """Say that the blocks are in use, until the descriptor is closed or the process ends; Windows has no such lock."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(work, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _remove_unused(work: Path) -> None:
    """Remove blocks that nobody will ask for again, unless somebody uses them now."""
    if sys.platform == "win32":
        return
    descriptor = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(work, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)
