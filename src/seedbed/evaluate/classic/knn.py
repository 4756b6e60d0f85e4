"""Nearest neighbours of pixels or values by cosine distance; one neighbour when labels are few."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from seedbed.evaluate.classic.pixels import MOST, prepare, render
from seedbed.evaluate.linear import ENOUGH, Features, Fit, State, choose

__all__ = ["MOST", "learn", "prepare", "render", "respond"]


def learn(x: Features, y: np.ndarray, num_classes: int, seed: int) -> tuple[State, float]:
    """The rows themselves, and how many neighbours vote."""

    def memory(rows: np.ndarray, neighbours: int) -> State:
        return {
            "rows": x[rows],
            "labels": y[rows],
            "neighbours": np.array(neighbours),
            "num_classes": np.array(num_classes),
        }

    def votes(neighbours: int) -> Fit:
        return lambda learn, answer: respond(memory(learn, neighbours), x[answer])

    sizes = (1, 3, 5, 10) if len(y) >= ENOUGH else (1,)
    best, selection = choose([votes(size) for size in sizes], y, seed)
    return memory(np.arange(len(y)), sizes[best]), selection


def respond(state: State, x: Features) -> np.ndarray:
    """Class probabilities, float64 (I, C)."""
    rows, y = normalize(state["rows"]), state["labels"]
    neighbours, num_classes = int(state["neighbours"]), int(state["num_classes"])
    near = KNeighborsClassifier(min(neighbours, len(rows)), weights="distance").fit(rows, y)
    probs_IC = np.zeros((len(x), num_classes))
    probs_IC[:, near.classes_] = near.predict_proba(normalize(x))
    # One imagined vote, spread over all classes: k neighbours that agree are not certain.
    found: np.ndarray = (neighbours * probs_IC + 1.0 / num_classes) / (neighbours + 1.0)
    return found
