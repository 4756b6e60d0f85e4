"""The one loop: every modality, both stages, any number of players.

`steps` is a generator; whoever wants another driver writes another `for` over it. A learner returns sums and counts;
the loop adds them over micro-batches and divides once. All randomness is a function of (seed, step, ...), so what has
to be saved is weights, optimisers and the step number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedbed.core.device import Machine, autocast
from seedbed.core.errors import TrainingError, UsageError
from seedbed.core.hashing import fold
from seedbed.core.rng import keys_for
from seedbed.core.types import Batch, Learner, Loss, Moment
from seedbed.train.optim import clip_, eval_frozen_
from seedbed.train.schedule import schedule
from seedbed.train.scoring import Sums
from seedbed.train.state import Training

SKIPS_ALLOWED = 3
SKIP_WINDOW = 50


class Step(NamedTuple):
    """What one optimiser step was.

    Attributes:
        step: steps done after this one.
        losses: player -> mean loss per unit.
        units: units counted in the first player's loss.
        positions: real input positions (tokens, patches or examples) of the batch.
        metrics: name -> mean.
        grad_norm: of the first player, before clipping.
        lr: learning rate of the first player, the highest where layers differ.
        skipped: whether the update was left out.
        seconds: duration.
    """

    step: int
    losses: dict[str, float]
    units: float
    positions: int
    metrics: dict[str, float]
    grad_norm: float
    lr: float
    skipped: bool
    seconds: float


def steps(training: Training, batch_at: Callable[[int], Batch], machine: Machine) -> Iterator[Step]:
    """Train to the horizon, one optimiser step of every player an item.

    Args:
        training: changed in place; after each item it is what a checkpoint of that step must hold.
        batch_at: the global batch of a step, pure in the step.
        machine: device, threads and precision.

    Raises:
        UsageError: a coupled learner was asked to split its batch.
        TrainingError: too many steps in a short while were not finite.
    """
    training.learner.train()
    if training.freeze:
        eval_frozen_(training.learner, training.freeze)
    parameters = {player: _trained(training, player) for player in training.learner.players}
    _only_gradients_of(training.learner, [one for each in parameters.values() for one in each])
    while training.step < training.horizon.total:
        started = time.perf_counter()
        batch = batch_at(training.step)
        item = _one_step(training, parameters, batch.to(torch.device(machine.device)), machine, started)
        training.step += 1
        _stop_when_hopeless(training, batch, item)
        yield item


def _one_step(
    training: Training, parameters: dict[str, list[nn.Parameter]], batch: Batch, machine: Machine, started: float
) -> Step:
    learner, step = training.learner, training.step
    _refuse_coupled(training, batch)
    planned = training.horizon.planned
    place = learner.phase(training.horizon.progress(step))[1] * planned
    factor = schedule(place, planned, training.warmup, training.schedule, training.cooldown)
    sums = {player: Sums() for player in learner.players}
    norms: list[float] = []
    statistics = [(buffer, buffer.clone()) for buffer in _batch_statistics(learner)]
    skipped = False
    for player in learner.players:
        trained = parameters[player]
        if len(learner.players) > 1:
            _only_gradients_of(learner, trained)
        parts = batch.split(training.micro_batch or max(len(batch), 1))
        for index, part in enumerate(parts):
            loss = _loss(training, part, player, index, machine)
            sums[player].add(loss)
            if loss.total.requires_grad:
                loss.total.backward()
        finite = _update(training, player, trained, sums[player], factor, norms)
        skipped = skipped or not finite
    if skipped:
        training.skipped.append(step)
        # The forward pass moved them; once not finite, a running mean would never be finite again.
        for buffer, before in statistics:
            buffer.copy_(before)
    else:
        learner.after_step(step)
        if training.ema is not None:
            training.ema.update(step)
    first = learner.players[0]
    return Step(
        step=step + 1,
        losses={player: part.loss for player, part in sums.items()},
        units=sums[first].count,
        positions=sum(int(padded.keep.sum()) for padded in batch.inputs.values()),
        metrics={name: value for part in sums.values() for name, value in part.means().items()},
        grad_norm=norms[0],
        lr=max(peak for peaks in training.base_lrs[first] for peak in peaks) * factor,
        skipped=skipped,
        seconds=time.perf_counter() - started,
    )


def _loss(training: Training, part: Batch, player: str, index: int, machine: Machine) -> Loss:
    """Views and loss of one micro-batch; dropout is seeded by where it is used."""
    step = training.step
    progress = training.horizon.progress(step)
    moment = Moment(keys_for(training.seed, part, step), step, progress, True, training.facts)
    with torch.no_grad():
        views = training.views(part, training.config, moment)
    _seed(fold(training.seed, "forward", step, player, index), machine)
    with autocast(machine):
        loss: Loss = training.learner(views, player)
    return loss


def _seed(seed: int, machine: Machine) -> None:
    """torch.manual_seed seeds every back end and costs 370 us; the processor's generator alone costs 5."""
    if machine.device == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _update(
    training: Training, player: str, trained: list[nn.Parameter], sums: Sums, factor: float, norms: list[float]
) -> bool:
    """Divide the summed gradients once, clip, step; returns False when something was not finite."""
    grads = [parameter.grad for parameter in trained if parameter.grad is not None]
    if sums.count:
        for grad in grads:
            grad.div_(sums.count)
    norms.append(clip_(trained, training.clip))
    finite = math.isfinite(sums.total) and math.isfinite(norms[-1])
    for optimizer, peaks in zip(training.optimizers[player], training.base_lrs[player], strict=True):
        if finite and sums.count:
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return finite


