"""Metrics under many resamples of the items at once, and what they say of the uncertainty of metrics that are no means.

A resample is a row of weights: how often it drew each item. Each function takes weights_SI, float (resamples, items),
and gives one value a resample, NaN where it has none; with all weights 1 it is scikit-learn's value (tested), and with
counts it is that of the repeated rows.

Source: Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapters 6 and 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm, t

Values = dict[str, np.ndarray]  # one value a resample, by metric
Measuring = Callable[[np.ndarray, np.ndarray, np.ndarray], Values]

# A standard deviation from so many resamples is right within 5 %.
RESAMPLES = 200
# Weights in memory at once.
AT_ONCE = 4_000_000
BINS = 15


class Bounded(NamedTuple):
    """A metric with the bounds of its interval."""

    value: float
    low: float
    high: float


def weights_of(num_items: int, seed: int, numbers: Iterable[int] = range(RESAMPLES)) -> np.ndarray:
    """How often each item is drawn in each resample, float32 (resamples, items); a resample is known by its number."""
    counts = [
        np.bincount(np.random.default_rng((seed, number)).integers(num_items, size=num_items), minlength=num_items)
        for number in numbers
    ]
    return np.array(counts, dtype=np.float32)


def _resampled(measure: Measuring, answers_SIC: np.ndarray, targets: np.ndarray, seed: int) -> Values:
    """Each metric in every resample, averaged over draws; some resamples at a time where items are many."""
    size = max(1, AT_ONCE // len(targets))
    parts: list[Values] = []
    for low in range(0, RESAMPLES, size):
        weights = weights_of(len(targets), seed, range(low, min(low + size, RESAMPLES)))
        found = [measure(answers_IC, targets, weights) for answers_IC in answers_SIC]
        parts.append({name: np.mean([values[name] for values in found], axis=0) for name in found[0]})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def with_bounds(
    measure: Measuring, answers_SIC: np.ndarray, targets: np.ndarray, confidence: float = 0.95, seed: int = 0
) -> dict[str, Bounded]:
    """Each metric, averaged over draws, with an interval over draws and items.

    As in `stats`: half width^2 = (t_{S-1} * draw part)^2 + (z * item part)^2, the draw part from the spread over draws,
    the item part from resamples of the items that all draws share. One draw has no draw part.

    Args:
        measure: (answers_IC, targets, weights_SI) -> metrics, one value a resample.
        answers_SIC: of every draw and item.
        targets: of the items.
        confidence: nominal coverage.
        seed: of the resamples.
    """
    num_draws, num_items = answers_SIC.shape[:2]
    plain = [measure(answers_IC, targets, np.ones((1, num_items), np.float32)) for answers_IC in answers_SIC]
    again = _resampled(measure, answers_SIC, targets, seed)
    tail = 0.5 + confidence / 2
    found = {}
    for name in plain[0]:
        values_S = np.array([values[name][0] for values in plain], dtype=np.float64)
        means = again[name][np.isfinite(again[name])]
        if not np.isfinite(values_S).all() or not len(means):
            continue
        item_sd, draw_half = float(means.std()), 0.0
        if num_draws > 1:
            draw_half = float(t.ppf(tail, num_draws - 1) * values_S.std(ddof=1) / np.sqrt(num_draws))
        half = float(np.hypot(draw_half, norm.ppf(tail) * item_sd))
        value = float(values_S.mean())
        low, high = RANGES.get(name, (0.0, 1.0))
        found[name] = Bounded(value, max(value - half, low), min(value + half, high))
    return found


RANGES = {
    "log_loss": (0.0, np.inf),
    "mean_absolute_error": (0.0, np.inf),
    "root_mean_squared_error": (0.0, np.inf),
    "r2": (-np.inf, 1.0),
    "spearman": (-1.0, 1.0),
}


def mean(values_I: np.ndarray, weights_SI: np.ndarray) -> np.ndarray:
    """The weighted mean of one value an item."""
    found: np.ndarray = (weights_SI @ values_I.astype(np.float64)) / weights_SI.sum(axis=1)
    return found


def precision_recall_f1(
    true_IC: np.ndarray, answered_IC: np.ndarray, weights_SI: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each class, (resamples, C); 0 where there is nothing to divide by."""
    both, had, has = (weights_SI @ part.astype(np.float64) for part in (true_IC & answered_IC, answered_IC, true_IC))
    return _share(both, had), _share(both, has), _share(2 * both, had + has)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return found


