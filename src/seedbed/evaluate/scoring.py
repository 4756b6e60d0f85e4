"""What differs between kinds of labels when answers are scored and simple models are fitted: one file a kind.

Targets are as the data hold them: class indices (int64), rows of 0 and 1 (int8), numbers (float64); so an array of
targets tells its kind. Answers are float64 (..., I, C): class probabilities, a probability for each name, one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np

from seedbed.evaluate.resample import Values
from seedbed.models.losses import Weights

if TYPE_CHECKING:
    from seedbed.evaluate.linear import Features, Linear


@dataclass(frozen=True)
class Metric:
    """The score a comparison rests on: a mean over items, of which more is better.

    Attributes:
        name: as shown.
        more, less: how one arm differs from another, with a place for the amount.
        noun: what amounts are counted in, in text; empty for the unit of the labels.
        per: how many of it a score of 1 is.
        unit: a difference this large in every item is as large as differences get: 1 for shares.
        bounded: no score is outside 0..unit.
        falling: the score is shown with its sign turned: errors, of which less is better.
    """

    name: str
    more: str
    less: str
    noun: str = "points"
    per: float = 100.0
    unit: float = 1.0
    bounded: bool = True
    falling: bool = False

    def shown(self, score: float) -> float:
        """A score as it is told: errors are positive."""
        return -score if self.falling else score

    def amount(self, difference: float, sign: str = "") -> str:
        """A difference in text, without its noun."""
        return format(self.per * difference, f"{sign}.1f" if self.noun == "points" else f"{sign}.3g")

    def compared(self, difference: float) -> str:
        """How an arm that is better by so much does, in words before "than"."""
        return (self.more if difference >= 0 else self.less).format(self.amount(abs(difference)))


class Told(NamedTuple):
    """One answer in words: the label, how sure it is (None where that has no meaning), and what else there is."""

    label: Any
    confidence: float | None
    probabilities: dict[str, float]


class Scoring(Protocol):
    """The functions of a file `score_<kind>.py`.

    Attributes:
        KIND: of labels.
        FEW_NEIGHBOURS: nearest neighbours that vote while labels are too few to choose.
        LEFT_OUT: classic arms that cannot learn such labels.
    """

    KIND: str
    FEW_NEIGHBOURS: int
    LEFT_OUT: tuple[str, ...]

    def metric(self, targets: np.ndarray) -> Metric:
        """The main one, its unit taken from the training labels."""

    def scores(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """How good each answer is by the main metric, float64 (..., I)."""

    def losses(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """How bad each answer is by what models are fitted to, float64 (..., I): less noisy than scores."""

    def measure(self, answers: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Values:
        """All metrics of answers (I, C), by name, one value for each row of weights; see `resample`."""

    def constant(self, targets: np.ndarray, num_outputs: int) -> np.ndarray:
        """The best answer that ignores its input, float64 (C,)."""

    def indicator(self, targets: np.ndarray, num_outputs: int) -> np.ndarray:
        """Targets as perfect answers, float64 (rows, C)."""

    def prior(self, targets: np.ndarray, num_outputs: int) -> np.ndarray:
        """The answer that few neighbours are drawn towards, float64 (C,)."""

    def strengths(self, num_labels: int) -> Sequence[float]:
        """Inverse penalties of linear models to choose from."""

    def fit(self, x: Features, y: np.ndarray, num_outputs: int, strength: float) -> Linear:
        """One linear model on features as they are; `strength` is the inverse of the L2 penalty."""

    def tilt(self, how: Weights, targets: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """What class weights in the loss would add to the log-odds of a calibrated model of targets, float64 (C,)."""

    def tilted(self, answers: np.ndarray, tilt_C: np.ndarray) -> np.ndarray:
        """Answers (I, C) with so much added to their log-odds."""

    def parts(self, targets: np.ndarray, names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
        """Items of like labels: what they share, and which they are, bool (I,)."""

    def tempered(self, answers: np.ndarray, temperature: float) -> np.ndarray:
        """Answers (I, C) with the logits of their probabilities divided by a temperature; numbers as they are.

        Source: Guo et al. 2017, On calibration of modern neural networks, section 4.2.
        """

    def told(self, answer_C: np.ndarray, names: Sequence[str]) -> Told:
        """An answer in words."""

    def worst(self, answers: np.ndarray, targets: np.ndarray, names: Sequence[str], most: int) -> list[dict[str, Any]]:
        """The items (I, C) that were answered worst, the worst first: at, truth, predicted, confidence."""

    def detail(self, answers: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """What is told of the answers (S, I, C) of one arm beyond its score, JSON-able."""


def scoring(kind: str) -> Scoring:
    """The functions of a kind of labels."""
    return cast(Scoring, import_module(f"seedbed.evaluate.score_{kind}"))


def scoring_of(targets: np.ndarray) -> Scoring:
    """The functions of the kind that targets are of."""
    if targets.ndim == 2:
        return scoring("set")
    return scoring("number" if targets.dtype.kind == "f" else "class")
