"""Answer the most frequent class always, with the frequencies as probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from seedbed.evaluate.linear import Features, State

MOST = 0  # rows the part without labels sees


def prepare(raw: Any, seed: int) -> State:
    """Nothing is learnt without labels."""
    return {}


def render(state: State, raw: Any) -> Features:
    """Rows without features, float64 (rows, 0)."""
    return np.zeros((len(raw), 0))


def learn(x: Features, y: np.ndarray, num_classes: int, seed: int) -> tuple[State, float]:
    """The share of each class, and that of the most frequent one."""
    shares_C = np.bincount(y, minlength=num_classes) / len(y)
    return {"shares": shares_C}, float(shares_C.max())


def respond(state: State, x: Features) -> np.ndarray:
    """The same for every row, float64 (I, C)."""
    return np.tile(state["shares"], (len(x), 1))