def roc_area(true_I: np.ndarray, scores_I: np.ndarray, weights_SI: np.ndarray) -> np.ndarray:
    """Area under the curve of true against false positives; ties count half."""
    positive, negative = _tied(true_I, scores_I, weights_SI)
    below = negative.cumsum(axis=1) - negative
    wins = (positive * (below + negative / 2)).sum(axis=1)
    return _or_nan(wins, positive.sum(axis=1) * negative.sum(axis=1))


def average_precision(true_I: np.ndarray, scores_I: np.ndarray, weights_SI: np.ndarray) -> np.ndarray:
    """Precision at every threshold, weighted by the gain of recall there."""
    positive, negative = (part[:, ::-1] for part in _tied(true_I, scores_I, weights_SI))
    hits = positive.cumsum(axis=1)
    precision = _share(hits, hits + negative.cumsum(axis=1))
    return _or_nan((positive * precision).sum(axis=1), positive.sum(axis=1))


def _tied(true_I: np.ndarray, scores_I: np.ndarray, weights_SI: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of the positives and of the negatives at each different score, ascending."""
    order = np.argsort(scores_I, kind="stable")
    starts = np.flatnonzero(np.diff(scores_I[order], prepend=np.nan) != 0)
    sorted_SI = weights_SI[:, order].astype(np.float64)
    positive = np.add.reduceat(sorted_SI * true_I[order], starts, axis=1)
    return positive, np.add.reduceat(sorted_SI, starts, axis=1) - positive


def _or_nan(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
    return found


def calibration_error(right_I: np.ndarray, sure_I: np.ndarray, weights_SI: np.ndarray) -> np.ndarray:
    """Expected calibration error: mean distance of confidence from accuracy in 15 equal ranges of confidence.

    Source: Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning".
    """
    bin_I = np.clip(np.ceil(sure_I.astype(np.float64) * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gap = np.zeros((len(sure_I), BINS))
    gap[np.arange(len(sure_I)), bin_I] = right_I.astype(np.float64) - sure_I
    found: np.ndarray = np.abs(weights_SI @ gap).sum(axis=1) / weights_SI.sum(axis=1)
    return found


def rank_correlation(a_I: np.ndarray, b_I: np.ndarray, weights_SI: np.ndarray) -> np.ndarray:
    """Spearman's: the correlation of mid-ranks."""
    total = weights_SI.sum(axis=1, keepdims=True, dtype=np.float64)
    ranks = [_ranks(values, weights_SI) - (total + 1) / 2 for values in (a_I, b_I)]
    cross, one, other = (
        (weights_SI * x * y).sum(axis=1) for x, y in (ranks, (ranks[0], ranks[0]), (ranks[1], ranks[1]))
    )
    return _or_nan(cross, np.sqrt(one * other))


def _ranks(values_I: np.ndarray, weights_SI: np.ndarray) -> np.ndarray:
    _, group_I = np.unique(values_I, return_inverse=True)
    order = np.argsort(group_I, kind="stable")
    starts = np.flatnonzero(np.diff(group_I[order], prepend=-1))
    held = np.add.reduceat(weights_SI[:, order].astype(np.float64), starts, axis=1)
    found: np.ndarray = (held.cumsum(axis=1) - held / 2 + 0.5)[:, group_I]
    return found


def macro(columns: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over classes that have a value, one value a resample."""
    stacked = np.stack(columns)
    known = np.isfinite(stacked)
    return _or_nan(np.where(known, stacked, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))
