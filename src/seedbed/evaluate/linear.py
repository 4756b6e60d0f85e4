"""The one linear model: every arm that ends in one ends here, the classic ones too, with the same recipe.

Features are centred and scaled by one number, so that rows have unit length on average. Scaling each feature by itself
blows up directions in which data hardly vary: in trials it cost 0 to 2 points on images and 5 to 11 on LSA features.
The scaling is affine and ends up in the weights, so that what is compared, kept and served are the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, softmax

from seedbed.data.labels import label_kind
from seedbed.evaluate.scoring import scoring_of

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


LINKS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": lambda logits_IC: softmax(logits_IC, axis=1),
    "sigmoid": expit,
    "identity": lambda outputs_IC: outputs_IC,
}


class Selection(NamedTuple):
    """What training labels alone tell of a recipe, on held-out folds: mean score and mean loss of its answers."""

    score: float
    loss: float


@dataclass(frozen=True)
class Linear:
    """Answers = link(features @ weights + biases).

    Attributes:
        weight_CF: a row for each class or name; one row for numbers.
        bias_C: minus infinity for a class without a label, which gets probability 0.
        link: a name in LINKS.
    """

    weight_CF: np.ndarray
    bias_C: np.ndarray
    link: str = "softmax"

    def answers(self, x: Features) -> np.ndarray:
        """Answers for rows of features, float64 (I, C); see `scoring`."""
        return LINKS[self.link](np.asarray(x @ self.weight_CF.T, dtype=np.float64) + self.bias_C)

    def tilted(self, tilt_C: np.ndarray) -> Linear:
        """The same model with so much added to its log-odds."""
        return Linear(self.weight_CF, self.bias_C + tilt_C, self.link)

    def state(self) -> State:
        """The same by name."""
        return {"weight": self.weight_CF, "bias": self.bias_C, "link": self.link}

    @staticmethod
    def from_state(state: State) -> Linear:
        """What `state` gave."""
        return Linear(state["weight"], state["bias"], state["link"])


def strongest(
    x: Features, y: np.ndarray, num_classes: int, seed: int, strengths: Sequence[float]
) -> tuple[Linear, float]:
    """The linear model of the strength that cross-validates best, on features as they are.

    Returns:
        The model, and the score estimated on held-out folds of the labels.
    """
    fits = _fits(x, y, num_classes, strengths)
    best, selection = choose(fits, y, seed)
    return scoring_of(y).fit(x, y, num_classes, strengths[best]), selection


def _fits(x: Features, y: np.ndarray, num_classes: int, strengths: Sequence[float]) -> list[Fit]:
    fit = scoring_of(y).fit

    def fit_with(strength: float) -> Fit:
        return lambda learn, answer: fit(x[learn], y[learn], num_classes, strength).answers(x[answer])

    return [fit_with(strength) for strength in strengths]


def fit_probe(x: np.ndarray, y: np.ndarray, num_classes: int, seed: int) -> tuple[Linear, float]:
    """A linear model on dense features, regularised by a recipe or, from 200 labels on, by choice.

    Logistic regression for classes and, one against the rest, for sets; ridge regression for numbers.

    Args:
        x: features (n, F) of the labelled rows.
        y: their targets, of any kind.
        num_classes: C, the columns of an answer; a class without a label gets probability 0.
        seed: of the folds.

    Returns:
        A model of the features as they are, and the score estimated on held-out folds of the labels.
    """
    mean_F, length = centre(x)
    strengths = scoring_of(y).strengths(len(y))
    model, selection = strongest((x - mean_F) / length, y, num_classes, seed, strengths)
    weight_CF = model.weight_CF / length
    return Linear(weight_CF, model.bias_C - weight_CF @ mean_F, model.link), selection


def probe_unseen(x: np.ndarray, y: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """What a linear model answers for each row when it learns from the other folds, float64 (n, C); see `fit_probe`.

    Its strength is one for all folds, chosen on all labels.
    """
    fits = _fits(scaled(x, x), y, num_classes, scoring_of(y).strengths(len(y)))
    fit = fits[choose(fits, y, seed)[0] if len(fits) > 1 else 0]
    fold_of = _folds(label_kind(scoring_of(y).KIND).strata(y), seed)
    answers_IC = np.zeros((len(y), num_classes))
    for fold in np.unique(fold_of):
        answers_IC[fold_of == fold] = fit(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold))
    return answers_IC


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
    """Index of the recipe with the least cross-validated loss, and its cross-validated score.

    Losses are less noisy than scores, and so the score told is hardly the luckiest of several.
    """
    found = [cross_validate(fit, train_y, seed) for fit in fits]
    best = min(range(len(fits)), key=lambda index: found[index].loss)
    return best, found[best].score


def cross_validate(fit: Fit, train_y: np.ndarray, seed: int) -> Selection:
    """Score a recipe on held-out folds of the training labels; the same folds for every recipe and arm.

    Args:
        fit: (rows to learn from, rows to answer for) -> answers for the latter.
        train_y: targets of any kind.
        seed: of the folds.

    Returns:
        Mean score and loss over all folds, or over the first only when labels are many.
    """
    kind = scoring_of(train_y)
    fold_of = _folds(label_kind(kind.KIND).strata(train_y), seed)
    held = [np.flatnonzero(fold_of == part) for part in range(1 if len(train_y) > MANY else FOLDS)]
    score, loss, count = 0.0, 0.0, 0
    for rows in (rows for rows in held if 0 < len(rows) < len(train_y)):
        answers = fit(np.setdiff1d(np.arange(len(train_y)), rows), rows)
        score += float(kind.scores(answers, train_y[rows]).sum())
        loss += float(kind.losses(answers, train_y[rows]).sum())
        count += len(rows)
    assert count, "cross-validation needs two labelled rows"
    return Selection(score / count, loss / count)


def _folds(strata: np.ndarray, seed: int) -> np.ndarray:
    """Stratified folds: shuffled, sorted by stratum, dealt in turn."""
    order = np.random.default_rng(seed).permutation(len(strata))
    fold_of = np.empty(len(strata), dtype=np.int64)
    fold_of[order[np.argsort(strata[order], kind="stable")]] = np.arange(len(strata)) % FOLDS
    return fold_of
