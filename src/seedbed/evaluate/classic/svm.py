"""Support vectors on pixels or values, with an RBF kernel whose width is the typical distance from the mean."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.special import softmax
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC, SVR

from seedbed.evaluate.classic.pixels import MOST, prepare, render
from seedbed.evaluate.linear import ENOUGH, Features, Fit, State, centre, choose

__all__ = ["MOST", "learn", "margins", "prepare", "render", "respond"]

GAMMA = 0.5


def learn(x: Features, y: np.ndarray, num_classes: int, seed: int) -> tuple[State, float]:
    """The support vectors and their weights, at the penalty and sharpness that cross-validate best."""
    return _numbers(x, y, seed) if y.dtype.kind == "f" else _classes(x, y, num_classes, seed)


def _numbers(x: Features, y: np.ndarray, seed: int) -> tuple[State, float]:
    """Support vector regression of the standardised number."""
    mean_F, length = centre(x)
    scaled = (x - mean_F) / length

    def machine(rows: np.ndarray, penalty: float) -> State:
        level, spread = y[rows].mean(), y[rows].std() or 1.0
        fitted = SVR(C=penalty, gamma=GAMMA).fit(scaled[rows], (y[rows] - level) / spread)
        # Where every number is within the margin there is no support vector.
        dual_M = spread * fitted.dual_coef_[0] if len(fitted.support_) else np.zeros(0)
        vectors_MF = np.asarray(fitted.support_vectors_).reshape(len(dual_M), x.shape[1])
        offset = level + spread * fitted.intercept_
        return {"mean": mean_F, "length": np.array(length), "vectors": vectors_MF, "dual": dual_M, "offset": offset}

    def decide(penalty: float) -> Fit:
        return lambda learn, answer: respond(machine(learn, penalty), x[answer])

    grid = (1.0, 10.0) if len(y) >= ENOUGH else (1.0,)
    best, selection = choose([decide(penalty) for penalty in grid], y, seed)
    return machine(np.arange(len(y)), grid[best]), selection


def _classes(x: Features, y: np.ndarray, num_classes: int, seed: int) -> tuple[State, float]:
    mean_F, length = centre(x)
    scaled = (x - mean_F) / length

    def machine(rows: np.ndarray, penalty: float, sharpness: float) -> State:
        state = {"mean": mean_F, "length": np.array(length), "sharpness": np.array(sharpness)}
        state |= {"num_classes": np.array(num_classes), "present": np.unique(y[rows])}
        if len(state["present"]) == 1:
            return state
        fitted = SVC(C=penalty, gamma=GAMMA).fit(scaled[rows], y[rows])
        return state | {
            "vectors": fitted.support_vectors_,
            "counts": fitted.n_support_,
            "dual": fitted.dual_coef_,
            "intercept": fitted.intercept_,
        }

    def decide(penalty: float, sharpness: float) -> Fit:
        return lambda learn, answer: respond(machine(learn, penalty, sharpness), x[answer])

    grid = [(1.0, 1.0), (1.0, 3.0), (10.0, 1.0), (10.0, 3.0)] if len(y) >= ENOUGH else [(10.0, 1.0)]
    best, selection = choose([decide(*recipe) for recipe in grid], y, seed)
    return machine(np.arange(len(y)), *grid[best]), selection


def respond(state: State, x: Features) -> np.ndarray:
    """Answers, float64 (I, C)."""
    if "offset" in state:
        scaled = (x - state["mean"]) / float(state["length"])
        kernel_IM = rbf_kernel(scaled, state["vectors"], gamma=GAMMA) if len(state["dual"]) else np.zeros((len(x), 0))
        found: np.ndarray = (kernel_IM @ state["dual"] + state["offset"])[:, None]
        return found
    present = state["present"]
    probs_IC = np.zeros((len(x), int(state["num_classes"])))
    if len(present) == 1:
        probs_IC[:, present] = 1.0
    else:
        scaled = (x - state["mean"]) / float(state["length"])
        probs_IC[:, present] = softmax(float(state["sharpness"]) * margins(state, scaled), axis=1)
    return probs_IC


def margins(state: State, scaled: np.ndarray) -> np.ndarray:
    """How far each class is ahead, (I, present classes): votes of all pairs, their margins breaking ties.

    The same as the one-against-rest decisions of scikit-learn's SVC, from its arrays alone.
    """
    num = len(state["present"])
    kernel_IM = rbf_kernel(scaled, state["vectors"], gamma=GAMMA)
    ends = np.cumsum([0, *state["counts"].tolist()])
    part = [slice(ends[at], ends[at + 1]) for at in range(num)]
    dual, intercept = state["dual"], state["intercept"]
    if num == 2:
        margin_I = kernel_IM @ dual[0] + intercept[0]
        return np.stack([-margin_I, margin_I], axis=1)
    votes, sums = np.zeros((2, len(scaled), num))
    for pair, (one, other) in enumerate(combinations(range(num), 2)):
        # Row other - 1 weighs the vectors of `one` against `other`, row `one` the reverse (libsvm's layout).
        ahead_I = kernel_IM[:, part[one]] @ dual[other - 1, part[one]] + intercept[pair]
        ahead_I += kernel_IM[:, part[other]] @ dual[one, part[other]]
        votes[:, one] += ahead_I >= 0
        votes[:, other] += ahead_I < 0
        sums[:, one] += ahead_I
        sums[:, other] -= ahead_I
    found: np.ndarray = votes + sums / (3 * (np.abs(sums) + 1))
    return found
