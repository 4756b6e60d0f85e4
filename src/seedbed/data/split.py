"""Splits by keyed hash: no permutation, no dependence on how many rows there are, groups never torn apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xxhash

from seedbed.core.errors import UsageError
from seedbed.core.hashing import fold, hash_rows
from seedbed.core.labels import NO_LABEL
from seedbed.core.settings import Settings
from seedbed.data.clean import Cleaned

# HELD: labelled rows kept out of pretraining, for folds. OUT: a row whose group is in a stricter split.
TRAIN, VALIDATION, TEST, HELD, OUT = range(5)
SPLITS = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "held": HELD, "out": OUT}
LABELLED_FOLDS = 1000
_STRICTER = (TRAIN, VALIDATION, HELD, TEST)


@dataclass(frozen=True)
class Ledger:
    """The split of every row and every group there ever was in some data; nothing is ever taken out of it.

    Attributes:
        ids: content hash of a row or hash of the name of a group, int64 ascending.
        splits: int8 codes of SPLITS.
    """

    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    splits: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int8))

    def __len__(self) -> int:
        return len(self.ids)

    def look_up(self, ids: np.ndarray) -> np.ndarray:
        """The split of each id, -1 where it is new."""
        if not len(self):
            return np.full(len(ids), -1, dtype=np.int8)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self) - 1)
        return np.where(self.ids[at] == ids, self.splits[at], -1).astype(np.int8)

    def extended(self, ids: np.ndarray, splits: np.ndarray) -> Ledger:
        """This ledger and what it does not have yet; what it has stays as it is."""
        both, first = np.unique(np.concatenate([self.ids, ids]), return_index=True)
        return Ledger(both, np.concatenate([self.splits, splits.astype(np.int8)])[first])


def group_codes(groups: Sequence[str | None]) -> np.ndarray:
    """A number per group, int64 (rows,): the row where it first occurs; rows without a group are their own."""
    known: dict[str, int] = {}
    codes = np.arange(len(groups))
    for at, name in enumerate(groups):
        if name is not None:
            codes[at] = known.setdefault(name, at)
    return codes


def group_hash(name: str) -> int:
    """What stands for a group in a ledger, int64."""
    return int(np.uint64(xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))).astype(np.int64))


def splits_of_groups(groups: Sequence[str | None], splits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a ledger keeps of named groups: the hash of each, and the split of its rows."""
    split_of = {name: code for name, code in zip(groups, splits.tolist(), strict=True) if name and code != OUT}
    hashes = np.array([group_hash(name) for name in split_of], dtype=np.int64)
    return hashes, np.array(list(split_of.values()), dtype=np.int8)


def assign(cleaned: Cleaned, settings: Settings, seed: int, ledger: Ledger | None = None) -> np.ndarray:
    """The split of every row, int8 codes of SPLITS.

    Given test and validation rows are kept. Without labelled test rows, labels are held for folds when there are fewer
    than 1,000 of them and at least as many rows beside their groups to pretrain on; otherwise a share of the labelled
    groups becomes the test set. Without given validation rows, a share of what is left, labelled or not, is set aside.
    Rows of a group that is in several splits stay in the strictest only; the others are in none.

    Args:
        cleaned: rows in use.
        settings: the shares.
        seed: key of the hash.
        ledger: splits in earlier versions of these data; such rows keep theirs, and new rows follow their group.
    """
    given = np.array([TRAIN if name is None else SPLITS[name] for name in cleaned.splits], dtype=np.int8)
    labelled = np.array([label is not None for label in cleaned.labels], dtype=bool)
    ledger = _binding(ledger or Ledger(), bool((given == TEST).any()))
    fixed = np.where(given != TRAIN, given, ledger.look_up(cleaned.ids))
    first, group = np.unique(group_codes(cleaned.groups), return_inverse=True)
    anchors = _anchors(cleaned, first)
    before = ledger.look_up(anchors)

    split_of = np.full(len(first), -1, dtype=np.int8)
    for code in _STRICTER:
        split_of[group[fixed == code]] = code
        split_of[before == code] = code
    with_label = np.isin(np.arange(len(first)), group[labelled])
    has_test = bool((split_of[group[labelled]] == TEST).any())
    few = 0 < labelled.sum() < LABELLED_FOLDS and labelled.sum() <= (~with_label[group]).sum()
    if (split_of == HELD).any() or (few and not has_test):
        split_of[with_label & (split_of < 0)] = HELD
    elif not (labelled & (given == TEST)).any():
        draw = hash_rows(seed, "test", anchors)
        split_of[_chosen(draw, with_label & (split_of < 0), settings.data.test_share, not has_test)] = TEST
    if not (given == VALIDATION).any():
        draw = hash_rows(seed, "validation", anchors)
        need = not (split_of == VALIDATION).any()
        split_of[_chosen(draw, split_of < 0, settings.data.validation_share, need)] = VALIDATION
    split_of[split_of < 0] = TRAIN

    splits = split_of[group]
    stray = np.where(fixed >= 0, fixed != splits, np.isin(group, group[given != TRAIN]))
    return np.where(stray, OUT, splits).astype(np.int8)


