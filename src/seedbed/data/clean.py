"""Cleaning: every row is used, a duplicate, quarantined, or excluded, with its reason, and the counts add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import compress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.data.labels import find_kind, label_kind, read_labels
from seedbed.data.reading import DUPLICATE, EXCLUDED, FATES, QUARANTINED, USED, Seen, read_held, worth
from seedbed.data.rows import Quarantined, Source, Stream, general, nothing_left, number
from seedbed.data.spool import read_long
from seedbed.data.strings import strings_of

UNREAD = "used without a label: the label is"
REMOVED = "removed on request"


@dataclass(frozen=True)
class Cleaned:
    """The rows that are used, in the order of the source, and what became of the others.

    Attributes:
        modality: "text", "image" or "vector".
        name: of the source.
        paths: files and folders asked for.
        understood: sentences for the user: those of the source and those of cleaning.
        ids: int64 hash of the content of each row.
        keys: where each row was found.
        label_kind: what the labels are; see data/labels.py.
        asides: further columns of each row that were asked for, as JSON; empty where there are none.
        labels: in the canonical form of their kind, None without one.
        splits: "train", "validation", "test", or None where the data do not say.
        groups: what must not be torn apart, None where nothing was named.
        raw: texts, or uint8 pixels in (items, channels, rows, columns).
        ledger: one line for every row there was: key, fate, reason, of (the copy that stays), kept (first bytes of
            what is quarantined).
        counts: how many rows had each fate, and "total".
        work: folder in which long data are prepared step by step; None for what is held in memory.
    """

    modality: str
    name: str
    paths: list[Path]
    understood: list[str]
    ids: np.ndarray
    keys: Sequence[str]
    labels: list[str | None]
    splits: list[str | None]
    groups: list[str | None]
    raw: Sequence[str] | np.ndarray
    ledger: pa.Table
    counts: dict[str, int]
    work: Path | None = None
    label_kind: str = "class"
    asides: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def label_shares(self) -> dict[str, int]:
        """Labelled rows of each class, with each name, or in each range of numbers."""
        kind, known = label_kind(self.label_kind), [label for label in self.labels if label is not None]
        names = kind.names(known)
        return kind.shares(kind.encode(known, names), names)

    @property
    def lacking(self) -> str:
        """Which labels are missing for anything to be learnt from them; empty where none are."""
        return label_kind(self.label_kind).lacking(self.labels)


def clean(
    source: Source, settings: Settings, folder: Path | None = None, kind: str = "", removed: np.ndarray | None = None
) -> Cleaned:
    """Decode all rows, set aside what cannot be used, and keep one of each set of equal rows.

    Equal are texts that differ in case, compatibility forms or blanks only, and images of the same pixels, whatever
    their splits: of a training row and a test row that are equal, the test row stays. Equal rows with different labels
    leave one row without a label; a name that occurs only once is dropped, for nothing could be tested with it.

    Args:
        source: opened by `open_source`.
        settings: `data.min_chars`, `data.image_size`.
        folder: where rows of long files are kept, and are found again by the same command.
        kind: what the labels are; found from them where it is not said.
        removed: content hashes of rows that are not to be used, int64.

    Raises:
        DataError: no row is left.
    """
    reader = import_module(f"seedbed.data.decode_{source.modality}")
    shape, told = reader.working_shape(source.rows, settings)
    texts, work = None, None
    if isinstance(source.rows, Stream):
        assert folder is not None, "long files need a folder for what is read of them"
        seen, texts, work = read_long(source.rows, source.paths, reader, settings, folder)
    else:
        seen, contents = read_held(source.rows, reader, shape, settings)
    seen = seen if removed is None else _without(seen, removed)
    same = _equal_rows(seen)
    chosen = np.flatnonzero(same == np.arange(len(same)))
    kind = kind or find_kind(seen.labels)
    labels, notes, said = _labels_of(seen, same, chosen, kind)
    fates = np.where((same >= 0) & (same != np.arange(len(same))), FATES.index(DUPLICATE), seen.fates)
    ledger = _ledger(seen, fates, same, notes, source.quarantined)
    counts = _counted(fates, source)
    assert sum(counts[name] for name in FATES) == counts["total"] and counts[USED] == len(chosen), "a row was lost"
    if not len(chosen):
        raise _nothing_left(source, ledger)
    understood = [*source.understood, *([told] if told else []), *said, *_remarks(ledger)]
    stays = np.zeros(len(seen), dtype=bool)
    stays[chosen] = True
    return Cleaned(
        modality=source.modality,
        name=source.name,
        paths=source.paths,
        understood=understood,
        ids=seen.ids[chosen].astype(np.int64),
        keys=seen.keys.take(pa.array(chosen)).to_pylist() if texts is None else strings_of(seen.keys).pick(chosen),
        labels=labels,
        splits=list(compress(seen.splits, stays)),
        groups=list(compress(seen.groups, stays)),
        asides=list(compress(seen.asides, stays)),
        raw=reader.pack([contents[place] for place in chosen.tolist()], shape) if texts is None else texts.pick(chosen),
        ledger=ledger,
        counts=counts,
        work=work,
        label_kind=kind,
    )


def require_labels(cleaned: Cleaned) -> None:
    """Refuse what needs labels where there are none, or where all are the same.

    Raises:
        DataError: with what is missing.
    """
    lacking = cleaned.lacking
    if not lacking:
        return
    told = [sentence for sentence in cleaned.understood if "label" in sentence or "class" in sentence]
    raise DataError(
        "There is nothing to learn to tell apart: labels that differ are needed, such as those of two classes.",
        found=f"{lacking}, of {number(len(cleaned), 'row')}",
        cause="; ".join(told[:3]),
        fix="Name the column that holds them by --label COLUMN, or only pretrain: seedbed pretrain needs no labels.",
    )


def _counted(fates: np.ndarray, source: Source) -> dict[str, int]:
    counts = dict(zip(FATES, np.bincount(fates, minlength=len(FATES)).tolist(), strict=True))
    counts[QUARANTINED] += len(source.quarantined)
    counts["total"] = len(source.rows) + len(source.quarantined)
    return counts


def _nothing_left(source: Source, ledger: pa.Table) -> DataError:
    where = ", ".join(map(str, source.paths)) or f"the {source.name}"
    lines = (line for batch in ledger.to_batches(max_chunksize=1000) for line in batch.to_pylist())
    return nothing_left(where, (Quarantined(line["key"], line["reason"]) for line in lines))


def _without(seen: Seen, removed: np.ndarray) -> Seen:
    """The same facts, some rows being excluded."""
    gone = np.flatnonzero(np.isin(seen.ids.astype(np.int64), removed) & (seen.fates == FATES.index(USED)))
    fates = seen.fates.copy()
    fates[gone] = FATES.index(EXCLUDED)
    reasons, kept = [*seen.reasons, *[REMOVED] * len(gone)], [*seen.kept, *[b""] * len(gone)]
    return replace(seen, fates=fates, noted=np.concatenate([seen.noted, gone]), reasons=reasons, kept=kept)


def _equal_rows(seen: Seen) -> np.ndarray:
    """For each row the place of the row that stays of those equal to it, its own if it stays; -1 if it is unusable."""
    usable = np.flatnonzero(seen.fates == FATES.index(USED))
    worths = np.fromiter(map(worth, seen.splits, seen.labels), np.int8, len(seen))[usable]
    high, low = seen.digests[usable].T
    order = np.lexsort((worths, low, high))  # stable: of equal worth, the first comes first
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0)
    same = np.full(len(seen), -1, dtype=np.int64)
    same[usable[order]] = usable[order][begins][np.cumsum(begins) - 1]
    return same


def _labels_of(
    seen: Seen, same: np.ndarray, chosen: np.ndarray, kind: str
) -> tuple[list[str | None], dict[int, str], list[str]]:
    """The labels of the rows that stay; what is to be noted of rows, by place; and sentences for the user.

    Which of equal rows stays was settled by labels as they stand, when contents were kept.
    """
    read, notes = read_labels(seen.labels, label_kind(kind))
    seen = replace(seen, labels=read)
    notes |= dict(zip(seen.noted.tolist(), seen.reasons, strict=True))
    changed: dict[int, str | None] = dict.fromkeys(_conflicts(seen, same, notes))
    known = (place for place in map(int, chosen) if read[place] is not None and place not in changed)
    settled = label_kind(kind).settle({place: read[place] for place in known})
    changed |= settled.labels
    return [changed.get(place, read[place]) for place in map(int, chosen)], notes | settled.reasons, settled.understood


def _conflicts(seen: Seen, same: np.ndarray, notes: dict[int, str]) -> list[int]:
    """The rows that stay though equal ones carry other labels; told to `notes`."""
    numbers: dict[str | None, int] = {None: -1}
    codes = np.fromiter((numbers.setdefault(label, len(numbers)) for label in seen.labels), np.int64, len(seen))
    known = np.flatnonzero((same >= 0) & (codes >= 0))
    pairs = np.unique(same[known] * (len(numbers) + 1) + codes[known]) // (len(numbers) + 1)
    places = pairs[1:][np.diff(pairs) == 0]
    counts: dict[int, Counter[str]] = {place: Counter() for place in places.tolist()}
    for row in known[np.isin(same[known], places)].tolist():
        counts[int(same[row])][str(seen.labels[row])] += 1
    for place, labels in counts.items():
        told = ", ".join(f'"{label}" {count} x' for label, count in sorted(labels.items()))
        notes[place] = f"used without a label: equal rows carry different labels ({told})"
    return list(counts)


def _remarks(ledger: pa.Table) -> list[str]:
    """What the user should know of rows that were not used as they are."""
    conflicts = pc.sum(pc.match_substring(ledger.column("reason"), "different labels")).as_py() or 0
    told = [f"{number(conflicts, 'row')} used without a label: equal rows carry different labels"] if conflicts else []
    unread = ledger.filter(pc.starts_with(ledger.column("reason"), UNREAD))
    if len(unread):
        first = unread.slice(0, 1).to_pylist()[0]
        told.append(f"{number(len(unread), 'row')} {first['reason']}, first in {first['key']}")
    for name, verb in ((QUARANTINED, "quarantined"), (EXCLUDED, "excluded")):
        reasons: Counter[str] = Counter()
        for entry in pc.value_counts(ledger.filter(pc.field("fate") == name).column("reason")).to_pylist():
            reasons[general(entry["values"])] += entry["counts"]
        if reasons:
            most = "; ".join(f"{count:,} x {reason}" for reason, count in reasons.most_common(3))
            told.append(f"{number(reasons.total(), 'row')} {verb}: {most}")
    return told


def _ledger(
    seen: Seen, fates: np.ndarray, same: np.ndarray, notes: Mapping[int, str], broken: Sequence[Quarantined]
) -> pa.Table:
    """What became of every row, then of what could not even be cut into rows."""
    copies = fates == FATES.index(DUPLICATE)
    of = seen.keys.take(pa.array(same, mask=~copies))
    blank = pa.scalar("", pa.large_string())
    equal = pc.binary_join_element_wise(pa.scalar("equal to ", pa.large_string()), of, blank)
    noted = np.array(sorted(notes), dtype=np.int64)
    reasons = _spread([notes[place] for place in noted.tolist()], noted, len(seen), pa.large_string())
    kept = _spread(seen.kept, seen.noted, len(seen), pa.large_binary())
    rows = {
        "key": seen.keys,
        "fate": pa.array(FATES).take(pa.array(fates)),
        "reason": pc.coalesce(reasons, equal, blank),
        "of": pc.fill_null(of, ""),
        "kept": pc.fill_null(kept, b""),
    }
    table = pa.table(rows)
    if not broken:
        return table
    more = {
        "key": [entry.key for entry in broken],
        "fate": [QUARANTINED] * len(broken),
        "reason": [entry.reason for entry in broken],
        "of": [""] * len(broken),
        "kept": [entry.kept for entry in broken],
    }
    return pa.concat_tables([table, pa.table(more, schema=table.schema)])


def _spread(values: Sequence[str | bytes], places: np.ndarray, num: int, kind: pa.DataType) -> pa.Array:
    """Some values at their places, nulls elsewhere."""
    index = np.full(num, -1, dtype=np.int64)
    index[places] = np.arange(len(places))
    return pa.array(values, kind).take(pa.array(index, mask=index < 0))
