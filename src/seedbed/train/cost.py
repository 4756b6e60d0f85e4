"""What a step holds in memory and what it takes, measured before the first step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seedbed.core.device import Machine, autocast
from seedbed.core.rng import keys_for
from seedbed.core.types import Batch, Moment
from seedbed.train.loop import steps
from seedbed.train.state import Training

MEASURED = 8
# Steps timed before planning: at least so many, more within so many seconds.
TIMED_STEPS, MOST_TIMED, TIMED_S = 4, 24, 1.0


def step_seconds(training: Training, batch_at: Callable[[int], Batch], machine: Machine) -> float:
    """Least seconds of a step, of a few.

    The least, because a plan that turns out too long is shortened on the way, and one that other work on the machine
    made too short is not mended any more.

    Args:
        training: moved by the steps, so it is one to be thrown away; its horizon is MOST_TIMED or more.
        batch_at: as in `steps`.
        machine: device, threads and precision.
    """
    seconds: list[float] = []
    for item in steps(training, batch_at, machine):
        seconds.append(item.seconds)
        if len(seconds) == MOST_TIMED or (len(seconds) > TIMED_STEPS and sum(seconds[1:]) > TIMED_S):
            break
    return min(seconds[1:])


def kept_bytes(training: Training, batch: Batch, machine: Machine) -> tuple[int, int]:
    """Bytes that a forward pass keeps for the backward pass: of any batch, and of each example in addition.

    Args:
        training: in training mode; statistics of its batch norms are moved, so it is one to be thrown away.
        batch: of a step; its first examples are measured.
        machine: device and precision.
    """
    few = next(batch.to(torch.device(machine.device)).split(MEASURED))
    half = len(few) // 2
    whole = _kept(training, few, machine)
    if not half:
        return 0, whole
    # Examples differ in length, and the second half may be the shorter one.
    each = max((whole - _kept(training, next(few.split(half)), machine)) // (len(few) - half), whole // (2 * len(few)))
    return whole - each * len(few), each


def _kept(training: Training, batch: Batch, machine: Machine) -> int:
    """Each piece of storage is counted once; those of weights are there anyway."""
    own = {parameter.untyped_storage().data_ptr() for parameter in training.learner.parameters()}
    found: dict[int, int] = {}

    def note(saved: Tensor) -> Tensor:
        if saved.layout == torch.strided and (storage := saved.untyped_storage()).data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return saved

    views = training.views(batch, training.config, Moment(keys_for(0, batch, 0), 0, 0.0, True, training.facts))
    total = 0
    for player in training.learner.players:
        found.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved), autocast(machine):
            loss = training.learner(views, player)
        del loss
        total = max(total, sum(found.values()))
    return total
