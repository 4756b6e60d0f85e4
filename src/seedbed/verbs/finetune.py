"""Fine-tuning: the encoder of a run learns a task from labels."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from seedbed.core.device import Machine
from seedbed.core.hashing import fold
from seedbed.core.runs import Run
from seedbed.core.types import Say, silent
from seedbed.data.clean import require_labels
from seedbed.data.store import Prepared
from seedbed.evaluate.resample import with_bounds
from seedbed.evaluate.scoring import scoring
from seedbed.models.encoder import Encoder
from seedbed.plan.budget import too_short
from seedbed.train.state import Training
from seedbed.verbs.answer import learn_trust
from seedbed.verbs.arms import recipe_of
from seedbed.verbs.checkup import MOST_ROWS, MOST_TEST, Patient, Trained, check_up
from seedbed.verbs.drive import Job, drive
from seedbed.verbs.fit import (
    PARTS,
    SCORING,
    Recipe,
    answer_unseen,
    best_of,
    member_jobs,
    member_rows,
    predict_rows,
    timed_step,
    try_rates,
)
from seedbed.verbs.ground import (
    KEPT_SHARE,
    Ground,
    conclude,
    finished,
    left_s,
    prepare_for,
    spent,
    stand,
    working,
    write_start,
)
from seedbed.verbs.model import NETWORK, require_fit, save_network
from seedbed.verbs.options import Options, Result
from seedbed.verbs.start import open_start

RATES, STEPS = "rates.json", "steps.json"
# Of a network; fewer hardly move it.
FEWEST_STEPS = 10
# How often labelled rows are read when all networks are trained.
READ_AGAIN = 4
# By fewer scores of what is held out nothing can be stopped; they take at most this share of the time.
FEWEST_EVALUATIONS, SCORED_SHARE = 2, 0.25


def finetune(
    run: str | Path,
    data: Any,
    /,
    *,
    out: str | Path = "runs",
    say: Say = silent,
    dry_run: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Train the encoder of a run, or of a checkpoint, on the labelled rows of the data.

    Test rows are scored once, at the end. From 200 labels on, training stops early by a fifth of them held out.

    Args:
        run: a run folder with an encoder, or an --out folder; or a checkpoint folder of transformers ("hf:OWNER/NAME"
            with allow_download), whose tokenizer or image size then become those of the data.
        data: path, glob, arrays or rows, with labels.
        out: folder for runs and prepared data.
        say: listener to events.
        dry_run: stop after the plan.
        options: see `Options`.

    Returns: the run folder; `model/` in it answers.

    Raises:
        DataError: the data have no labels, or are of another modality than the encoder; what `open_start` refuses.
    """
    start = open_start(run, options, say)
    source, model = start.source, start.model
    ground = stand(data, out, say, options, *start.layers)
    require_labels(ground.cleaned)
    require_fit(model, source, ground.cleaned)
    if dry_run:
        return Result(None, {"encoder": str(source), "labels": ground.cleaned.label_shares})
    prepared = prepare_for(ground, model.tokenizer.kind if model.tokenizer else "", model.tokenizer)
    rows = labelled_rows(prepared)
    recipe = recipe_of(model.encoder.spec, ground.settings, fold(ground.settings.seed, "finetune"))
    also = {"encoder": str(source.resolve()), **start.identity()}
    with working("finetune", ground, **also) as folder:
        if folder.status() == "finished":
            return finished(folder, say)
        recipe, bounds = _bounded(ground, model.encoder, prepared, rows, recipe, folder)
        recipe, reasons = _chosen(ground, model.encoder, prepared, rows, recipe, folder)
        jobs = member_jobs(model.encoder, prepared, rows, recipe, ground.machine)
        stage = jobs[0].stage
        reasons = [f"{len(rows)} labels, {stage.steps} steps of {stage.batch_size} examples.", *bounds, *reasons]
        planned = also | {"encoder": str(source), "stage": stage.to_json(), "reasons": reasons}
        say("plan", plan=planned | {"steps": stage.steps, "batch_size": stage.batch_size}, reasons=reasons)
        write_start(folder, ground, prepared, planned)
        members = _trained(jobs, prepared, folder, say, _training_s(ground, folder))
        extra = {"kind": NETWORK, "task": recipe.task, "options": recipe.options, "seq_len": recipe.seq_len}
        save_network(folder.folder / "model", members, prepared, extra)
        patient = Patient(model.encoder, prepared, rows, ground.machine, recipe.seq_len, recipe.seed)
        return conclude(folder, ground, _told(folder, members, patient, recipe))


