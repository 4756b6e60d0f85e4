"""Cleaning: every row is used, a duplicate, quarantined, or excluded, with its reason, and the counts add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import xxhash

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.data.rows import (
    KEPT_BYTES,
    TEST,
    VALIDATION,
    Quarantined,
    Raw,
    Row,
    Source,
    Unreadable,
    general,
    listed,
    nothing_left,
    number,
)

USED, DUPLICATE, QUARANTINED, EXCLUDED = "used", "duplicate", "quarantined", "excluded"
FATES = (USED, DUPLICATE, QUARANTINED, EXCLUDED)
_RANK = {TEST: 0, VALIDATION: 1}  # which copy stays: never one in training beside one in the test


@dataclass(frozen=True)
class Cleaned:
    """The rows that are used, in the order of the source, and what became of the others.

    Attributes:
        modality: "text" or "image".
        name: of the source.
        paths: files and folders asked for.
        understood: sentences for the user: those of the source and those of cleaning.
        ids: int64 hash of the content of each row.
        keys: where each row was found.
        labels: class names, None without one.
        splits: "train", "validation", "test", or None where the data do not say.
        groups: what must not be torn apart, None where nothing was named.
        raw: texts, or uint8 pixels in (items, channels, rows, columns).
        ledger: one line for every row there was: key, fate, reason, of (the copy that stays), kept (first bytes of
            what is quarantined).
        counts: how many rows had each fate, and "total".
    """

    modality: str
    name: str
    paths: list[Path]
    understood: list[str]
    ids: np.ndarray
    keys: list[str]
    labels: list[str | None]
    splits: list[str | None]
    groups: list[str | None]
    raw: list[str] | np.ndarray
    ledger: pa.Table
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def classes(self) -> dict[str, int]:
        """Labelled rows of each class, by name."""
        return dict(sorted(Counter(label for label in self.labels if label is not None).items()))


@dataclass(slots=True)
class _Fate:
    """What the ledger says of a row; changed while it is being decided."""

    key: str
    fate: str = USED
    reason: str = ""
    of: str = ""
    kept: bytes = b""


@dataclass(slots=True)
class _Content:
    """One content that occurs, and the places of the rows that have it."""

    value: str | np.ndarray
    id: int
    places: list[int]


def clean(source: Source, settings: Settings) -> Cleaned:
    """Decode all rows, set aside what cannot be used, and keep one of each set of equal rows.

    Equal are texts that differ in case, compatibility forms or blanks only, and images of the same pixels, whatever
    their splits: of a training row and a test row that are equal, the test row stays. Equal rows with different labels
    leave one row without a label; a label that occurs only once is dropped, for nothing could be tested with it.

    Args:
        source: opened by `open_source`.
        settings: `data.min_chars`, `data.image_size`.

    Raises:
        DataError: no row is left.
    """
    reader = import_module(f"seedbed.data.decode_{source.modality}")
    shape, told = reader.working_shape(source.rows, settings)
    fates = [_Fate(row.key) for row in source.rows]
    contents = _read(source.rows, reader, shape, settings, fates)
    chosen: dict[int, _Content] = {}
    labels: dict[int, str | None] = {}
    for content in contents:
        place = _choose(content.places, source.rows, fates)
        chosen[place] = content
        labels[place] = _agreed(content.places, place, source.rows, fates)
    single = _drop_single(labels, fates)
    fates += [_Fate(entry.key, QUARANTINED, entry.reason, kept=entry.kept) for entry in source.quarantined]
    counts = dict(zip(FATES, (sum(fate.fate == name for fate in fates) for name in FATES), strict=True))
    counts["total"] = len(source.rows) + len(source.quarantined)
    assert sum(counts[name] for name in FATES) == counts["total"] and counts[USED] == len(chosen), "a row was lost"
    if not chosen:
        where = ", ".join(map(str, source.paths)) or f"the {source.name}"
        raise nothing_left(where, [Quarantined(fate.key, fate.reason) for fate in fates])
    understood = [*source.understood, *([told] if told else []), *single, *_remarks(fates)]
    order = sorted(chosen)
    rows = [source.rows[place] for place in order]
    return Cleaned(
        modality=source.modality,
        name=source.name,
        paths=source.paths,
        understood=understood,
        ids=np.array([chosen[place].id for place in order], np.uint64).astype(np.int64),
        keys=[row.key for row in rows],
        labels=[labels[place] for place in order],
        splits=[row.split for row in rows],
        groups=[row.group for row in rows],
        raw=reader.pack([chosen[place].value for place in order], shape),
        ledger=_ledger(fates),
        counts=counts,
    )


def require_labels(cleaned: Cleaned) -> None:
    """Refuse what needs labels where there are none, or of one class only.

    Raises:
        DataError: with what is missing.
    """
    classes = cleaned.classes
    if len(classes) >= 2:
        return
    told = [sentence for sentence in cleaned.understood if "label" in sentence or "class" in sentence]
    only = f"only one class, {listed(classes)} ({sum(classes.values()):,} rows)" if classes else "no row has a label"
    raise DataError(
        "There is nothing to learn to tell apart: labels of at least two classes are needed.",
        found=f"{only}, of {number(len(cleaned), 'row')}",
        cause="; ".join(told[:3]),
        fix="Name the column that holds them by --label COLUMN, or only pretrain: seedbed pretrain needs no labels.",
    )


def _read(
    rows: Sequence[Row], reader: ModuleType, shape: tuple[int, ...], settings: Settings, fates: list[_Fate]
) -> list[_Content]:
    """Every content that occurs once, in the order of its first row; unusable rows are told to `fates`."""
    found: dict[int, _Content] = {}
    for place, row in enumerate(rows):
        try:
            content = reader.read(row, settings)
        except Unreadable as error:
            fates[place] = _Fate(row.key, QUARANTINED, str(error), kept=_first_bytes(row.raw))
            continue
        if reason := reader.rule(content):
            fates[place] = _Fate(row.key, EXCLUDED, reason)
            continue
        folded = reader.fold(content)
        digest = xxhash.xxh3_128_intdigest(folded)
        if (known := found.get(digest)) is not None:
            known.places.append(place)
        else:
            found[digest] = _Content(reader.fit(content, shape, settings), xxhash.xxh3_64_intdigest(folded), [place])
    return list(found.values())


def _first_bytes(raw: Raw) -> bytes:
    if isinstance(raw, str):
        return raw[:KEPT_BYTES].encode("utf-8", "surrogatepass")
    return raw[:KEPT_BYTES] if isinstance(raw, bytes) else b""


def _choose(places: list[int], rows: Sequence[Row], fates: list[_Fate]) -> int:
    """The row that stays of equal ones: of the test first, with a label first, then the first."""
    if len(places) == 1:
        return places[0]
    kept = min(places, key=lambda place: (_RANK.get(rows[place].split or "", 2), rows[place].label is None, place))
    for place in places:
        if place != kept:
            fates[place].fate, fates[place].of = DUPLICATE, rows[kept].key
            fates[place].reason = f"equal to {rows[kept].key}"
    return kept


def _agreed(places: list[int], kept: int, rows: Sequence[Row], fates: list[_Fate]) -> str | None:
    """The label of a row that stays; none where equal rows disagree."""
    if len(places) == 1 or len(labels := Counter(rows[place].label for place in places if rows[place].label)) < 2:
        return rows[kept].label
    told = ", ".join(f'"{label}" {count} x' for label, count in sorted(labels.items()))
    fates[kept].reason = f"used without a label: equal rows carry different labels ({told})"
    return None


def _drop_single(labels: dict[int, str | None], fates: list[_Fate]) -> list[str]:
    counts = Counter(label for label in labels.values() if label is not None)
    single = {label for label, count in counts.items() if count == 1}
    for place, label in labels.items():
        if label in single:
            labels[place] = None
            fates[place].reason = f'used without a label: "{label}" occurs only once'
    if not single:
        return []
    return [f"labels that occur only once are dropped, their rows used without: {listed(sorted(single))}"]


def _remarks(fates: list[_Fate]) -> list[str]:
    """What the user should know of rows that were not used as they are."""
    conflicts = sum("different labels" in fate.reason for fate in fates)
    told = [f"{number(conflicts, 'row')} used without a label: equal rows carry different labels"] if conflicts else []
    for name, verb in ((QUARANTINED, "quarantined"), (EXCLUDED, "excluded")):
        reasons = Counter(general(fate.reason) for fate in fates if fate.fate == name)
        if reasons:
            most = "; ".join(f"{count:,} x {reason}" for reason, count in reasons.most_common(3))
            told.append(f"{number(reasons.total(), 'row')} {verb}: {most}")
    return told


def _ledger(fates: list[_Fate]) -> pa.Table:
    return pa.table(
        {
            "key": pa.array([fate.key for fate in fates], pa.large_string()),
            "fate": pa.array([fate.fate for fate in fates], pa.string()),
            "reason": pa.array([fate.reason for fate in fates], pa.string()),
            "of": pa.array([fate.of for fate in fates], pa.large_string()),
            "kept": pa.array([fate.kept for fate in fates], pa.large_binary()),
        }
    )
