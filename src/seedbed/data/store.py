"""Prepared data: one folder per dataset, hashed block by block, made once, shared by runs, never changed."""

from __future__ import annotations

import errno
import json
import os
import platform
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from seedbed.core.memory import give_back_freed
from seedbed.core.runs import fingerprint, friendly, is_alive, read_json, sync_folder
from seedbed.core.settings import Settings
from seedbed.core.tokens import PAD
from seedbed.core.types import Facts, Say
from seedbed.data.clean import Cleaned
from seedbed.data.facts import facts_from_json
from seedbed.data.labels import label_kind
from seedbed.data.reading import USED
from seedbed.data.shards import Shard, damaged
from seedbed.data.split import OUT, SPLITS, Ledger, assign
from seedbed.data.strings import strings_of
from seedbed.data.tokenizer import Tokenizer, load_tokenizer
from seedbed.data.write import FORMAT, MANIFEST, encoding_name, id_of, write_dataset

_STRINGS_AT_ONCE = 8192

# How images were brought to their size: new ones will be, too.
_RESIZED = ("image_fit", "image_resample", "image_crop")


@dataclass(frozen=True, eq=False)
class Prepared:
    """Rows ready for training; what is read is verified when first touched.

    Attributes:
        folder: where everything lies.
        dataset_id: a hash over all of it.
        manifest: what the folder says of itself.
        facts: counted over training rows only.
        tokenizer: of texts.
        ids: int64 content hash of each row.
        labels: the label of each row: an int64 class index, an int8 row of 0 and 1, or a float64; see `labelled`.
        splits: int8 codes of data/split.py.
        groups: int64 number of each row's group.
        lengths: int64 tokens of each row, 1 for images.
    """

    folder: Path
    dataset_id: str
    manifest: Mapping[str, Any]
    facts: Facts
    tokenizer: Tokenizer | None
    ids: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    groups: np.ndarray
    lengths: np.ndarray
    _index: pa.Table = field(repr=False)
    _shards: Mapping[str, Shard] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modality(self) -> str:
        """What the rows are: "text", "image" or "vector"."""
        return self.facts.modality

    @cached_property
    def labelled(self) -> np.ndarray:
        """Which rows have a label, bool."""
        return label_kind(self.facts.label_kind).known(self.labels)

    def strata(self, rows: np.ndarray) -> np.ndarray:
        """Which of some labelled rows have like labels, int64: what subsets and folds keep in proportion."""
        return label_kind(self.facts.label_kind).strata(self.labels[rows])

    def facts_of(self, rows: np.ndarray) -> Facts:
        """The facts with what is said of labels counted on some labelled rows alone."""
        return replace(self.facts, **label_kind(self.facts.label_kind).count(self.labels[rows], self.facts.classes))

    @property
    def counts(self) -> dict[str, int]:
        """How many rows of the source were used, duplicate, quarantined, excluded, and in total."""
        return dict(self.manifest["counts"])

    @property
    def understood(self) -> list[str]:
        """What was understood of the source, in sentences."""
        return list(self.manifest["understood"])

    @cached_property
    def keys(self) -> Sequence[str]:
        """Where each row was found."""
        return strings_of(self._index.column("key"))

    @cached_property
    def group_names(self) -> list[str]:
        """What the group of each row is called; empty for rows without one."""
        return [name or "" for name in self._index.column("group_name").to_pylist()]

    def aside(self, column: str, rows: np.ndarray) -> list[str]:
        """The values of a further column that was asked for; empty where a row has none."""
        told = self._index.column("aside").take(pa.array(rows)).to_pylist()
        return [json.loads(text).get(column, "") if text else "" for text in told]

    @cached_property
    def _shard_of(self) -> np.ndarray:
        return self._index.column("shard").to_numpy()

    @cached_property
    def _start_of(self) -> np.ndarray:
        return self._index.column("start").to_numpy()

    def rows(self, *, split: str | int | Iterable[str | int] | None = None, labelled: bool | None = None) -> np.ndarray:
        """Indices of the rows of some splits, with or without a label, int64 ascending.

        Args:
            split: names or codes; None: all.
            labelled: whether they must have a label or must not; None: either.
        """
        chosen = np.ones(len(self), dtype=bool)
        if split is not None:
            wanted = [split] if isinstance(split, str | int) else list(split)
            chosen &= np.isin(self.splits, [SPLITS[name] if isinstance(name, str) else name for name in wanted])
        if labelled is not None:
            chosen &= self.labelled == labelled
        return np.flatnonzero(chosen)

    def tokens(self, rows: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Windows of texts, int64 (rows, longest window), padded with PAD."""
        dtype = np.dtype(self.manifest["tokens"]).newbyteorder("<")
        shard_of, lows = self._shard_of[rows], self._start_of[rows] + starts
        column = np.arange(int(lengths.max(initial=0)))
        tokens_BN = np.empty((len(rows), len(column)), dtype=np.int64)
        for number in np.unique(shard_of).tolist():
            here = shard_of == number
            low, length = lows[here], lengths[here]
            values = self._shards[f"tokens-{number:05d}.bin"].read(dtype, low, low + length)
            window_BN = values.take(low[:, None] + column, mode="clip")
            tokens_BN[here] = np.where(column < length[:, None], window_BN, PAD)
        return tokens_BN

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Images, uint8 (rows, channels, height, width), or vectors, float32 (rows, values, 1, 1)."""
        shape = self.facts.image_shape
        size = int(np.prod(shape))
        dtype = np.dtype(self.manifest.get("values", "uint8"))
        pixels_BCYX = np.empty((len(rows), *shape), dtype=dtype)
        shard_of, lows = self._shard_of[rows], self._start_of[rows]
        for number in np.unique(shard_of).tolist():
            here = shard_of == number
            low = lows[here]
            values = self._shards[f"images-{number:05d}.bin"].read(dtype.newbyteorder("<"), low, low + size)
            pixels_BCYX[here] = values.reshape(-1, *shape)[low // size]
        return pixels_BCYX

    def item(self, row: int, start: int = 0, length: int | None = None) -> np.ndarray:
        """One row: a window of its ids (to its end by default), or its image or vector, as of `pixels`."""
        if self.modality != "text":
            return self.pixels(np.array([row]))[0]
        left = max(int(self.lengths[row]) - start, 0)
        wanted = left if length is None else min(length, left)
        return self.tokens(np.array([row]), np.array([start]), np.array([wanted]))[0]

    def raw(self, rows: np.ndarray) -> list[str] | np.ndarray:
        """Rows as they were after cleaning: texts, or images or vectors, as of `pixels`."""
        if self.modality != "text":
            return self.pixels(rows)
        shard_of = np.searchsorted(self.manifest["rows"], rows, side="right") - 1
        texts = np.empty(len(rows), dtype=object)
        for number in np.unique(shard_of).tolist():
            here = shard_of == number
            column = _table(self._shards[f"rows-{number:05d}.arrow"]).column("text")
            texts[here] = column.take(pa.array(rows[here] - self.manifest["rows"][number])).to_pylist()
        return texts.tolist()

    def fates(self) -> pa.Table:
        """What became of every row of the source: key, fate, reason, of, kept."""
        return _table(self._shards["fates.arrow"])

    def ledger(self) -> Ledger:
        """Split of every row there ever was in these data."""
        table = _table(self._shards["splits.arrow"])
        return Ledger().extended(table.column("id").to_numpy(), table.column("split").to_numpy())

    def verify(self) -> int:
        """Read every file whole; returns how many there are, the manifest included.

        Raises:
            DataError: one of them is damaged; it is named.
        """
        for shard in self._shards.values():
            shard.verify()
        return len(self._shards) + 1


def load(folder: Path) -> Prepared:
    """Open prepared data: manifest, index and tokenizer are verified now, everything else when it is touched.

    Raises:
        DataError: a file is missing, has another size, or is damaged.
    """
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise damaged(folder / MANIFEST, f"its format is {manifest.get('format')} instead of {FORMAT}")
    if manifest["dataset_id"] != id_of(manifest):
        raise damaged(folder / MANIFEST, "it does not match its dataset_id")
    shards = {name: Shard(folder / name, entry) for name, entry in manifest["files"].items()}
    index = _table(shards["index.arrow"])
    tokenizer = None
    if "tokenizer.json" in shards:
        shards["tokenizer.json"].verify()
        tokenizer = load_tokenizer(folder / "tokenizer.json")
    column = {name: index.column(name).to_numpy() for name in ("id", "split", "group", "length")}
    facts = facts_from_json(shards["facts.json"].verify().tobytes().decode())
    return Prepared(
        folder=folder,
        dataset_id=manifest["dataset_id"],
        manifest=manifest,
        facts=facts,
        tokenizer=tokenizer,
        ids=column["id"],
        labels=label_kind(facts.label_kind).unpack(index.column("label")),
        splits=column["split"],
        groups=column["group"],
        lengths=column["length"].astype(np.int64),
        _index=index,
        _shards=shards,
    )


def prepare(
    cleaned: Cleaned,
    settings: Settings,
    tokenizer_kind: str,
    out: Path,
    say: Say,
    *,
    tokenizer: Tokenizer | None = None,
) -> Prepared:
    """Split, tokenise, count and write; what is already there for the same rows and settings is verified and used.

    Args:
        cleaned: rows in use.
        settings: shares of the splits, seed, size of the vocabulary.
        tokenizer_kind: "bpe", "word" or "char"; "" for images.
        out: the data go to <out>/data/<dataset_id>/.
        say: is warned of rows that no split can use.
        tokenizer: an earlier one, instead of training one.

    Raises:
        DataError: what is there already is damaged.
        MachineError: no room, no permission; nothing half-written stays.
    """
    root = Path(out) / "data"
    lineage = fingerprint([cleaned.name, cleaned.modality, settings.seed, *_shares(settings)])
    fixed = None if tokenizer is None else fingerprint(tokenizer.to_json())
    inputs = fingerprint([lineage, tokenizer_kind, settings.data.vocab_size, fixed, _content(cleaned)])
    with friendly(root):
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        manifests = {path.parent: read_json(path) for path in sorted(root.glob(f"*/{MANIFEST}"))}
    for folder, manifest in manifests.items():
        if manifest["inputs"] == inputs:
            return _verified(folder)
    relatives = [load(folder) for folder, manifest in manifests.items() if manifest["lineage"] == lineage]
    ledger = _joint_ledger(relatives)
    if relatives and (told := changes(max(relatives, key=_generation), cleaned)):
        say("understood", lines=[f"{told} against the earlier preparation; old rows keep their split"])
    splits = assign(cleaned, settings, settings.seed, ledger)
    if cleaned.work is not None:
        give_back_freed()
    if strays := int((splits == OUT).sum()):
        say("warning", text=f"{strays:,} rows are not used: their groups are also in a stricter split.")
    generation = 1 + max((one.manifest["generation"] for one in relatives), default=0)
    about = {"inputs": inputs, "lineage": lineage, "generation": generation, "seed": settings.seed}
    if cleaned.modality == "image":
        about["images"] = {name: value for name, value in settings.data if name in _RESIZED}
    chosen = tokenizer or (tokenizer_kind, settings.data.vocab_size)
    with friendly(root):
        temporary = root / f"{_temporary()}{secrets.token_hex(4)}"
        try:
            temporary.mkdir()
            dataset_id = write_dataset(temporary, cleaned, splits, ledger, chosen, about)
            sync_folder(temporary)
            _rename(temporary, root / dataset_id)
            if cleaned.work is not None:
                shutil.rmtree(cleaned.work / encoding_name(about, splits), ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return _verified(root / dataset_id)


def changes(before: Prepared, cleaned: Cleaned) -> str:
    """What differs from earlier prepared data, such as "+120 -3 rows, +15 labels"; empty where only settings do."""
    added = int((~np.isin(cleaned.ids, before.ids)).sum())
    gone = int((~np.isin(before.ids, cleaned.ids)).sum())
    labels = sum(label is not None for label in cleaned.labels) - len(before.rows(labelled=True))
    parts = [f"+{added:,} -{gone:,} rows"] if added or gone or labels else []
    return ", ".join(parts + ([f"{labels:+,} labels"] if labels else []))


def _joint_ledger(relatives: list[Prepared]) -> Ledger:
    """The splits of all earlier versions of some data, the oldest first."""
    ledger = Ledger()
    for earlier in sorted(relatives, key=_generation):
        known = earlier.ledger()
        ledger = ledger.extended(known.ids, known.splits)
    return ledger


def _generation(prepared: Prepared) -> tuple[int, str]:
    return prepared.manifest["generation"], prepared.dataset_id


def _verified(folder: Path) -> Prepared:
    """Open a dataset and read all of it once."""
    prepared = load(folder)
    prepared.verify()
    return prepared


def _table(shard: Shard) -> pa.Table:
    """An Arrow file as a table over its memory map, verified whole the first time."""
    return pa.ipc.open_file(pa.py_buffer(shard.whole())).read_all()


def _shares(settings: Settings) -> tuple[float, float]:
    return settings.data.test_share, settings.data.validation_share


def _content(cleaned: Cleaned) -> str:
    """Hash of all rows as they are, with labels, splits, groups, keys and fates."""
    digest = xxhash.xxh3_128(cleaned.ids.tobytes())
    if isinstance(cleaned.raw, np.ndarray):
        digest.update(str(cleaned.raw.shape).encode())
        for image in cleaned.raw:
            digest.update(np.ascontiguousarray(image).data)
    else:
        _update(digest, cleaned.raw)
    _update(digest, cleaned.keys)
    digest.update(cleaned.label_kind.encode())
    for names in (cleaned.labels, cleaned.splits, cleaned.groups, cleaned.asides):
        numbers: dict[str | None, int] = {}
        codes = np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int64, len(names))
        digest.update(codes.tobytes())
        digest.update(json.dumps(list(numbers)).encode())
    # What is used as it is, is known by its key and content.
    told = pc.or_(pc.not_equal(cleaned.ledger["fate"], USED), pc.not_equal(cleaned.ledger["reason"], ""))
    for name in ("key", "fate", "reason", "of"):
        _update(digest, strings_of(cleaned.ledger[name].filter(told)))
    digest.update(json.dumps([cleaned.counts, cleaned.understood]).encode())
    return digest.hexdigest()


def _update(digest: xxhash.xxh3_128, strings: Sequence[str]) -> None:
    """Hash strings and their lengths."""
    for low in range(0, len(strings), _STRINGS_AT_ONCE):
        part = [string.encode("utf-8", "surrogatepass") for string in strings[low : low + _STRINGS_AT_ONCE]]
        digest.update(np.array([len(part), *map(len, part)]).tobytes())
        digest.update(b"".join(part))


def _temporary() -> str:
    """Beginning of the names of folders this process is still writing."""
    return f".tmp-{platform.node()}-{os.getpid()}-"


def _sweep(root: Path) -> None:
    """Remove what processes of this machine left half-written when they were killed."""
    for folder in root.glob(f".tmp-{platform.node()}-*"):
        process = folder.name.removeprefix(f".tmp-{platform.node()}-").split("-")[0]
        if process.isdigit() and not is_alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _rename(temporary: Path, folder: Path) -> None:
    """Give a finished folder its name, unless another process was faster: then its equal one is used."""
    try:
        temporary.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    sync_folder(folder.parent)