def _told(folder: Run, members: Sequence[Training], patient: Patient, recipe: Recipe) -> dict[str, Any]:
    """Scores on test rows, how far the model can be trusted by labels held out of it, and what went wrong."""
    prepared, rows, machine = patient.prepared, patient.rows, patient.machine
    summary = {"labels": len(rows), "steps": members[0].step, "lr": recipe.lr}
    summary |= _scored(members, prepared, recipe.seq_len, machine)
    learnt, stopped_by = member_rows(prepared, rows, recipe, 0)
    if len(stopped_by):
        # The first network has not seen its part; the others of an ensemble have.
        held, unseen_IC = stopped_by, predict_rows(members[:1], prepared, stopped_by, recipe.seq_len, machine)
    else:
        held, unseen_IC = answer_unseen(patient.encoder, prepared, rows, recipe, machine)
    trust = learn_trust(folder.folder / "model", unseen_IC, held, prepared, machine)
    return summary | {"trust": trust} | check_up(folder, patient, Trained(members[0], learnt, stopped_by))


def _bounded(
    ground: Ground, start: Encoder, prepared: Prepared, rows: np.ndarray, recipe: Recipe, folder: Run
) -> tuple[Recipe, list[str]]:
    """The recipe with no more steps than the minutes asked for allow, and why; written down before it takes effect.

    Raises:
        BudgetError: too few steps to learn anything.
    """
    if ground.settings.minutes is None:
        return recipe, []
    if not (folder.folder / STEPS).exists():
        folder.write_json(STEPS, _affordable(ground, start, prepared, rows, recipe, folder))
    kept = folder.read_json(STEPS)
    settings = recipe.settings.model_copy(update={"evaluations": int(kept["evaluations"])})
    bounded = replace(recipe, settings=settings, most_steps=int(kept["most_steps"]))
    counts = [some.stage(len(rows), stopping=True).steps for some in (recipe, bounded)]
    reason = (
        f"{counts[1]} of {counts[0]} steps: {kept['networks']} networks of {kept['step_s']:.3g} s a step in "
        f"{ground.settings.minutes:g} minutes."
    )
    return bounded, [reason] if counts[1] < counts[0] else []


def _training_s(ground: Ground, folder: Run) -> float:
    """Seconds left for the networks that are followed; infinite where no minutes were asked for."""
    if ground.settings.minutes is None:
        return math.inf
    return left_s(folder, ground, KEPT_SHARE) - float(folder.read_json(STEPS)["closing_s"])


