"""Writing prepared data into a folder: token shards or an image cache, rows, index, ledgers, tokenizer, manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from seedbed.core.runs import fingerprint, json_bytes, write_synced
from seedbed.core.tokens import UNK
from seedbed.core.types import NO_LABEL
from seedbed.data.clean import Cleaned
from seedbed.data.facts import TokenCounts, class_counts, class_names, facts_to_json, image_facts, text_facts
from seedbed.data.shards import stamp
from seedbed.data.split import HELD, TRAIN, group_codes
from seedbed.data.tokenizer import Tokenizer, train_tokenizer

FORMAT = 1
MANIFEST = "manifest.json"
SHARD_BYTES = 64 << 20
_ROWS_AT_ONCE = 8192
_ROWS_OF_A_BATCH = 1000


def write_dataset(
    folder: Path,
    cleaned: Cleaned,
    splits: np.ndarray,
    ledger: Mapping[int, int],
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
    classes = class_names(cleaned.labels)
    index_of = {name: index for index, name in enumerate(classes)}
    labels = np.array([NO_LABEL if name is None else index_of[name] for name in cleaned.labels], dtype=np.int64)
    counts_C = class_counts(labels, np.isin(splits, (TRAIN, HELD)), len(classes))
    shape: dict[str, Any] = {}
    if isinstance(cleaned.raw, np.ndarray):
        facts = image_facts(cleaned.raw, splits == TRAIN, classes, counts_C)
        placed = _write_shards(folder, "images", np.dtype(np.uint8), iter([list(cleaned.raw)]))
        placed["length"] = np.ones(len(cleaned), dtype=np.int64)
    else:
        if isinstance(tokenizer, tuple):
            texts = [text for text, code in zip(cleaned.raw, splits.tolist(), strict=True) if code == TRAIN]
            tokenizer = train_tokenizer(texts, *tokenizer)
        write_synced(folder / "tokenizer.json", _writer(tokenizer.to_json().encode()))
        counts = TokenCounts(tokenizer.vocab_size)
        encoded = _encoded(cleaned.raw, splits, tokenizer, counts)
        placed = _write_shards(folder, "tokens", tokenizer.dtype, encoded)
        facts = text_facts(counts, classes, counts_C)
        shape = {"tokens": tokenizer.dtype.name, "rows": _write_rows(folder, cleaned.raw)}
    write_synced(folder / "facts.json", _writer(facts_to_json(facts).encode()))
    index = {"id": cleaned.ids, "key": cleaned.keys, "label": labels, "split": splits}
    write_table(folder / "index.arrow", pa.table({**index, "group": group_codes(cleaned.groups), **placed}))
    write_table(folder / "fates.arrow", cleaned.ledger)
    known = {**dict(zip(cleaned.ids.tolist(), splits.tolist(), strict=True)), **ledger}
    write_table(
        folder / "splits.arrow",
        pa.table({"id": pa.array(known, pa.int64()), "split": pa.array(known.values(), pa.int8())}),
    )
    return _write_manifest(folder, cleaned, {**about, **shape})


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


def _encoded(
    texts: list[str], splits: np.ndarray, tokenizer: Tokenizer, counts: TokenCounts
) -> Iterator[list[np.ndarray]]:
    """Ids of all texts, some rows at a time, counting those of training rows; what leaves no token is one unknown."""
    nothing = np.array([UNK], dtype=tokenizer.dtype)
    for low in range(0, len(texts), _ROWS_AT_ONCE):
        part = [ids if len(ids) else nothing for ids in tokenizer.encode_batch(texts[low : low + _ROWS_AT_ONCE])]
        counts.add([ids for ids, code in zip(part, splits[low : low + _ROWS_AT_ONCE], strict=True) if code == TRAIN])
        yield part


def _write_shards(
    folder: Path, name: str, dtype: np.dtype[Any], parts: Iterator[list[np.ndarray]]
) -> dict[str, np.ndarray]:
    """Write arrays one after another into shards of about SHARD_BYTES; returns shard, start and length of each."""
    shards: list[int] = []
    starts: list[int] = []
    lengths: list[int] = []
    pending: list[np.ndarray] = []
    number, size = 0, 0

    def write(file: IO[bytes]) -> None:
        for values in pending:
            file.write(np.ascontiguousarray(values, dtype=dtype.newbyteorder("<")).data)

    for part in parts:
        for values in part:
            if pending and (size + values.size) * dtype.itemsize > SHARD_BYTES:
                write_synced(folder / f"{name}-{number:05d}.bin", write)
                pending, number, size = [], number + 1, 0
            shards.append(number)
            starts.append(size)
            lengths.append(values.size)
            pending.append(values)
            size += values.size
    write_synced(folder / f"{name}-{number:05d}.bin", write)
    return {"shard": np.array(shards, np.int32), "start": np.array(starts), "length": np.array(lengths)}


def _write_rows(folder: Path, texts: list[str]) -> list[int]:
    """Write raw texts into Arrow files of about SHARD_BYTES; returns the first row of each, and the number of rows."""
    sizes = np.array([len(text.encode("utf-8", "surrogatepass")) for text in texts])
    shard_of = (np.cumsum(sizes) - sizes) // SHARD_BYTES
    firsts = [*np.unique(shard_of, return_index=True)[1].tolist(), len(texts)]
    for number, (low, high) in enumerate(pairwise(firsts)):
        column = pa.array(texts[low:high], pa.large_string())
        write_table(folder / f"rows-{number:05d}.arrow", pa.table({"text": column}))
    return firsts
