"""The one linear classifier: every arm that ends in one ends here, the classic ones too, with the same recipe.

Features are centred and scaled by one number, so that rows have unit length on average. Scaling each feature by itself
blows up directions in which data hardly vary: in trials it cost 0 to 2 points on images and 5 to 11 on LSA features.
The scaling is affine and ends up in the weights, so that what is compared, kept and served are the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

# From so many labels on, choices are made by cross-validation; below, it would choose by noise.
ENOUGH = 200
FOLDS = 5
# Beyond so many labels one held-out fold tells enough, and five fits would be slow.
MANY = 3000
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
FIXED_STRENGTH = 10.0

Features = Any  # a dense array (rows, F) or a scipy.sparse matrix of that shape
State = Mapping[str, Any]  # arrays and lists of words by name: what a fitted part of an arm is made of
Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Selection(NamedTuple):
    """What training labels alone tell of a recipe: shares and nats on held-out folds."""

    accuracy: float
    log_loss: float


@dataclass(frozen=True)
class Linear:
    """Logits = features @ weights + biases.

    Attributes:
        weight_CF: a row for each class.
        bias_C: minus infinity for a class without a label, which gets probability 0.
    """

    weight_CF: np.ndarray
    bias_C: np.ndarray

    def probs(self, x: Features) -> np.ndarray:
        """Class probabilities of rows of features, float64 (I, C)."""
        found: np.ndarray = softmax(np.asarray(x @ self.weight_CF.T, dtype=np.float64) + self.bias_C, axis=1)
        return found

    def state(self) -> State:
        """The same as arrays by name."""
        return {"weight": self.weight_CF, "bias": self.bias_C}

    @staticmethod
    def from_state(state: State) -> Linear:
        """What `state` gave."""
        return Linear(state["weight"], state["bias"])


def fit_linear(x: Features, y: np.ndarray, num_classes: int, strength: float) -> Linear:
    """One logistic regression on features as they are; `strength` is the inverse of the L2 penalty."""
    present = np.unique(y)
    weight_CF = np.zeros((num_classes, x.shape[1]))
    bias_C = np.full(num_classes, -np.inf)
    bias_C[present] = 0.0
    if len(present) > 1:
        model = LogisticRegression(C=strength, max_iter=10_000).fit(x, y)
        coef, intercept = model.coef_, model.intercept_
        if len(present) == 2:
            coef, intercept = np.concatenate([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
        weight_CF[present], bias_C[present] = coef, intercept
    return Linear(weight_CF, bias_C)


def strongest(
    x: Features, y: np.ndarray, num_classes: int, seed: int, strengths: Sequence[float]
) -> tuple[Linear, float]:
    """The logistic regression of the strength that cross-validates best, on features as they are.

    Returns:
        The model, and the accuracy estimated on held-out folds of the labels.
    """

    def fit_with(strength: float) -> Fit:
        return lambda learn, answer: fit_linear(x[learn], y[learn], num_classes, strength).probs(x[answer])

    best, selection = choose([fit_with(strength) for strength in strengths], y, seed)
    return fit_linear(x, y, num_classes, strengths[best]), selection


def fit_probe(x: np.ndarray, y: np.ndarray, num_classes: int, seed: int) -> tuple[Linear, float]:
    """Logistic regression on dense features, regularised by a recipe or, from 200 labels on, by choice.

    Args:
        x: features (n, F) of the labelled rows.
        y: their class indices.
        num_classes: C; a class without a label gets probability 0.
        seed: of the folds.

    Returns:
        A model of the features as they are, and the accuracy estimated on held-out folds of the labels.
    """
    mean_F, length = centre(x)
    strengths = STRENGTHS if len(y) >= ENOUGH else (FIXED_STRENGTH,)
    model, selection = strongest((x - mean_F) / length, y, num_classes, seed, strengths)
    weight_CF = model.weight_CF / length
    return Linear(weight_CF, model.bias_C - weight_CF @ mean_F), selection


def centre(x: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean row, float64, and the root mean square of the rows' distances from it, never 0."""
    mean_F = x.mean(axis=0, dtype=np.float64)
    return mean_F, max(float(np.sqrt(((x - mean_F) ** 2).sum(axis=1).mean())), 1e-12)


def scaled(reference: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Centred by the reference rows and divided by the root mean square of their lengths, float64."""
    mean_F, length = centre(reference)
    result: np.ndarray = (x - mean_F) / length
    return result


def choose(fits: Sequence[Fit], train_y: np.ndarray, seed: int) -> tuple[int, float]:
    """Index of the recipe with the least cross-validated log-loss, and its cross-validated accuracy.

    Log-loss is less noisy than accuracy, and so the accuracy told is hardly the luckiest of several.
    """
    found = [cross_validate(fit, train_y, seed) for fit in fits]
    best = min(range(len(fits)), key=lambda index: found[index].log_loss)
    return best, found[best].accuracy


def cross_validate(fit: Fit, train_y: np.ndarray, seed: int) -> Selection:
    """Score a recipe on held-out folds of the training labels; the same folds for every recipe and arm.

    Args:
        fit: (rows to learn from, rows to answer for) -> probabilities of the latter.
        train_y: class indices.
        seed: of the folds.

    Returns:
        Accuracy and log-loss over all folds, or over the first only when labels are many.
    """
    fold_of = _folds(train_y, seed)
    held = [np.flatnonzero(fold_of == part) for part in range(1 if len(train_y) > MANY else FOLDS)]
    right, nats, count = 0.0, 0.0, 0
    for answer in (rows for rows in held if 0 < len(rows) < len(train_y)):
        probs = fit(np.setdiff1d(np.arange(len(train_y)), answer), answer)
        truth = train_y[answer]
        right += float((probs.argmax(axis=1) == truth).sum())
        nats -= float(np.log(np.clip(probs[np.arange(len(truth)), truth], 1e-6, None)).sum())
        count += len(answer)
    assert count, "cross-validation needs two labelled rows"
    return Selection(right / count, nats / count)


def _folds(y: np.ndarray, seed: int) -> np.ndarray:
    """Stratified folds: shuffled, sorted by class, dealt in turn."""
    order = np.random.default_rng(seed).permutation(len(y))
    fold_of = np.empty(len(y), dtype=np.int64)
    fold_of[order[np.argsort(y[order], kind="stable")]] = np.arange(len(y)) % FOLDS
    return fold_of
