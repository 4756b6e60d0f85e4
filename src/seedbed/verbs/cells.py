"""What a comparison is made of: label subsets and the rows they are scored on, and answers that survive a kill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xxhash
from safetensors.numpy import load, save

from seedbed.core.errors import DataError
from seedbed.core.hashing import hash_rows
from seedbed.core.runs import Run, write_atomic
from seedbed.core.settings import Settings
from seedbed.core.types import Say
from seedbed.data.labels import label_kind
from seedbed.data.split import folds, label_subset
from seedbed.data.store import Prepared

RUNGS = (50, 200, 1000, 5000)
# Subsets that are nearly the whole pool are nearly the same subset: draws would hardly differ.
LARGEST_SHARE = 0.8


@dataclass(frozen=True)
class Cell:
    """One fit of every arm: labels to learn from, rows to answer for.

    Attributes:
        n_labels: labels of the draw; the rung of the ladder.
        draw: which subset.
        part: which fold of it, 0 with a test set.
        train: rows of the prepared data, with labels.
        test: rows to answer for.
    """

    n_labels: int
    draw: int
    part: int
    train: np.ndarray
    test: np.ndarray

    def name(self, arm: str) -> str:
        """File name of an arm's answers."""
        safe = "".join(letter if letter.isalnum() else "-" for letter in arm)
        return f"{safe}-{self.n_labels}-{self.draw}-{self.part}"


@dataclass(frozen=True)
class Field:
    """Where arms meet: the pool labels are drawn from, and the items they are scored on.

    Attributes:
        pool: labelled rows to draw from.
        items: rows scored, in the order of all tables of answers.
        num_folds: 0 with a test set, else folds over the pool, which is then the items too.
        also: with folds, labelled rows that were pretrained on, for their labels came later: all folds may learn from
            them, none is scored on them.
    """

    prepared: Prepared
    pool: np.ndarray
    items: np.ndarray
    num_folds: int
    seed: int
    also: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def ladder(self, wanted: Sequence[int]) -> tuple[int, ...]:
        """Label counts to compare at, ascending.

        Raises:
            DataError: more labels are wanted than there are.
        """
        most = self.most()
        if wanted:
            if max(wanted) > most:
                raise DataError(
                    f"A comparison at {max(wanted)} labels needs more labels than there are.",
                    found=f"{len(self.pool) + len(self.also)} labelled rows for training"
                    + (f", of which {most} in {self.num_folds} folds" if self.num_folds else "")
                    + ".",
                    fix=f"Ask for at most {most}: --labels {most}.",
                )
            return tuple(sorted(set(wanted)))
        top = most if self.num_folds else int(len(self.pool) * LARGEST_SHARE)
        rungs = [count for count in RUNGS if count <= top]
        return tuple(rungs) if rungs and not self.num_folds else tuple(sorted({*rungs, top}))

    def most(self) -> int:
        """The most labels a draw can have."""
        if not self.num_folds:
            return len(self.pool)
        return len(self.pool) - math.ceil(len(self.pool) / self.num_folds) + len(self.also)

    def cells(self, n_labels: int, draws: int) -> list[Cell]:
        """All fits at one label count, draw by draw."""
        made = []
        for draw in range(draws):
            made += self._folded(n_labels, draw) if self.num_folds else [self._drawn(n_labels, draw)]
        return made

    def pool_share(self, n_labels: int) -> float:
        """How much of the pool a draw is; 0 for repeated folds."""
        return 0.0 if self.num_folds else n_labels / len(self.pool)

    def with_items(self, count: int) -> Field:
        """The same field with only so many of its items: the first in keyed order, whatever order they stand in."""
        if self.num_folds or count >= len(self.items):
            return self
        order = np.argsort(hash_rows(self.seed, "items", self.prepared.ids[self.items]), kind="stable")
        return Field(self.prepared, self.pool, np.sort(self.items[order[:count]]), 0, self.seed)

    def _drawn(self, n_labels: int, draw: int) -> Cell:
        chosen = self.subset(self.pool, n_labels, draw)
        return Cell(n_labels, draw, 0, chosen, self.items)

    def subset(self, rows: np.ndarray, n_labels: int, draw: int, *, covered: bool = True) -> np.ndarray:
        """So many of some labelled rows; where labels are classes, each of them unless that is not asked for."""
        prepared = self.prepared
        covered = covered and label_kind(prepared.facts.label_kind).COVERED
        strata, ids = prepared.strata(rows), prepared.ids[rows]
        return rows[label_subset(strata, n_labels, draw, self.seed, ids=ids, covered=covered)]

    def _folded(self, n_labels: int, draw: int) -> list[Cell]:
        strata, groups = self.prepared.strata(self.pool), self.prepared.groups[self.pool]
        ids = self.prepared.ids[self.pool]
        fold_of = folds(strata, groups, self.num_folds, draw, self.seed, ids=ids)
        made = []
        for part in range(self.num_folds):
            learn, answer = self.pool[fold_of != part], self.pool[fold_of == part]
            if not len(learn) or not len(answer):
                continue
            learn = np.sort(np.concatenate([learn, self.also]))
            if n_labels < len(learn):
                learn = self.subset(learn, n_labels, draw)
            made.append(Cell(n_labels, draw, part, learn, answer))
        return made


