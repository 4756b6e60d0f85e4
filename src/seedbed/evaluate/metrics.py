"""Scores of answers, from scikit-learn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, log_loss


class Metrics(NamedTuple):
    """How good the answers of one arm are.

    Attributes:
        accuracy: share of items answered rightly.
        macro_f1: mean over classes of the harmonic mean of precision and recall; 0 for a class never answered.
        log_loss: mean of -ln of the probability given to the truth, in nats.
    """

    accuracy: float
    macro_f1: float
    log_loss: float


def score(probs_IC: np.ndarray, truth_I: np.ndarray) -> Metrics:
    """Score class probabilities.

    Args:
        probs_IC: rows that sum to 1.
        truth_I: class indices below C.
    """
    answered_I, classes = probs_IC.argmax(axis=1), np.arange(probs_IC.shape[1])
    # A classifier that is sure and wrong would cost infinitely much; it costs what one chance in a million does.
    clipped_IC = np.clip(probs_IC.astype(np.float64), 1e-6, None)
    clipped_IC /= clipped_IC.sum(axis=1, keepdims=True)
    return Metrics(
        accuracy=float((answered_I == truth_I).mean()),
        macro_f1=float(f1_score(truth_I, answered_I, labels=classes, average="macro", zero_division=0.0)),
        log_loss=float(log_loss(truth_I, clipped_IC, labels=classes)),
    )


def confusion(truth_I: np.ndarray, answered_I: np.ndarray, num_classes: int) -> np.ndarray:
    """Count answers, int64 (C, C): row = truth, column = answer."""
    return np.asarray(confusion_matrix(truth_I, answered_I, labels=np.arange(num_classes)), dtype=np.int64)
