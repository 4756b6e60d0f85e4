"""The one `for` over steps in which a stage logs, evaluates, monitors, saves and stops; for both stages."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from torch import Tensor

from seedbed.core.device import Machine
from seedbed.core.errors import DataError, Interrupted
from seedbed.core.runs import Run
from seedbed.core.types import Batch, Say
from seedbed.train import checkpoint
from seedbed.train.assemble import Stage
from seedbed.train.loop import Step, steps
from seedbed.train.scoring import Score, evaluate
from seedbed.train.state import Horizon, Training

LOG_POINTS = 400
SAY_EVERY_S = 0.25
CUT_AT = (0.25, 0.5, 0.75)
COLLAPSED = 0.05
BEST = "best/"


@dataclass(frozen=True)
class Job:
    """One stage to be trained.

    Attributes:
        label: name in logs: "pretrain" or "finetune".
        batch_at: step -> batch.
        validation: makes the batches to score; None without validation rows.
        monitor: measures of the encoder beside the loss, by name; None for none.
        run: where to log and save; None to do neither (short fits inside a proof).
        identity: what a checkpoint must agree on, such as the data set; other values are refused.
        deadline: time.monotonic() at which the stage should be done, if no earlier process has spent time on it; None
            when steps were asked for.
    """

    label: str
    stage: Stage
    training: Training
    machine: Machine
    batch_at: Callable[[int], Batch]
    validation: Callable[[], Iterator[Batch]] | None = None
    monitor: Callable[[], dict[str, float]] | None = None
    run: Run | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    deadline: float | None = None


@dataclass
class Progress:
    """What a stage has come to; saved with every checkpoint."""

    best_loss: float = math.inf
    best_step: int = 0
    bad: int = 0
    stopped: bool = False
    seconds: float = 0.0
    positions: int = 0
    floor: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All but the tensors; a checkpoint's state must not hold infinities."""
        values = {name: value for name, value in vars(self).items() if name != "best"}
        return {**values, "best_loss": None if math.isinf(self.best_loss) else self.best_loss}

    @staticmethod
    def from_json(values: dict[str, Any], best: dict[str, Tensor]) -> Progress:
        """The progress that was saved."""
        loss = values["best_loss"]
        return Progress(**{**values, "best_loss": math.inf if loss is None else loss}, best=best)


