"""Classic machine learning on the same labels, as strong as is honest and cheap: a weak baseline would flatter us.

    classic = Classic("lsa", prepared, pool)              # an unsupervised part is fitted when first needed, once
    answers_IC, selection = classic.answer(train_rows, train_y, test_rows)
    model = classic.model(rows, y)                        # the same on all labels, to keep: model.answers(texts)

An arm is a file of `classic/` with four functions: `prepare` (what is learnt without labels), `render` (contents to
features), `learn` (features and labels to numbers) and `respond` (features to answers). What they pass on are
arrays and lists of words, so that what was compared can be written down and read back to the bit. What a row looks
like to an arm is computed once and kept, so that a further draw costs only its fit.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp

from seedbed.data.store import Prepared
from seedbed.evaluate.linear import Features, State, cross_validate
from seedbed.evaluate.scoring import scoring
from seedbed.models.losses import Weights

Answer = tuple[np.ndarray, float]
MAJORITY = "majority"


def classic_arms(modality: str, kind: str = "class") -> tuple[str, ...]:
    """Names of the classic arms of a modality that learn a kind of labels, the most important first."""
    arms = {"text": ("tfidf", "lsa"), "image": ("pixels", "knn", "svm"), "vector": ("values", "knn", "svm")}[modality]
    return tuple(name for name in arms if name not in scoring(kind).LEFT_OUT)


def dense_arm(modality: str) -> str:
    """The classic arm that is a linear model on a few hundred dense features: what can be stacked."""
    return {"text": "lsa", "image": "pixels", "vector": "values"}[modality]


def arm_module(name: str) -> ModuleType:
    """The file of an arm."""
    return import_module(f"seedbed.evaluate.classic.{name}")


@dataclass(frozen=True)
class ClassicModel:
    """An arm that has learnt, free of the data it learnt from.

    Attributes:
        name: of the arm.
        rendering: what it learnt without labels.
        learnt: what it learnt from labels.
    """

    name: str
    rendering: State
    learnt: State

    def features(self, contents: Sequence[str | np.ndarray]) -> Features:
        """What the arm sees in texts or uint8 images, (I, F), dense or sparse."""
        raw = np.stack(contents) if isinstance(contents[0], np.ndarray) else contents
        return arm_module(self.name).render(self.rendering, raw)

    def answers(self, contents: Sequence[str | np.ndarray]) -> np.ndarray:
        """Answers for texts or uint8 images (channels, height, width), float64 (I, C)."""
        raw = np.stack(contents) if isinstance(contents[0], np.ndarray) else contents
        return _respond(self.name, self.learnt, arm_module(self.name).render(self.rendering, raw))


def _respond(name: str, learnt: State, features: Features) -> np.ndarray:
    """What an arm answers; where labels have weights, it leans as much as they would have made it."""
    answers: np.ndarray = arm_module(name).respond(learnt, features)
    return scoring(learnt["kind"]).tilted(answers, learnt["tilt"]) if "tilt" in learnt else answers


class Classic:
    """One classic arm on one prepared data set.

    Args:
        name: "majority", or one of `classic_arms(modality)`.
        prepared: the data.
        pool: rows an unsupervised part may see: training rows, labelled or not, never test rows.
        seed: of the folds, and of the sketch in LSA.
        weights: how much labels count, as `class_weights` of the task.
    """

    def __init__(
        self, name: str, prepared: Prepared, pool: np.ndarray, seed: int = 0, weights: Weights = "none"
    ) -> None:
        self.name, self.prepared, self.pool, self.seed, self.weights = name, prepared, pool, seed, weights
        self._arm = arm_module(name)
        self._place: dict[int, int] = {}
        self._kept: list[Features] = []

    def answer(self, train_rows: np.ndarray, train_y: np.ndarray, test_rows: np.ndarray) -> Answer:
        """Learn from labelled rows and answer for others.

        Returns:
            answers_IC, and the score estimated on held-out folds of the training labels.
        """
        learnt, selection = self._learn(train_rows, train_y)
        return _respond(self.name, learnt, self.features(test_rows)), selection

    def model(self, rows: np.ndarray, y: np.ndarray) -> ClassicModel:
        """What labelled rows teach, to be kept."""
        return ClassicModel(self.name, self.rendering, self._learn(rows, y)[0])

    def features(self, rows: np.ndarray) -> Features:
        """What rows look like to the arm, each rendered once."""
        new = [row for row in dict.fromkeys(rows.tolist()) if row not in self._place]
        if new:
            raw: Any = self.prepared.raw(np.array(new))
            block = self._arm.render(self.rendering, raw)
            start = len(self._place)
            self._place |= {row: start + index for index, row in enumerate(new)}
            stack = sp.vstack if sp.issparse(block) else np.concatenate
            self._kept = [stack([*self._kept, block])]
        return self._kept[0][[self._place[row] for row in rows.tolist()]]

    def _learn(self, rows: np.ndarray, y: np.ndarray) -> tuple[State, float]:
        facts = self.prepared.facts
        learnt, selection = self._arm.learn(self.features(rows), y, facts.num_outputs, self.seed)
        if self.weights == "none":
            return learnt, selection
        kind, x = scoring(facts.label_kind), self.features(rows)

        def leaning(learn: np.ndarray, answer: np.ndarray) -> np.ndarray:
            part, _ = self._arm.learn(x[learn], y[learn], facts.num_outputs, self.seed)
            return kind.tilted(self._arm.respond(part, x[answer]), kind.tilt(self.weights, y[learn], facts.classes))

        # What leans is judged as it leans: else the arm that does not look would be taken for what it was upright.
        told = {"tilt": kind.tilt(self.weights, y, facts.classes), "kind": facts.label_kind}
        return {**learnt, **told}, cross_validate(leaning, y, self.seed).score

    @functools.cached_property
    def rendering(self) -> State:
        """What the arm learns without labels, from some of the pool where all of it would be slow."""
        state: State = self._arm.prepare(self.prepared.raw(thinned(self.pool, self._arm.MOST)), self.seed)
        return state


def thinned(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]
