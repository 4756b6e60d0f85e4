"""The best arm of a comparison, whatever it is, trained once more on all labels: the model the run leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seedbed.data.split import folds
from seedbed.verbs.answer import learn_trust
from seedbed.verbs.arms import Runner
from seedbed.verbs.cells import Cell
from seedbed.verbs.proof import Contest, Judged

PARTS = 5
# Arms that take seconds answer for every label out of fold; others for a fifth of them, which one more fit costs.
CHEAP = ("majority", "classic", "frozen", "untrained")


def keep_winner(contest: Contest, judged: Judged, folder: Path) -> dict[str, Any]:
    """Train the best arm on every label that is not for scoring and write it as a model folder.

    Args:
        contest: the comparison.
        judged: what it found.
        folder: to write to.

    Returns: what model/ holds, for the summary.
    """
    prepared, best = contest.prepared, judged.best
    rows = prepared.rows(split=("train", "validation", "held"), labelled=True)
    best.keep(rows, folder)
    trust = learn_trust(folder, *_held_out(contest, best, rows), prepared, contest.machine)
    return {"model": {"arm": best.arm.name, "labels": len(rows)}, "trust": trust}


def _held_out(contest: Contest, best: Runner, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers (I, C) for labelled rows by models that have not seen their labels, and those rows."""
    prepared, seed = contest.prepared, contest.settings.seed
    fold_of = folds(prepared.strata(rows), prepared.groups[rows], PARTS, 0, seed, ids=prepared.ids[rows])
    answers, answered = [np.empty((0, prepared.facts.num_outputs))], [rows[:0]]
    for part in range(PARTS if best.arm.kind in CHEAP else 1):
        learn, held = rows[fold_of != part], rows[fold_of == part]
        if len(learn) and len(held):
            answers.append(best.answer(Cell(len(learn), 0, part, learn, held))[0])
            answered.append(held)
    return np.concatenate(answers), np.concatenate(answered)
