"""Arms that run when they are asked for: two kinds of features together, and learning from one's own answers.

Each has a companion without pretraining that it must beat as well, so that what the companion's means bring is not
put down to pretraining: stacked features meet the classic features in them, self-training its classic twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from seedbed.core.hashing import hash_rows
from seedbed.core.settings import Settings
from seedbed.data.store import Prepared
from seedbed.evaluate.baselines import Classic, ClassicModel, dense_arm
from seedbed.evaluate.kept import save_classic
from seedbed.evaluate.linear import Linear
from seedbed.evaluate.probes import Pooled
from seedbed.evaluate.selftraining import fit_self_trained
from seedbed.evaluate.stacking import fit_stacked, together
from seedbed.evaluate.verdict import Arm
from seedbed.verbs.arms import Runner, probed, save_linear, tilt_of
from seedbed.verbs.cells import Cell

STACKED, SELF_TRAINED, CLASSIC_SELF_TRAINED = "stacked", "self-trained", "classic self-trained"
# Rows answered for in self-training: more cost time, and the surest are many already.
MOST_POOL = 3000
BESIDE = "classic"  # folder of the classic half of a stacked model, beside the network


def extra_runners(classics: Mapping[str, Classic], settings: Settings) -> list[Runner]:
    """The one without pretraining: self-training on classic features."""
    classic = _dense(classics)
    prepared = classic.prepared

    def learn(rows: np.ndarray) -> tuple[Linear, float]:
        pool_x = classic.features(_pool(prepared, rows, settings.seed))
        labels, num_classes = prepared.labels[rows], len(prepared.facts.classes)
        model, selection = fit_self_trained(classic.features(rows), labels, pool_x, num_classes, settings.seed)
        return model.tilted(tilt_of(prepared, rows, settings)), selection

    def answer(cell: Cell) -> tuple[np.ndarray, float]:
        model, selection = learn(cell.train)
        return model.answers(classic.features(cell.test)), selection

    def keep(rows: np.ndarray, folder: Path) -> None:
        _save_classic(folder, CLASSIC_SELF_TRAINED, classic, learn(rows)[0])

    return [Runner(Arm(CLASSIC_SELF_TRAINED, "selftrained", False), answer, keep)]


def extra_pretrained(pooled: Pooled, classics: Mapping[str, Classic], settings: Settings) -> list[Runner]:
    """Those with pretraining: an encoder's features beside classic ones, and self-training on an encoder's features."""
    prepared = pooled.prepared

    def learn(rows: np.ndarray) -> tuple[Linear, float]:
        pool_x = pooled(_pool(prepared, rows, settings.seed))
        labels, num_classes = prepared.labels[rows], len(prepared.facts.classes)
        return fit_self_trained(pooled(rows), labels, pool_x, num_classes, settings.seed)

    arm = Arm(SELF_TRAINED, "selftrained", True, against=CLASSIC_SELF_TRAINED)
    return [_stacked(pooled, _dense(classics), settings), probed(arm, pooled, settings, learn=learn)]


def _stacked(pooled: Pooled, classic: Classic, settings: Settings) -> Runner:
    prepared = pooled.prepared
    arm = Arm(STACKED, "stacked", True, against=classic.name)

    def learn(rows: np.ndarray) -> tuple[Linear, Linear, float]:
        labels, num_classes = prepared.labels[rows], len(prepared.facts.classes)
        one, other, selection = fit_stacked(pooled(rows), classic.features(rows), labels, num_classes, settings.seed)
        return one.tilted(tilt_of(prepared, rows, settings)), other, selection

    def answer(cell: Cell) -> tuple[np.ndarray, float]:
        one, other, selection = learn(cell.train)
        return together(one.answers(pooled(cell.test)), other.answers(classic.features(cell.test))), selection

    def keep(rows: np.ndarray, folder: Path) -> None:
        one, other, _ = learn(rows)
        _save_classic(folder / BESIDE, STACKED, classic, other)
        save_linear(folder, arm, pooled, one, rows, settings)

    return Runner(arm, answer, keep)


def _dense(classics: Mapping[str, Classic]) -> Classic:
    return next(classic for name, classic in classics.items() if name == dense_arm(classic.prepared.modality))


def _pool(prepared: Prepared, rows: np.ndarray, seed: int) -> np.ndarray:
    """Training rows that are not among the labelled ones, as if none of them had a label, at most so many."""
    others = np.setdiff1d(prepared.rows(split=("train", "validation")), rows)
    return others[np.argsort(hash_rows(seed, "self-training", prepared.ids[others]), kind="stable")[:MOST_POOL]]


def _save_classic(folder: Path, arm: str, classic: Classic, model: Linear) -> None:
    prepared = classic.prepared
    about = {"arm": arm, "images": prepared.manifest.get("images", {})}
    save_classic(folder, ClassicModel(classic.name, classic.rendering, model.state()), prepared.facts, about)