@dataclass
class Clock:
    """Time of this process on this stage; earlier processes' time is in Progress.seconds."""

    before_s: float
    first_step: int
    started: float = field(default_factory=time.monotonic)
    spoken: float = 0.0
    saved: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Seconds spent on the stage, over restarts."""
        return self.before_s + time.monotonic() - self.started

    def seconds_per_step(self, step: int) -> float:
        """Mean over this process, evaluation and saving included."""
        return max(time.monotonic() - self.started, 1e-6) / max(step - self.first_step, 1)


def drive(job: Job, say: Say) -> Progress:
    """Train one stage to its end, or to a signal; continues from its newest sound checkpoint.

    Afterwards the learner holds the weights to use: the best ones under early stopping, else the averaged ones under an
    EMA, else the last.

    Raises:
        Interrupted: SIGINT or SIGTERM came; everything is saved and the same command continues.
    """
    progress = _resume(job, say)
    training = job.training
    say("stage", stage=job.label, steps=training.horizon.total, done=training.step)
    if training.step == 0:
        _measure(job, progress, say, untrained=True)
    clock = Clock(progress.seconds, training.step)
    window: list[Step] = []
    with _signals(job.run is not None) as caught:
        for item in () if progress.stopped else steps(training, job.batch_at, job.machine):
            window.append(item)
            progress.positions += item.positions
            progress.seconds = clock.seconds()
            total = training.horizon.known(item.step - 1)
            _tell(job, item, progress, clock, say)
            if _every(item.step, total, LOG_POINTS):
                _log_steps(job, window)
                window = []
            if _every(item.step, total, job.stage.evaluations):
                _measure(job, progress, say)
            _shorten(job, item.step, clock, say)
            if caught or time.monotonic() - clock.saved > job.stage.save_every_s:
                _save(job, progress, say)
                clock.saved = time.monotonic()
            if caught:
                raise _interrupted(job, item.step, caught[0])
            if progress.stopped:
                break
    if job.run is not None and clock.first_step < training.step:
        _save(job, progress, say)
    _use_best(training, progress)
    return progress


def _every(step: int, total: int, times: int) -> bool:
    """True at `times` evenly spaced steps, the last among them; pure in the step."""
    return step >= total or step * times // total != (step - 1) * times // total


def _tell(job: Job, item: Step, progress: Progress, clock: Clock, say: Say) -> None:
    total = job.training.horizon.total
    if time.monotonic() - clock.spoken < SAY_EVERY_S and item.step < total:
        return
    clock.spoken = time.monotonic()
    player = job.training.learner.players[0]
    say(
        "step",
        stage=job.label,
        step=item.step,
        steps=total,
        loss=item.losses[player],
        losses=item.losses,
        chance=progress.last.get("chance"),
        rate=progress.positions / max(progress.seconds, 1e-9),
        unit="tokens" if job.training.facts.modality == "text" else "examples",
        eta_s=clock.seconds_per_step(item.step) * (total - item.step),
        lr=item.lr,
    )


def _log_steps(job: Job, window: list[Step]) -> None:
    """One line for the steps since the last: their mean loss, weighted by units."""
    if job.run is None:
        return
    counted = [item for item in window if item.units and not item.skipped]
    units = sum(item.units for item in counted) or math.nan
    last = window[-1]
    losses = {player: sum(item.losses[player] * item.units for item in counted) / units for player in last.losses}
    first = losses[job.training.learner.players[0]]
    job.run.log(
        {
            "stage": job.label,
            "event": "step",
            "step": last.step,
            "loss": None if math.isnan(first) else first,
            "losses": {player: None if math.isnan(loss) else loss for player, loss in losses.items()},
            "lr": last.lr,
            "grad_norm": last.grad_norm if math.isfinite(last.grad_norm) else None,
            "rate": sum(item.positions for item in window) / max(sum(item.seconds for item in window), 1e-9),
            "skipped": sum(item.skipped for item in window),
            "metrics": {name: value for name, value in last.metrics.items() if math.isfinite(value)},
        }
    )


def _measure(job: Job, progress: Progress, say: Say, *, untrained: bool = False) -> None:
    """Score the validation rows and watch the encoder; decides about early stopping."""
    training, step = job.training, job.training.step
    with training.ema.swapped() if training.ema else nullcontext():
        score = evaluate(training, job.validation(), job.machine) if job.validation else None
        watched = job.monitor() if job.monitor else {}
        if score is not None and not untrained:
            _judge(training, job.stage, progress, score)
    if untrained:
        progress.floor = dict(watched)
    if score is not None:
        progress.last = {"loss": score.loss, **({} if score.chance is None else {"chance": score.chance})}
        say("evaluation", stage=job.label, step=step, loss=score.loss, chance=score.chance, metrics=score.metrics)
    _warn_of_collapse(progress, watched, say)
    if job.run is None or not (score or watched):
        return
    job.run.log(
        {
            "stage": job.label,
            "event": "evaluation",
            "step": step,
            "loss": score.loss if score and math.isfinite(score.loss) else None,
            "chance": score.chance if score else None,
            "metrics": score.metrics if score else {},
            "seconds": progress.seconds,
            "untrained_floor": progress.floor.get("probe"),
            "keeps_best": bool(job.stage.patience),
            **watched,
        }
    )


def _judge(training: Training, stage: Stage, progress: Progress, score: Score) -> None:
    """Keep the best weights, count evaluations without progress."""
    if score.loss < progress.best_loss:
        progress.best_loss, progress.best_step, progress.bad = score.loss, training.step, 0
        if stage.patience:
            progress.best = {name: value.clone() for name, value in training.learner.state_dict().items()}
    else:
        progress.bad += 1
        progress.stopped = bool(stage.patience) and progress.bad >= stage.patience


def _warn_of_collapse(progress: Progress, watched: dict[str, float], say: Say) -> None:
    now, before = watched.get("feature_std"), progress.floor.get("feature_std")
    rank, rank_before = watched.get("effective_rank", 0.0), progress.floor.get("effective_rank", 0.0)
    # Word vectors come to share a direction and yet tell texts apart: only a loss of rank too is a collapse.
    if now is not None and before and now < COLLAPSED * before and rank < COLLAPSED * rank_before:
        say(
            "warning",
            text=f"The encoder's features hardly differ between examples any more (spread {now:.3g}, untrained "
            f"{before:.3g}): the objective may have collapsed.",
        )


def _shorten(job: Job, step: int, clock: Clock, say: Say) -> None:
    """At 25, 50 and 75 % compare the clock with the plan; a shorter horizon is written down before it takes effect."""
    horizon = job.training.horizon
    planned, total = horizon.cuts[0][1], horizon.total
    already = step <= horizon.cuts[-1][0]
    if job.deadline is None or already or not any(step == math.ceil(planned * share) for share in CUT_AT):
        return
    left_s = job.deadline - clock.before_s - time.monotonic()
    affordable = step + max(int(left_s / clock.seconds_per_step(step)), 1)
    if affordable >= total:
        return
    shorter = horizon.shortened(step, affordable)
    if job.run is not None:
        job.run.write_json(_horizon_file(job), {"cuts": [list(cut) for cut in shorter.cuts]})
    job.training.horizon = shorter
    say("horizon", stage=job.label, step=step, steps=affordable, before=total)


def _horizon_file(job: Job) -> str:
    return f"horizon-{job.label}.json"


def _save(job: Job, progress: Progress, say: Say) -> None:
    if job.run is None:
        return
    training = job.training
    tensors, scalars = checkpoint.pack(training.learner, training.optimizers, training.ema)
    tensors |= {BEST + name: value for name, value in progress.best.items()}
    state = {
        "identity": job.identity,
        "stage": job.stage.to_json(),
        "skipped": training.skipped,
        "progress": progress.to_json(),
        "scalars": scalars,
    }
    checkpoint.save(job.run.folder / "checkpoints" / job.label, training.step, tensors, state, job.stage.keep)
    say("saved", stage=job.label, step=training.step)


def _resume(job: Job, say: Say) -> Progress:
    """Load the newest sound checkpoint into the training, with the horizon as it was written down."""
    training = job.training
    if job.run is None:
        return Progress()
    if (job.run.folder / _horizon_file(job)).exists():
        cuts = job.run.read_json(_horizon_file(job))["cuts"]
        training.horizon = Horizon(tuple((int(start), int(total)) for start, total in cuts))
    found = checkpoint.load_latest(job.run.folder / "checkpoints" / job.label, say)
    job.run.truncate_log(found.step if found else -1, job.label)
    if found is None:
        return Progress()
    for name, mine in (("identity", job.identity), ("stage", job.stage.to_json())):
        if found.state[name] != mine:
            differing = [key for key in mine if mine[key] != found.state[name].get(key)]
            raise DataError(
                f"{job.run.folder}: its checkpoint of {job.label} was made with another {name}.",
                found=", ".join(f"{key}: {found.state[name].get(key)} then, {mine[key]} now" for key in differing),
                cause="The data, the options or the program changed since.",
                fix="Give another --out, or remove that run folder, to start anew.",
            )
    best = {name.removeprefix(BEST): value for name, value in found.tensors.items() if name.startswith(BEST)}
    checkpoint.unpack_(found.tensors, found.state["scalars"], training.learner, training.optimizers, training.ema)
    training.step = found.step
    training.skipped = list(found.state["skipped"])
    say("resumed", stage=job.label, step=found.step)
    return Progress.from_json(found.state["progress"], best)


def _use_best(training: Training, progress: Progress) -> None:
    """Put the weights to be used into the learner."""
    if progress.best:
        training.learner.load_state_dict(progress.best)
    elif training.ema is not None:
        training.ema.copy_()


def _interrupted(job: Job, step: int, number: int) -> Interrupted:
    return Interrupted(
        f"Stopped by {signal.Signals(number).name} after step {step} of {job.label}.",
        found=f"Everything is saved in {job.run.folder if job.run else 'memory only'}.",
        fix="Give the same command again to continue.",
    )


@contextmanager
def _signals(wanted: bool) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying; a second one acts as usual. Only the main thread can."""
    caught: list[int] = []
    before: dict[int, Any] = {}

    def remember(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)) if wanted else ():
            before[number] = signal.getsignal(number)
            signal.signal(number, remember)
    except ValueError:
        before.clear()
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