def field_of(prepared: Prepared, settings: Settings) -> Field:
    """The field of prepared data: its test rows, or folds over its held rows when labels are few.

    Raises:
        DataError: there are no labels to compare with, or none to score on.
    """
    held = prepared.rows(split="held", labelled=True)
    if len(held):
        # More folds than pairs of labels would leave some with nothing to answer for.
        num_folds = max(min(settings.data.folds, len(held) // 2), 2)
        also = prepared.rows(split="train", labelled=True)
        return Field(prepared, held, held, num_folds, settings.seed, also)
    pool, test = prepared.rows(split="train", labelled=True), prepared.rows(split="test", labelled=True)
    if not len(pool) or not len(test):
        raise DataError(
            "There is nothing to compare with: a proof needs labelled rows to learn from and labelled rows to score.",
            found=f"{len(pool)} labelled training rows, {len(test)} labelled test rows.",
            cause="No label column was given, or the labels stand on one side of the split only.",
            fix="Name the column of the labels: --label COLUMN. Without labels, `pretrain` still works.",
        )
    return Field(prepared, pool, test, 0, settings.seed)


@dataclass(frozen=True)
class Answer:
    """What one arm answered in one cell.

    Attributes:
        answers_IC: class probabilities of the cell's test rows, or what labels of another kind have; see Task.answers.
        selection: the score estimated on the cell's training labels alone.
        seconds: what it cost.
    """

    answers_IC: np.ndarray
    selection: float
    seconds: float


def store(run: Run, cell: Cell, arm: str, answer: Answer) -> None:
    """Keep an answer; the file is whole or not there."""
    folder = run.folder / "eval" / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    body = save(
        {
            "probs": np.ascontiguousarray(answer.answers_IC, np.float64),
            "told": np.array([answer.selection, answer.seconds]),
            "test": np.ascontiguousarray(cell.test, np.int64),
        }
    )
    write_atomic(folder / f"{cell.name(arm)}.safetensors", xxhash.xxh3_128_digest(body) + body)


def stored(run: Run, cell: Cell, arm: str, say: Say) -> Answer | None:
    """An answer kept earlier; None when there is none, or it is damaged, which is said, or of other rows."""
    path = run.folder / "eval" / "cells" / f"{cell.name(arm)}.safetensors"
    if not path.exists():
        return None
    content = path.read_bytes()
    if xxhash.xxh3_128_digest(content[16:]) != content[:16]:
        say("damaged", path=str(path), why="its content does not match its hash; the answer is made again")
        return None
    tensors = load(content[16:])
    if not np.array_equal(tensors["test"], cell.test):
        return None
    return Answer(tensors["probs"], float(tensors["told"][0]), float(tensors["told"][1]))
