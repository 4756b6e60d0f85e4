"""Writing prepared data into a folder: token shards or an image cache, rows, index, ledgers, tokenizer, manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import xxhash

from seedbed.core.memory import give_back_freed
from seedbed.core.runs import fingerprint, json_bytes, write_synced
from seedbed.data.clean import Cleaned
from seedbed.data.encode import encoded, trained_on
from seedbed.data.facts import TokenCounts, facts_to_json, image_facts, text_facts
from seedbed.data.labels import label_kind
from seedbed.data.shards import stamp
from seedbed.data.split import HELD, TRAIN, Ledger, group_codes, splits_of_groups
from seedbed.data.tokenizer import Tokenizer

FORMAT = 1
MANIFEST = "manifest.json"
SHARD_BYTES = 64 << 20
_ROWS_AT_ONCE = 8192
_IMAGES_AT_ONCE = 256
_ROWS_OF_A_BATCH = 1000


def write_dataset(
    folder: Path,
    cleaned: Cleaned,
    splits: np.ndarray,
    ledger: Ledger,
    tokenizer: Tokenizer | tuple[str, int],
    about: Mapping[str, Any],
) -> str:
    """Write everything into a new folder, the manifest last.

    Args:
        folder: empty.
        cleaned: rows in use.
        splits: their codes.
        ledger: splits of earlier versions of the data.
        tokenizer: one that is trained, or the kind and the size (0: by amount of text) of one to be trained here.
        about: what the manifest says besides.

    Returns:
        The dataset_id, a hash of all of it.
    """
    kind = label_kind(cleaned.label_kind)
    names = kind.names(cleaned.labels)
    targets = kind.encode(cleaned.labels, names)
    labels = kind.count(targets[np.isin(splits, (TRAIN, HELD)) & kind.known(targets)], names)
    shape: dict[str, Any] = {}
    if isinstance(cleaned.raw, np.ndarray):
        facts = image_facts(cleaned.modality, cleaned.raw, splits == TRAIN, labels)
        parts = (list(cleaned.raw[low : low + _IMAGES_AT_ONCE]) for low in range(0, len(cleaned), _IMAGES_AT_ONCE))
        placed = _write_shards(folder, "images", cleaned.raw.dtype, parts)
        shape = {"values": cleaned.raw.dtype.name}
        placed["length"] = np.ones(len(cleaned), dtype=np.int64)
    else:
        work = None if cleaned.work is None else cleaned.work / encoding_name(about, splits)
        if isinstance(tokenizer, tuple):
            tokenizer = trained_on(cleaned.raw, splits, *tokenizer, work)
        write_synced(folder / "tokenizer.json", _writer(tokenizer.to_json().encode()))
        counts = TokenCounts(tokenizer.vocab_size)
        placed = _write_shards(folder, "tokens", tokenizer.dtype, encoded(cleaned.raw, splits, tokenizer, counts, work))
        facts = text_facts(counts, labels)
        shape = {"tokens": tokenizer.dtype.name, "rows": _write_rows(folder, cleaned.raw)}
    write_synced(folder / "facts.json", _writer(facts_to_json(facts).encode()))
    if cleaned.work is not None:
        give_back_freed()
    write_table(folder / "index.arrow", _index(cleaned, splits, kind.pack(targets), placed))
    write_table(folder / "fates.arrow", cleaned.ledger)
    known = ledger.extended(cleaned.ids, splits).extended(*splits_of_groups(cleaned.groups, splits))
    write_table(folder / "splits.arrow", pa.table({"id": known.ids, "split": known.splits}))
    return _write_manifest(folder, cleaned, {**about, **shape})


def _index(cleaned: Cleaned, splits: np.ndarray, labels: pa.Array, placed: dict[str, np.ndarray]) -> pa.Table:
    """What is known of each row, and where it lies."""
    columns = {
        "id": cleaned.ids,
        "key": _column(cleaned.keys),
        "label": labels,
        "split": splits,
        "group_name": pa.array(cleaned.groups, pa.string()),
        "aside": pa.array(cleaned.asides or [""] * len(cleaned), pa.string()),
        "group": group_codes(cleaned.groups),
    }
    return pa.table({**columns, **placed})


def encoding_name(about: Mapping[str, Any], splits: np.ndarray) -> str:
    """The folder, among the blocks of long data, in which their tokens are kept until the dataset is whole."""
    return f"encoded-{fingerprint([about['inputs'], xxhash.xxh3_128_hexdigest(splits.tobytes())])[:16]}"


def _write_manifest(folder: Path, cleaned: Cleaned, about: Mapping[str, Any]) -> str:
    """Write the list of all files with what else is known; returns the dataset_id."""
    manifest = {
        "format": FORMAT,
        **about,
        "modality": cleaned.modality,
        "name": cleaned.name,
        "num_rows": len(cleaned),
        "counts": cleaned.counts,
        "understood": cleaned.understood,
        "files": {path.name: stamp(path) for path in sorted(folder.iterdir())},
    }
    dataset_id = id_of(manifest)
    write_synced(folder / MANIFEST, _writer(json_bytes({"dataset_id": dataset_id, **manifest})))
    return dataset_id


def id_of(manifest: Mapping[str, Any]) -> str:
    """The dataset_id: a hash over the manifest, and through it over every file."""
    return fingerprint({name: value for name, value in manifest.items() if name != "dataset_id"})


def write_table(path: Path, table: pa.Table) -> None:
    """Write an Arrow IPC file in small record batches, uncompressed, so that it can be memory-mapped."""

    def write(file: IO[bytes]) -> None:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=_ROWS_OF_A_BATCH)

    write_synced(path, write)


def _writer(content: bytes) -> Any:
    return lambda file: file.write(content)


def _column(strings: Sequence[str]) -> pa.ChunkedArray:
    """Many strings as a column; chunks are a multiple of a record batch, so that they do not show in the file."""
    size = 8 * _ROWS_OF_A_BATCH
    parts = [pa.array(strings[low : low + size], pa.string()) for low in range(0, len(strings), size)]
    return pa.chunked_array(parts, pa.string())


def _write_shards(
    folder: Path, name: str, dtype: np.dtype[Any], parts: Iterator[list[np.ndarray]]
) -> dict[str, np.ndarray]:
    """Write arrays one after another into shards of about SHARD_BYTES; returns shard, start and length of each."""
    placed: list[np.ndarray] = []
    pending: list[np.ndarray] = []
    number, size, most = 0, 0, SHARD_BYTES // dtype.itemsize

    def write(file: IO[bytes]) -> None:
        for values in pending:
            file.write(np.ascontiguousarray(values, dtype=dtype.newbyteorder("<")).data)

    for part in parts:
        lengths = [values.size for values in part]
        numbers, starts, low = [], [], 0
        for at, length in enumerate(lengths):
            if size and size + length > most:
                pending += part[low:at]
                write_synced(folder / f"{name}-{number:05d}.bin", write)
                pending, number, size, low = [], number + 1, 0, at
            numbers.append(number)
            starts.append(size)
            size += length
        pending.append(np.concatenate([values.reshape(-1) for values in part[low:]]))
        placed.append(np.array([numbers, starts, lengths]))
    write_synced(folder / f"{name}-{number:05d}.bin", write)
    shard, start, length = np.concatenate(placed, axis=1)
    return {"shard": shard.astype(np.int32), "start": start, "length": length}


def _write_rows(folder: Path, texts: Sequence[str]) -> list[int]:
    """Write raw texts into Arrow files of about SHARD_BYTES; returns the first row of each, and the number of rows."""
    pending: list[str] = []
    firsts, total, before = [0], 0, 0

    def flush() -> None:
        column = pa.array(pending, pa.large_string())
        write_table(folder / f"rows-{len(firsts) - 1:05d}.arrow", pa.table({"text": column}))
        firsts.append(firsts[-1] + len(pending))
        pending.clear()

    for low in range(0, len(texts), _ROWS_AT_ONCE):
        for text in texts[low : low + _ROWS_AT_ONCE]:
            if pending and total // SHARD_BYTES != before:
                flush()
            before = total // SHARD_BYTES
            pending.append(text)
            total += len(text.encode("utf-8", "surrogatepass"))
    flush()
    return firsts