def _binding(ledger: Ledger, test_given: bool) -> Ledger:
    """What of a ledger binds: one from before there were labels binds nothing."""
    return ledger if test_given or np.isin(ledger.splits, (TEST, HELD)).any() else Ledger()


def _anchors(cleaned: Cleaned, rows: np.ndarray) -> np.ndarray:
    """What the split of a row's group is hashed from: the name of the group, or the content of a row without one."""
    anchors = cleaned.ids[rows].copy()
    named = np.array([name is not None for name in cleaned.groups], dtype=bool)
    for at in np.flatnonzero(named[rows]).tolist():
        anchors[at] = group_hash(str(cleaned.groups[rows[at]]))
    return anchors


def _chosen(draw: np.ndarray, among: np.ndarray, share: float, need: bool) -> np.ndarray:
    """Groups whose draw is below the share; where none is but one is needed, the lowest of at least two."""
    chosen = among & (draw < share)
    if need and share > 0 and not chosen.any() and among.sum() > 1:
        candidates = np.flatnonzero(among)
        chosen[candidates[np.argmin(draw[candidates])]] = True
    return chosen


def folds(
    labels: np.ndarray, groups: np.ndarray, k: int, draw: int, seed: int, ids: np.ndarray | None = None
) -> np.ndarray:
    """Cut rows into k folds with about equal labels, int64 fold per row; a group is in one fold.

    Large groups are placed first, in keyed order, each where its labels are scarcest so far.

    Args:
        labels: class index, or stratum, of each row.
        groups: group number of each row.
        k: number of folds.
        draw: repetition; other draws give other folds.
        seed: key of the hash.
        ids: content hash of each row, so that order does not matter; the row's number by default.
    """
    ids = np.arange(len(labels)) if ids is None else ids
    chance = hash_rows(fold(seed, draw), "folds", ids)
    _, label = np.unique(labels, return_inverse=True)
    _, group = np.unique(groups, return_inverse=True)
    # One row a group or a fold, one column a class.
    counts = np.zeros((int(group.max(initial=-1)) + 1, int(label.max(initial=-1)) + 1))
    np.add.at(counts, (group, label), 1.0)
    lowest = np.full(len(counts), np.inf)
    np.minimum.at(lowest, group, chance)
    totals = counts.sum(0)
    loads = np.zeros((k, counts.shape[1]))
    fold_of = np.zeros(len(counts), dtype=np.int64)
    for at in np.lexsort((lowest, -counts.sum(1))).tolist():
        crowded = (loads / totals) @ counts[at]
        best = int(np.lexsort((loads.sum(1), crowded.round(9)))[0])
        fold_of[at] = best
        loads[best] += counts[at]
    return fold_of[group]


def label_subset(
    labels: np.ndarray, n: int, draw: int, seed: int, ids: np.ndarray | None = None, *, covered: bool = True
) -> np.ndarray:
    """Draw n labelled rows, int64 indices: stratified, at least one per class, and nested in n for a draw.

    Args:
        labels: class index, or stratum, of each row, NO_LABEL where there is none.
        n: how many.
        draw: repetition; other draws give other subsets.
        seed: key of the hash.
        ids: content hash of each row, so that order does not matter; the row's number by default.
        covered: fewer rows than classes are refused.

    Raises:
        UsageError: n is below the number of classes or above the number of labels.
    """
    rows = np.flatnonzero(labels != NO_LABEL)
    classes, label, counts = np.unique(labels[rows], return_inverse=True, return_counts=True)
    least = len(classes) if covered else 1
    if not least <= n <= len(rows):
        raise UsageError(
            f"{n} labels cannot be drawn.",
            found=f"{len(rows)} labelled rows" + (f" of {len(classes)} classes." if covered else "."),
            fix=f"Ask for {least} to {len(rows)} labels.",
        )
    chance = hash_rows(fold(seed, draw), "labels", rows if ids is None else ids[rows])
    order = np.lexsort((chance, label))
    rank = np.empty(len(rows))
    rank[order] = np.concatenate([np.arange(count) for count in counts])
    # Each class comes up at even intervals, as often as it is large; the first of each comes before all others.
    turn = np.where(rank == 0, -1.0, (rank + 0.5) / counts[label])
    return rows[np.lexsort((chance, turn))[:n]]
