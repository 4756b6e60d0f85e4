"""Self-training of a linear classifier: its surest answers for unlabelled rows are learnt from as if they were labels.

In each round the model answers for the pool, the surest share of the answers of each class becomes labels (by class,
so that the larger one does not swallow the other), and the model is fitted again on labels and answers together; all
answers weigh as much as FACTOR times all labels. The share is chosen on training labels from 200 on, no answers at
all among the choices, and fixed below. What was tried is in LOG.md.

Source: Lee, "Pseudo-label" (2013); Zou et al., "Class-balanced self-training" (2018), for shares by class.
"""

from __future__ import annotations

import numpy as np

from seedbed.evaluate.linear import ENOUGH, FIXED_STRENGTH, Fit, Linear, centre, choose
from seedbed.evaluate.score_class import fit, fit_weighted

SHARES = (0.0, 0.6, 0.9)
FIXED_SHARE = 0.9
ROUNDS, FACTOR = 3, 4.0


def fit_self_trained(
    x: np.ndarray, y: np.ndarray, pool_x: np.ndarray, num_classes: int, seed: int
) -> tuple[Linear, float]:
    """Fit on labelled rows and on a model's own answers for others.

    Args:
        x: features (n, F) of the labelled rows.
        y: their class indices.
        pool_x: features of rows whose labels are not used.
        num_classes: C.
        seed: of the folds.

    Returns:
        A model of the features as they are, and the accuracy estimated on held-out folds of the labels, in which no
        answer for a held-out row is learnt from.
    """
    mean_F, length = centre(x)
    scaled, pool = (x - mean_F) / length, (pool_x - mean_F) / length

    def fit_with(share: float) -> Fit:
        return lambda learn, answer: _rounds(scaled[learn], y[learn], pool, num_classes, share).answers(scaled[answer])

    shares = SHARES if len(y) >= ENOUGH else (FIXED_SHARE,)
    best, selection = choose([fit_with(share) for share in shares], y, seed)
    model = _rounds(scaled, y, pool, num_classes, shares[best])
    weight_CF = model.weight_CF / length
    return Linear(weight_CF, model.bias_C - weight_CF @ mean_F), selection


def _rounds(x: np.ndarray, y: np.ndarray, pool: np.ndarray, num_classes: int, share: float) -> Linear:
    model = fit(x, y, num_classes, FIXED_STRENGTH)
    if len(np.unique(y)) < 2 or not share or not len(pool):
        return model
    for _ in range(ROUNDS):
        probs_IC = model.answers(pool)
        answer_I, sure_I = probs_IC.argmax(axis=1), probs_IC.max(axis=1)
        taken = np.concatenate([_surest(np.flatnonzero(answer_I == c), sure_I, share) for c in range(num_classes)])
        weights = np.concatenate([np.ones(len(y)), np.full(len(taken), FACTOR * len(y) / len(taken))])
        both_x, both_y = np.concatenate([x, pool[taken]]), np.concatenate([y, answer_I[taken]])
        model = fit_weighted(both_x, both_y, weights, num_classes, FIXED_STRENGTH)
    return model


def _surest(rows: np.ndarray, sure_I: np.ndarray, share: float) -> np.ndarray:
    return rows[np.argsort(-sure_I[rows], kind="stable")[: int(np.ceil(share * len(rows)))]]
