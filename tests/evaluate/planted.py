"""Right and wrong answers with known causes, so that the truth an interval should cover is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class World:
    """What makes an answer right: a latent sum above zero. Standard deviations of its parts.

    Attributes:
        levels: mean of each arm.
        draw: how much a label subset helps or hurts one arm.
        shared_draw: the same for all arms alike.
        shared_item: how easy an item is for all arms alike.
        item: how easy an item is for one arm.
        cell: chance in one answer.
    """

    levels: tuple[float, ...]
    draw: float = 0.05
    shared_draw: float = 0.1
    shared_item: float = 1.0
    item: float = 0.5
    cell: float = 0.5

    @property
    def accuracies(self) -> NDArray[np.float64]:
        parts = (self.draw, self.shared_draw, self.shared_item, self.item, self.cell)
        return np.asarray(norm.cdf(np.array(self.levels) / np.sqrt(np.square(parts).sum())))

    def answers(
        self, rng: np.random.Generator, num_draws: int, num_items: int
    ) -> tuple[list[Correct], NDArray[np.float32]]:
        """correct_SI of each arm, and each arm's draw effects (arms, S)."""

        def noise(*shape: int) -> NDArray[np.float32]:
            return rng.standard_normal(shape, dtype=np.float32)

        shared = self.shared_draw * noise(num_draws, 1) + self.shared_item * noise(1, num_items)
        effects = self.draw * noise(len(self.levels), num_draws)
        correct = []
        for level, effect_S in zip(self.levels, effects, strict=True):
            own = level + effect_S[:, None] + self.item * noise(1, num_items) + self.cell * noise(num_draws, num_items)
            correct.append(shared + own > 0)
        return correct, effects


def blobs(num: int, seed: int, num_classes: int = 3, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Features around one centre a class, and their classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(num) % num_classes
    x = rng.standard_normal((num, 20))
    x[np.arange(num), y] += apart
    return x, y
