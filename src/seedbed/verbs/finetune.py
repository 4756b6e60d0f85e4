"""Fine-tuning: the encoder of a run learns a task from labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from seedbed.core.device import Machine
from seedbed.core.rng import fold
from seedbed.core.runs import Run
from seedbed.core.types import Say, silent
from seedbed.data.clean import require_labels
from seedbed.data.store import Prepared
from seedbed.evaluate.resample import with_bounds
from seedbed.evaluate.scoring import scoring
from seedbed.train.state import Training
from seedbed.verbs.answer import learn_trust
from seedbed.verbs.arms import recipe_of
from seedbed.verbs.drive import Job, drive
from seedbed.verbs.fit import EARLY_STOPPING_FROM, fit_job, holdout, predict_rows
from seedbed.verbs.ground import conclude, finished, prepare_for, stand, working, write_start
from seedbed.verbs.model import NETWORK, require_fit, save_network
from seedbed.verbs.options import Options, Result
from seedbed.verbs.start import open_start


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
    stopping = len(rows) >= EARLY_STOPPING_FROM and ground.settings.finetune.patience > 0
    learn, watch = holdout(prepared, rows, recipe.seed) if stopping else (rows, None)
    stage = recipe.stage(len(learn), stopping=stopping)
    also = {"encoder": str(source.resolve()), **start.identity()}
    planned = also | {"encoder": str(source), "stage": stage.to_json()}
    reasons = [f"{len(rows)} labels, {stage.steps} steps of {stage.batch_size} examples."]
    say("plan", plan=planned | {"steps": stage.steps, "batch_size": stage.batch_size}, reasons=reasons)
    with working("finetune", ground, **also) as folder:
        if folder.status() == "finished":
            return finished(folder, say)
        write_start(folder, ground, prepared, planned)
        job = replace(
            fit_job(model.encoder, prepared, learn, watch, recipe, ground.machine),
            run=folder,
            identity={"dataset_id": prepared.dataset_id},
        )
        drive(job, say)
        extra = {"kind": NETWORK, "task": recipe.task, "options": recipe.options, "seq_len": recipe.seq_len}
        save_network(folder.folder / "model", job.training, prepared, extra)
        return conclude(folder, ground, _told(folder, job, prepared, rows, rows[:0] if watch is None else watch))


def _told(folder: Run, job: Job, prepared: Prepared, rows: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    """Scores on test rows, and how far the model that was just saved can be trusted, by the labels held out of it."""
    training, seq_len = job.training, job.stage.seq_len
    summary = {"labels": len(rows), "steps": training.step, **_scored(training, prepared, seq_len, job.machine)}
    answers_IC = predict_rows(training, prepared, held, seq_len, job.machine)
    trust = learn_trust(folder.folder / "model", answers_IC, held, prepared, job.machine)
    return summary | {"trust": trust}


def _scored(training: Training, prepared: Prepared, seq_len: int, machine: Machine) -> dict[str, Any]:
    """Scores on the labelled test rows, where there are some."""
    test = prepared.rows(split="test", labelled=True)
    if not len(test):
        return {}
    answers_IC = predict_rows(training, prepared, test, seq_len, machine)
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
