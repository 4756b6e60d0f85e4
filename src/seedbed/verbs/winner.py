"""The best arm of a comparison, whatever it is, trained once more on all labels: the model the run leaves behind."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.data.split import folds
from seedbed.evaluate.linear import MANY
from seedbed.verbs.answer import learn_trust
from seedbed.verbs.arms import Runner
from seedbed.verbs.cells import Cell
from seedbed.verbs.proof import Contest, Judged

PARTS = 5
# Arms that take seconds answer for every label out of fold; others for a fifth of them, which one more fit costs.
CHEAP = ("majority", "classic", "frozen", "untrained")
PLAN = "winner-plan.json"
# Fits on so many times as many labels are timed, at most so often.
GROWTH, MEASURED = 4, 4


def keep_winner(contest: Contest, judged: Judged, folder: Path, left_s: float) -> dict[str, Any]:
    """Train the best arm on every label that is not for scoring and write it as a model folder.

    Args:
        contest: the comparison.
        judged: what it found.
        folder: to write to.
        left_s: seconds there are; where all labels would take longer, it learns from as many as fit, which is said.

    Returns: what model/ holds, for the summary.
    """
    prepared, best = contest.prepared, judged.best
    every = prepared.rows(split=("train", "validation", "held"), labelled=True)
    rows = _afforded(contest, judged, every, left_s)
    if len(rows) < len(every):
        told = f"The model that is kept learns from {len(rows):,} of {len(every):,} labels: more do not fit the time."
        contest.say("warning", text=told)
    best.keep(rows, folder)
    trust = learn_trust(folder, *_held_out(contest, best, rows), prepared, contest.machine)
    return {"model": {"arm": best.arm.name, "labels": len(rows), "of": len(every)}, "trust": trust}


def _afforded(contest: Contest, judged: Judged, every: np.ndarray, left_s: float) -> np.ndarray:
    """The labelled rows that fit the time, by what fits of the comparison took; written down before it takes effect."""
    run = contest.run
    if not (run.folder / PLAN).exists():
        run.write_json(PLAN, {"labels": _fitting(contest, judged, every, time.monotonic() + left_s)})
    return _some(contest, every, int(run.read_json(PLAN)["labels"]))


def _fitting(contest: Contest, judged: Judged, every: np.ndarray, deadline: float) -> int:
    """How many labels fit, from fits of the comparison; of where these were small, larger ones say more.

    What a small fit takes is mostly what any fit takes, or a hundredth of what support vectors of many labels take: so
    no more than GROWTH times what was tried is taken on trust, and time grows on as it grew.
    """
    if not math.isfinite(deadline):
        return len(every)
    best, known, fit_s, power = judged.best, min(max(judged.told["labels"]), len(every)), judged.fit_s, 1.0
    sizes = np.unique(np.geomspace(known, len(every), 64).astype(int)).tolist()
    fits = 1 + _parts(best, len(every)) * (1 - 1 / PARTS)
    for _ in range(MEASURED):
        left_s, unit_s = deadline - time.monotonic(), fit_s / best.work(known) ** power
        fitting = max((size for size in sizes if fits * unit_s * best.work(size) ** power <= left_s), default=sizes[0])
        more = min(GROWTH * known, fitting)
        if fitting == len(every) <= GROWTH * known or more <= known:
            break
        began, rows = time.monotonic(), _some(contest, every, more)
        best.answer(Cell(more, 0, 0, rows, rows[:1]))
        took_s, grown = time.monotonic() - began, best.work(more) / best.work(known)
        if grown >= 2 and took_s > fit_s > 0:
            power = max(1.0, math.log(took_s / fit_s) / math.log(grown))
        known, fit_s = more, took_s
    return fitting


def _some(contest: Contest, every: np.ndarray, count: int) -> np.ndarray:
    """So many of the labelled rows, in their order."""
    return np.sort(contest.field.subset(every, count, 0, covered=False))


def _parts(best: Runner, num_labels: int) -> int:
    """How many fifths of the labels are answered for by a fit without them; of many, one tells enough."""
    return PARTS if best.arm.kind in CHEAP and num_labels <= MANY else 1


def _held_out(contest: Contest, best: Runner, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers (I, C) for labelled rows by models that have not seen their labels, and those rows."""
    prepared, seed = contest.prepared, contest.settings.seed
    fold_of = folds(prepared.strata(rows), prepared.groups[rows], PARTS, 0, seed, ids=prepared.ids[rows])
    answers, answered = [np.empty((0, prepared.facts.num_outputs))], [rows[:0]]
    for part in range(_parts(best, len(rows))):
        learn, held = rows[fold_of != part], rows[fold_of == part]
        if len(learn) and len(held):
            answers.append(best.answer(Cell(len(learn), 0, part, learn, held))[0])
            answered.append(held)
    return np.concatenate(answers), np.concatenate(answered)
