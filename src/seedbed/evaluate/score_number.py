"""Answers that are numbers, in the unit of the labels.

The main metric is the mean absolute error: it is in the unit of the labels, a mean over items, and not ruled by the few
largest errors, so that its interval holds with hundreds of items. A difference is small or large in comparison with the
mean distance of the training labels from their median, which is what the best constant answer errs by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import Ridge, RidgeCV

from seedbed.evaluate.linear import Features, Linear
from seedbed.evaluate.resample import Values, mean, rank_correlation
from seedbed.evaluate.scoring import Metric, Told
from seedbed.models.losses import Weights

KIND = "number"
FEW_NEIGHBOURS = 5
LEFT_OUT: tuple[str, ...] = ()
ALPHAS = tuple(np.logspace(-3, 3, 13).tolist())
SHOWN_POINTS, FIFTHS = 400, 5
FEWEST = 3


def metric(targets: np.ndarray) -> Metric:
    """Mean absolute error, in comparison with that of the median."""
    unit = float(np.abs(targets - np.median(targets)).mean()) or 1.0
    return Metric(
        "mean absolute error", "errs by {} less", "errs by {} more", noun="", per=1.0, unit=unit, bounded=False,
        falling=True,
    )  # fmt: skip


def scores(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Minus the absolute error."""
    found: np.ndarray = -np.abs(answers[..., 0].astype(np.float64) - targets)
    return found


def losses(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The squared error, which every model here is fitted to."""
    found: np.ndarray = (answers[..., 0].astype(np.float64) - targets) ** 2
    return found


def measure(answers: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Values:
    """Mean absolute error, root mean squared error, R2, rank correlation."""
    squared = mean(losses(answers, targets), weights)
    # About a centre, so that large labels do not cancel.
    away_I = targets - targets.mean()
    spread = mean(away_I**2, weights) - mean(away_I, weights) ** 2
    ratio = np.divide(squared, spread, out=np.full_like(squared, np.nan), where=spread > 0)
    return {
        "mean_absolute_error": mean(-scores(answers, targets), weights),
        "root_mean_squared_error": np.sqrt(squared),
        "r2": 1 - ratio,
        "spearman": rank_correlation(answers[:, 0], targets, weights),
    }


def constant(targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """The median, the best there is for absolute errors."""
    return np.array([np.median(targets)])


def indicator(targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """The numbers themselves."""
    return targets[:, None]


def prior(targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """The mean."""
    return targets.mean(keepdims=True)


def strengths(num_labels: int) -> Sequence[float]:
    """One: `fit` chooses by leaving one out, which costs it nothing."""
    return (1.0,)


def fit(x: Features, y: np.ndarray, num_outputs: int, strength: float) -> Linear:
    """Ridge regression; the penalty of dense features is chosen by leaving one out, where there are three or more."""
    if sp.issparse(x) or len(y) < FEWEST:
        model = Ridge(alpha=1.0 / strength).fit(x, y)
    else:
        model = RidgeCV(alphas=ALPHAS).fit(x, y)
    return Linear(model.coef_[None], np.array([float(model.intercept_)]), "identity")


def tilt(how: Weights, targets: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Nothing: numbers have no classes to weigh."""
    return np.zeros(1)


def tilted(answers: np.ndarray, tilt_C: np.ndarray) -> np.ndarray:
    """The same."""
    return answers


def parts(targets: np.ndarray, names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Fifths by size."""
    edges = np.unique(np.quantile(targets, np.arange(1, FIFTHS) / FIFTHS, method="inverted_cdf"))
    place_I = np.searchsorted(edges, targets, side="left")
    inside = [place_I == place for place in range(len(edges) + 1)]
    return [(_range(targets[one]), one) for one in inside if one.any()]


def _range(values: np.ndarray) -> str:
    low, high = f"{values.min():.4g}", f"{values.max():.4g}"
    return low if low == high else f"{low} to {high}"


def tempered(answers: np.ndarray, temperature: float) -> np.ndarray:
    """A number has no probability to temper."""
    return answers


def told(answer_C: np.ndarray, names: Sequence[str]) -> Told:
    """The number."""
    return Told(float(answer_C[0]), None, {})


def worst(answers: np.ndarray, targets: np.ndarray, names: Sequence[str], most: int) -> list[dict[str, Any]]:
    """The greatest errors."""
    error_I = -scores(answers, targets)
    return [
        {"at": at, "truth": f"{targets[at]:.5g}", "predicted": f"{answers[at, 0]:.5g}", "confidence": None}
        for at in np.argsort(-error_I, kind="stable")[:most].tolist()
        if error_I[at] > 0
    ]


def detail(answers: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Truth and answer of the first draw, evenly thinned, for a picture."""
    kept = np.linspace(0, len(targets) - 1, min(len(targets), SHOWN_POINTS)).astype(np.int64)
    return {"residuals": {"truth": targets[kept].tolist(), "answer": answers[0, kept, 0].astype(np.float64).tolist()}}
