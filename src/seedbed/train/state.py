"""What a stage of training is made of: the learner, all that changes with it, and how far there is to go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch.optim import Optimizer

from seedbed.core.settings import Section
from seedbed.core.types import Batch, Facts, Learner, Moment, Views
from seedbed.train.optim import Ema
from seedbed.train.schedule import LINEAR

ViewsOf = Callable[[Batch, Section, Moment], Views]


@dataclass(frozen=True)
class Horizon:
    """How many steps there will be, as it was known at each point: ((from step, total), ...).

    A shortened horizon runs the rest of the schedule faster, from where it stood, so that it still ends at zero.
    """

    cuts: tuple[tuple[int, int], ...]

    @property
    def planned(self) -> int:
        """Steps that were planned at first: the schedule is laid out over them, however fast it is gone through."""
        return self.cuts[0][1]

    @property
    def total(self) -> int:
        """Steps of the whole stage."""
        return self.cuts[-1][1]

    def known(self, step: int) -> int:
        """The total as it was known at this step: a replay must decide as the first run did."""
        return [total for start, total in self.cuts if start <= step][-1]

    def progress(self, step: int) -> float:
        """0 at the first step, 1 after the last."""
        done = 0.0
        for index, (start, total) in enumerate(self.cuts):
            known_until = self.cuts[index + 1][0] if index + 1 < len(self.cuts) else total
            here = min(step, known_until)
            if here > start:
                done += (1.0 - done) * (here - start) / max(total - start, 1)
        return min(done, 1.0)

    def shortened(self, step: int, total: int) -> Horizon:
        """The same horizon with a new total, known from `step` on."""
        return Horizon((*self.cuts, (step, total)))


@dataclass
class Training:
    """A learner with all that changes while it trains.

    Attributes:
        learner: the module trained.
        config: its own configuration.
        views: makes views of a batch.
        optimizers: player -> its optimisers.
        base_lrs: peak learning rates, aligned with the optimisers' parameter groups.
        facts: what is known of the data.
        seed: of everything random.
        step: optimiser steps done.
        horizon: steps to do.
        warmup, schedule, cooldown: how the learning rate goes, see `schedule`.
        skipped: steps whose update was left out because something was not finite.
        ema: moving average of the weights, if any.
        freeze: patterns of parameter names that do not train.
        frozen: the names they match.
    """

    learner: Learner
    config: Section
    views: ViewsOf
    optimizers: dict[str, list[Optimizer]]
    base_lrs: dict[str, list[list[float]]]
    facts: Facts
    seed: int
    horizon: Horizon
    warmup: float = 0.05
    schedule: str = LINEAR
    cooldown: float = 0.25
    clip: float = 1.0
    micro_batch: int | None = None
    step: int = 0
    skipped: list[int] = field(default_factory=list)
    ema: Ema | None = None
    freeze: tuple[str, ...] = ()
    frozen: frozenset[str] = frozenset()