def _trained(training: Training, player: str) -> list[nn.Parameter]:
    """What a player's step changes: its parameters without the frozen ones."""
    mine = {id(parameter) for parameter in training.learner.parameters_of(player)}
    named = training.learner.named_parameters()
    return [parameter for name, parameter in named if id(parameter) in mine and name not in training.frozen]


def _batch_statistics(learner: Learner) -> list[Tensor]:
    """Running means, variances and counts of batch norms: the only state that a forward pass changes."""
    norms = [module for module in learner.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [buffer for norm in norms if norm.training for buffer in norm.buffers()]


def _only_gradients_of(learner: Learner, trained: list[nn.Parameter]) -> None:
    """Let only these parameters ask for gradients."""
    wanted = {id(parameter) for parameter in trained}
    for parameter in learner.parameters():
        parameter.requires_grad_(id(parameter) in wanted)


def _refuse_coupled(training: Training, batch: Batch) -> None:
    learner, size = training.learner, training.micro_batch
    if not learner.coupled or (len(batch) > 1 and (size is None or size >= len(batch))):
        return
    what, other = "its loss couples the examples of a batch", "choose an objective that is not coupled"
    if not learner.couples:
        what, other = "batch norm couples the examples of a batch", "choose a --trunk without it"
    name = type(learner).__name__
    if len(batch) == 1:
        raise UsageError(
            f"A batch of one example with {name}: {what}.",
            found="There is no other example to compare it with.",
            fix=f"Set batch_size to 2 or more, give more rows, or {other}.",
        )
    raise UsageError(
        f"micro_batch = {size} with {name}: {what}.",
        found=f"A batch of {len(batch)} examples would be split into different, smaller problems.",
        fix=f"Set batch_size to {size} or less, or {other}.",
    )


def _stop_when_hopeless(training: Training, batch: Batch, item: Step) -> None:
    recent = [step for step in training.skipped if step > training.step - SKIP_WINDOW]
    if item.skipped and len(recent) >= SKIPS_ALLOWED:
        ids = ", ".join(f"{number & (2**64 - 1):016x}" for number in batch.ids_B[:8].tolist())
        raise TrainingError(
            f"Training stopped at step {item.step}: loss or gradient was not finite in steps "
            f"{', '.join(str(step + 1) for step in recent)}.",
            found=f"losses {item.losses}, gradient norm {item.grad_norm:.3g}; first example ids of the batch: {ids}",
            cause="The learning rate is too high for this model, or an input holds extreme values.",
            fix="Lower it, for example --set pretrain.lr=1e-4, or train in float32: --set pretrain.precision=float32.",
        )
