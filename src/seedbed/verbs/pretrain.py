"""Pretraining: the encoder learns from the inputs alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from seedbed.core.config import validate_options
from seedbed.core.device import Machine, configure
from seedbed.core.find import find
from seedbed.core.memory import peak_rss_bytes
from seedbed.core.runs import Run
from seedbed.core.settings import Settings
from seedbed.core.types import Say, silent
from seedbed.data.store import Prepared
from seedbed.data.strings import pick
from seedbed.evaluate.probes import effective_rank, feature_std, features, neighbour_accuracy
from seedbed.export.autoencoder import save_decoder
from seedbed.models.encoder import Encoder, make_spec, num_parameters
from seedbed.models.patches import PatchDecoder
from seedbed.plan.advise import Plan, advise, pretrain_stage, with_horizon, with_memory
from seedbed.plan.budget import Footprint
from seedbed.plan.profile import Profile, profile
from seedbed.train.assemble import Stage, assemble, loader_of
from seedbed.train.cost import MOST_TIMED, kept_bytes, step_seconds
from seedbed.train.state import Training
from seedbed.verbs.drive import Job, Progress, drive
from seedbed.verbs.ground import SPENT_SHARE, Ground, conclude, finished, prepare_for, stand, working, write_start
from seedbed.verbs.model import save_encoder
from seedbed.verbs.options import Options, Result
from seedbed.verbs.reuse import earlier_encoder, pretraining_key

WATCHED_ROWS = 256
PROBED_ROWS = 500
SCORED_ROWS = 512


def pretrain(
    data: Any, /, *, out: str | Path = "runs", say: Say = silent, dry_run: bool = False, **options: Unpack[Options]
) -> Result:
    """Train an encoder on the inputs of the training rows, without labels.

    Args:
        data: path, glob, arrays or rows: whatever `seedbed.open` understands.
        out: folder for runs and prepared data.
        say: listener to events.
        dry_run: stop after the plan.
        options: see `Options`.

    Returns: the run folder; `model/` in it holds the encoder.
    """
    ground = stand(data, out, say, options)
    plan = advise(profile_of(ground), ground.settings, ground.machine)
    check_options(plan, ground.settings)
    if dry_run:
        say("plan", plan=plan.to_json(), reasons=list(plan.reasons))
        return Result(None, {"plan": plan.to_json()})
    prepared = prepare_for(ground, plan.tokenizer)
    with working("pretrain", ground) as run:
        if run.status() == "finished":
            return finished(run, say)
        key = key_of(ground, prepared, plan)
        earlier = earlier_encoder(ground.out, key, run)
        plan = earlier.plan if earlier else settle(ground, prepared, plan, run)
        write_start(run, ground, prepared, plan.to_json())
        say("plan", plan=plan.to_json(), reasons=[earlier.reason] if earlier else list(plan.reasons))
        encoder, told = earlier.pair if earlier else train_encoder(ground, prepared, plan, run).pair(plan)
        save_encoder(run.folder / "model", encoder, prepared, {"objective": plan.objective})
        run.record(pretraining=key)
        return conclude(run, ground, told)


@dataclass(frozen=True)
class Trained:
    """A pretrained encoder and how its training went."""

    encoder: Encoder
    progress: Progress
    training: Training

    def pair(self, plan: Plan) -> tuple[Encoder, dict[str, Any]]:
        """The encoder, and how its training went."""
        return self.encoder, self.summary(plan)

    def summary(self, plan: Plan) -> dict[str, Any]:
        """Main figures for run.json."""
        return {
            "objective": plan.objective,
            "trunk": plan.trunk,
            "size": plan.size,
            "parameters": num_parameters(self.encoder),
            "steps": self.training.step,
            "loss": self.progress.last.get("loss"),
            "chance": self.progress.last.get("chance"),
            "train_seconds": self.progress.seconds,
            "skipped_steps": len(self.training.skipped),
            "peak_rss_bytes": peak_rss_bytes(),
        }


def profile_of(ground: Ground) -> Profile:
    """The data in numbers, without the given test rows."""
    cleaned = ground.cleaned
    rows = np.array([row for row, split in enumerate(cleaned.splits) if split != "test"], dtype=np.int64)
    raw = cleaned.raw[rows] if isinstance(cleaned.raw, np.ndarray) else pick(cleaned.raw, rows)
    return profile(cleaned.modality, raw, [cleaned.labels[row] for row in rows.tolist()])


def check_options(plan: Plan, settings: Settings) -> None:
    """Refuse options that the objective or the task does not have, before any work is done.

    Raises:
        UsageError: an unknown key or a bad value.
    """
    validate_options(find("objectives", plan.objective).config_class, settings.objective_options, "objective_options")
    validate_options(find("tasks", settings.task).config_class, settings.task_options, "task_options")


def settle(ground: Ground, prepared: Prepared, plan: Plan, run: Run, prove_s: float = 0.0) -> Plan:
    """Add micro-batch and number of steps to the plan, from the learner as built and measured steps.

    A plan that is already on disk is taken as it is, so that a continued run is exact.
    """
    if (run.folder / "plan.json").exists():
        return Plan.from_json(run.read_json("plan.json"))
    settings, machine = ground.settings, ground.machine
    rows = pretraining_rows(prepared, settings)
    stage = replace(pretrain_stage(plan, settings), steps=MOST_TIMED + 1)
    # To be measured, and thrown away.
    training, loader = _assembled(stage, plan, prepared, machine), loader_of(stage, prepared, rows)
    kept = kept_bytes(training, loader.batch(0), machine)
    footprint = Footprint(num_parameters(training.learner), *kept, ema=settings.pretrain.ema > 0)
    plan = with_memory(
        plan, footprint, machine, coupled=training.learner.coupled, chosen=settings.pretrain.micro_batch is not None
    )
    training.micro_batch = pretrain_stage(plan, settings).micro_batch
    step_s = 0.0 if settings.steps is not None else step_seconds(training, loader.batch, machine)
    deadline = ground.deadline()
    left_s = (plan.seconds or 0.0) if deadline is None else deadline - time.monotonic()
    return with_horizon(
        plan, settings, step_s=step_s, epoch_steps=loader.steps_per_epoch, left_s=left_s, prove_s=prove_s
    )


def pretraining_rows(prepared: Prepared, settings: Settings) -> np.ndarray:
    """Rows whose inputs may be learnt from: training rows, and all but held-out labels under `transductive`."""
    rows = prepared.rows(split="train")
    if settings.data.transductive:
        rows = np.sort(np.concatenate([rows, prepared.rows(split="test"), prepared.rows(split="held")]))
    return rows


def key_of(ground: Ground, prepared: Prepared, plan: Plan) -> str:
    """Fingerprint of the pretraining that a plan, not yet settled, stands for."""
    rows = [pretraining_rows(prepared, ground.settings), prepared.rows(split="validation")]
    return pretraining_key(plan, prepared, ground.settings, rows)


def train_encoder(
    ground: Ground, prepared: Prepared, plan: Plan, run: Run, *, deadline: float | None = None
) -> Trained:
    """Run the pretraining stage to its end, continuing where it stood."""
    settings, machine = ground.settings, planned_machine(plan, ground)
    stage = pretrain_stage(plan, settings)
    training = _assembled(stage, plan, prepared, machine)
    loader = loader_of(stage, prepared, pretraining_rows(prepared, settings))
    validation = prepared.rows(split="validation")
    scored = None
    if len(validation):
        scored = partial(loader_of(stage, prepared, validation).evaluation, SCORED_ROWS, min(stage.batch_size, 64))
    encoder = training.learner.encoders[prepared.modality]
    assert isinstance(encoder, Encoder), "every learner holds an Encoder per modality"
    job = Job(
        label="pretrain",
        stage=stage,
        training=training,
        machine=machine,
        batch_at=loader.batch,
        validation=scored,
        monitor=_monitor(encoder, prepared, plan, machine),
        run=run,
        identity={"dataset_id": prepared.dataset_id},
        deadline=deadline or (ground.deadline(SPENT_SHARE) if settings.steps is None else None),
    )
    progress = drive(job, ground.say)
    decoder = dict(training.learner.named_children()).get("decoder")
    if isinstance(decoder, PatchDecoder):
        save_decoder(run.folder, decoder, float(training.config.model_dump()["hidden"]))
    return Trained(encoder, progress, training)


def planned_machine(plan: Plan, ground: Ground) -> Machine:
    """The machine as the plan uses it: a continued run computes with what it began with."""
    machine = replace(ground.machine, precision=plan.precision, threads=plan.threads)
    configure(machine)
    return machine


def _assembled(stage: Stage, plan: Plan, prepared: Prepared, machine: Machine) -> Training:
    spec = make_spec(prepared.modality, plan.trunk, plan.size, prepared.facts)
    return assemble(stage, prepared.facts, spec, machine.device)


def _monitor(encoder: Encoder, prepared: Prepared, plan: Plan, machine: Machine) -> Any:
    """Watch the encoder on training rows: spread and rank of its features, and its neighbours' labels."""
    train = prepared.rows(split="train")
    watched = train[:: max(len(train) // WATCHED_ROWS, 1)][:WATCHED_ROWS]
    labelled = np.concatenate([prepared.rows(split="train", labelled=True), prepared.rows(split="held", labelled=True)])
    probed = labelled[:: max(len(labelled) // PROBED_ROWS, 1)][:PROBED_ROWS]
    seq_len = plan.seq_len and max(plan.seq_len, 256)
    # Of numbers it is told whether neighbours are in the same tenth, of sets whether they share the rarest name.
    labels = prepared.strata(probed)

    @torch.no_grad()
    def measure() -> dict[str, float]:
        seen = features(encoder, prepared, watched, machine, seq_len)
        found = {"feature_std": feature_std(seen), "effective_rank": effective_rank(seen)}
        if len(probed) >= 20 and len(np.unique(labels)) > 1:
            known = features(encoder, prepared, probed, machine, seq_len)
            found["probe"] = neighbour_accuracy(known, labels)
        return found

    return measure
