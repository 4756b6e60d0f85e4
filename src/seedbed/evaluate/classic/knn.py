"""Nearest neighbours of pixels or values by cosine distance, the nearer the weightier; few when labels are few."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import normalize

from seedbed.evaluate.classic.pixels import MOST, prepare, render
from seedbed.evaluate.linear import ENOUGH, Features, Fit, State, choose
from seedbed.evaluate.scoring import scoring_of

__all__ = ["MOST", "learn", "prepare", "render", "respond"]


def learn(x: Features, y: np.ndarray, num_classes: int, seed: int) -> tuple[State, float]:
    """The rows themselves, and how many neighbours are asked."""
    kind = scoring_of(y)

    def memory(rows: np.ndarray, neighbours: int) -> State:
        return {
            "rows": x[rows],
            "labels": kind.indicator(y[rows], num_classes),
            "prior": kind.prior(y[rows], num_classes),
            "neighbours": np.array(neighbours),
        }

    def votes(neighbours: int) -> Fit:
        return lambda learn, answer: respond(memory(learn, neighbours), x[answer])

    sizes = (1, 3, 5, 10) if len(y) >= ENOUGH else (kind.FEW_NEIGHBOURS,)
    best, selection = choose([votes(size) for size in sizes], y, seed)
    return memory(np.arange(len(y)), sizes[best]), selection


def respond(state: State, x: Features) -> np.ndarray:
    """Answers, float64 (I, C)."""
    rows, neighbours = normalize(state["rows"]), int(state["neighbours"])
    near = KNeighborsRegressor(min(neighbours, len(rows)), weights="distance").fit(rows, state["labels"])
    # One imagined neighbour that knows nothing: k neighbours that agree are not certain.
    found: np.ndarray = (neighbours * near.predict(normalize(x)) + state["prior"]) / (neighbours + 1.0)
    return found