def _affordable(
    ground: Ground, start: Encoder, prepared: Prepared, rows: np.ndarray, recipe: Recipe, folder: Run
) -> dict[str, Any]:
    """What of the recipe's steps and evaluations fits the minutes, from a step as it was timed."""
    step_s = timed_step(start, prepared, rows, recipe, ground.machine)
    stopping = recipe.stops_early(len(rows))
    stage = recipe.stage(len(rows), stopping=stopping)
    # The best of the trials is trained once more, where it can be followed and resumed. Without labels to stop by,
    # networks that have not seen some of them answer for these, to calibrate by.
    networks = recipe.networks(len(rows)) + (1 if stopping else recipe.parts_unseen)
    read_s = SCORING * step_s * len(rows) / stage.batch_size
    probe_s = read_s if recipe.settings.head_first else 0.0
    scored_s = read_s / PARTS if stopping else 0.0
    # Afterwards the test is scored, and rows are read to know what is unlike them and to look for faults.
    test = prepared.rows(split="test", labelled=True)
    closing = len(test) + min(len(test), MOST_TEST) + READ_AGAIN * min(len(rows), MOST_ROWS)
    closing_s = SCORING * step_s * closing / stage.batch_size
    each_s = (left_s(folder, ground, KEPT_SHARE) - closing_s) / networks
    evaluations = stage.evaluations
    if scored_s:
        evaluations = min(evaluations, max(int(SCORED_SHARE * each_s / scored_s), FEWEST_EVALUATIONS))
    most_steps = int((each_s - probe_s - evaluations * scored_s) / step_s)
    if most_steps < FEWEST_STEPS:
        least_s = networks * (FEWEST_STEPS * step_s + probe_s + FEWEST_EVALUATIONS * scored_s)
        raise too_short(
            f"Fine-tuning has {max(each_s, 0):.1f} s for each of {networks} networks, of {step_s:.3g} s a step.",
            cause=f"At least {FEWEST_STEPS} steps are needed to learn anything, and {len(rows):,} labelled rows to be "
            "read before.",
            least_s=(least_s + closing_s) / KEPT_SHARE + spent(folder, ground),
            instead="leave --minutes out",
        )
    told = {"networks": networks, "step_s": step_s, "closing_s": closing_s, "evaluations": evaluations}
    return told | {"most_steps": min(most_steps, recipe.most_steps)}


def _chosen(
    ground: Ground, start: Encoder, prepared: Prepared, rows: np.ndarray, recipe: Recipe, folder: Run
) -> tuple[Recipe, list[str]]:
    """The recipe with its learning rate and why: the user's, or the best of trials, written down before it is used."""
    if not recipe.trials:
        return recipe, [f"Learning rate {recipe.lr:g}, as asked for."]
    if not (folder.folder / RATES).exists():
        rates = ", ".join(f"{lr:g}" for lr in recipe.trials)
        ground.say("understood", lines=[f"trying learning rates on labels held out: {rates}"])
        tried = try_rates(start, prepared, rows, recipe, ground.machine)
        told = [{"lr": trial.recipe.lr, "loss": trial.loss, "score": trial.score} for trial in tried]
        folder.write_json(RATES, {"tried": told, "lr": best_of(tried).recipe.lr})
    kept = folder.read_json(RATES)
    losses = ", ".join(f"{trial['lr']:g}: {trial['loss']:.3f}" for trial in kept["tried"])
    reason = f"Learning rate {kept['lr']:g}: the best of {len(kept['tried'])} on labels held out (loss {losses})."
    return replace(recipe, lr=float(kept["lr"])), [reason]


def _trained(jobs: Sequence[Job], prepared: Prepared, folder: Run, say: Say, left_s: float) -> list[Training]:
    """The networks of jobs, one after the other, each with its own log and checkpoints, and its share of the time."""
    started = time.monotonic()
    for number, job in enumerate(jobs, 1):
        label = "finetune" if number == 1 else f"finetune-{number}"
        deadline = None if math.isinf(left_s) else started + left_s * number / len(jobs)
        named = replace(job, label=label, run=folder, identity={"dataset_id": prepared.dataset_id}, deadline=deadline)
        drive(named, say)
    return [job.training for job in jobs]


def _scored(members: Sequence[Training], prepared: Prepared, seq_len: int, machine: Machine) -> dict[str, Any]:
    """Scores on the labelled test rows, where there are some."""
    test = prepared.rows(split="test", labelled=True)
    if not len(test):
        return {}
    answers_IC = predict_rows(members, prepared, test, seq_len, machine)
    measured = with_bounds(scoring(prepared.facts.label_kind).measure, answers_IC[None], prepared.labels[test])
    intervals = {name: [found.low, found.high] for name, found in measured.items()}
    return {
        "test": {name: found.value for name, found in measured.items()},
        "test_rows": len(test),
        "intervals": intervals,
    }


def labelled_rows(prepared: Prepared) -> np.ndarray:
    """Rows whose labels may be learnt from: all but those of the test."""
    return prepared.rows(split=("train", "validation", "held"), labelled=True)
