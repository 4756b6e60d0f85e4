"""Means over many batches: sums and counts are added first, divided once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from seedbed.core.device import Machine, autocast
from seedbed.core.rng import keys_for
from seedbed.core.types import Batch, Loss, Moment
from seedbed.train.state import Training


class Sums:
    """Adds losses and metrics over micro-batches, players or evaluation batches; divides when asked."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0.0
        self.metrics: dict[str, tuple[float, float]] = {}

    def add(self, loss: Loss) -> None:
        """Add one micro-batch."""
        self.total += float(loss.total.detach())
        self.count += float(loss.count)
        for name, (total, count) in loss.metrics.items():
            before = self.metrics.get(name, (0.0, 0.0))
            self.metrics[name] = (before[0] + float(total), before[1] + float(count))

    @property
    def loss(self) -> float:
        """Mean loss per unit; nan when nothing was counted."""
        return self.total / self.count if self.count else math.nan

    def means(self) -> dict[str, float]:
        """Mean of each metric that counted something."""
        return {name: total / count for name, (total, count) in self.metrics.items() if count}


class Score(NamedTuple):
    """Mean loss, chance and metrics over evaluation batches."""

    loss: float
    chance: float | None
    metrics: dict[str, float]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, all parts are in evaluation mode; afterwards each is in the mode it was in: frozen ones stay in it.

    `train()` would set all of them to training, and the statistics of frozen batch norms would move from then on.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@torch.no_grad()
def evaluate(training: Training, batches: Iterable[Batch], machine: Machine) -> Score:
    """Mean loss of the first player over batches of epoch -1: frozen masks, no augmentation, no dropout."""
    learner, player = training.learner, training.learner.players[0]
    progress = training.horizon.progress(max(training.step - 1, 0))
    sums, chance_total, chance_known = Sums(), 0.0, True
    with evaluating(learner):
        for batch in batches:
            batch = batch.to(torch.device(machine.device))
            moment = Moment(keys_for(training.seed, batch, -1), -1, progress, False, training.facts)
            views = training.views(batch, training.config, moment)
            with autocast(machine):
                loss: Loss = learner(views, player)
            sums.add(loss)
            chance = learner.chance(views, player)
            chance_known = chance_known and chance is not None
            chance_total += (chance or 0.0) * float(loss.count)
    chance_mean = chance_total / sums.count if chance_known and sums.count else None
    return Score(sums.loss, chance_mean, sums.means())
