"""Answers that are class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix

from seedbed.evaluate.linear import ENOUGH, FIXED_STRENGTH, STRENGTHS, Features, Linear
from seedbed.evaluate.resample import Values, calibration_error, macro, mean, precision_recall_f1, roc_area
from seedbed.evaluate.scoring import Metric, Told
from seedbed.models.losses import Weights, class_weights

KIND = "class"
FEW_NEIGHBOURS = 1
LEFT_OUT: tuple[str, ...] = ()
ACCURACY = Metric("accuracy", "is right {} points more often", "is right {} points less often")


def metric(targets: np.ndarray) -> Metric:
    """Accuracy."""
    return ACCURACY


def scores(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """1 where the most probable class is the true one, else 0."""
    found: np.ndarray = (answers.argmax(axis=-1) == targets).astype(np.float64)
    return found


def losses(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """-ln of the probability given to the truth, as if none were below one in a million."""
    probs = np.take_along_axis(answers, np.broadcast_to(targets[:, None], (*answers.shape[:-1], 1)), axis=-1)[..., 0]
    found: np.ndarray = -np.log(np.clip(probs.astype(np.float64), 1e-6, None))
    return found


def measure(answers: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Values:
    """Accuracy; precision, recall, F1 and area under the ROC as means over classes; log-loss; calibration error."""
    classes = np.arange(answers.shape[-1])
    answered = answers.argmax(axis=-1)
    true_IC = targets[:, None] == classes
    precision, recall, f1 = precision_recall_f1(true_IC, answered[:, None] == classes, weights)
    # Of two classes one curve says all.
    curves = classes[1:] if len(classes) == 2 else classes
    return {
        "accuracy": mean(scores(answers, targets), weights),
        "macro_precision": precision.mean(axis=1),
        "macro_recall": recall.mean(axis=1),
        "macro_f1": f1.mean(axis=1),
        "roc_area": macro([roc_area(true_IC[:, index], answers[:, index], weights) for index in curves]),
        "log_loss": mean(losses(answers, targets), weights),
        "calibration_error": calibration_error(answered == targets, answers.max(axis=-1), weights),
    }


def constant(targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """The share of each class."""
    found: np.ndarray = np.bincount(targets, minlength=num_outputs) / len(targets)
    return found


def indicator(targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """All probability on the true class."""
    found: np.ndarray = np.eye(num_outputs)[targets]
    return found


def prior(targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """Every class as probable as any other."""
    return np.full(num_outputs, 1.0 / num_outputs)


def strengths(num_labels: int) -> Sequence[float]:
    """A fixed one while labels are too few to choose by."""
    return STRENGTHS if num_labels >= ENOUGH else (FIXED_STRENGTH,)


def fit(x: Features, y: np.ndarray, num_outputs: int, strength: float) -> Linear:
    """Multinomial logistic regression; a class without a label gets probability 0."""
    return fit_weighted(x, y, None, num_outputs, strength)


def fit_weighted(x: Features, y: np.ndarray, weight_I: np.ndarray | None, num_outputs: int, strength: float) -> Linear:
    """The same, with rows that count differently."""
    present = np.unique(y)
    weight_CF = np.zeros((num_outputs, x.shape[1]))
    bias_C = np.full(num_outputs, -np.inf)
    bias_C[present] = 0.0
    if len(present) > 1:
        model = LogisticRegression(C=strength, max_iter=10_000).fit(x, y, sample_weight=weight_I)
        coef, intercept = model.coef_, model.intercept_
        if len(present) == 2:
            coef, intercept = np.concatenate([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
        weight_CF[present], bias_C[present] = coef, intercept
    return Linear(weight_CF, bias_C, "softmax")


def tilt(how: Weights, targets: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The logarithms of the weights."""
    counts_C = torch.from_numpy(np.bincount(targets, minlength=len(names)))
    return np.log(class_weights(how, names, counts_C).numpy())


def tilted(answers: np.ndarray, tilt_C: np.ndarray) -> np.ndarray:
    """Probabilities times the weights of their classes."""
    leaning = answers * np.exp(tilt_C)
    found: np.ndarray = leaning / leaning.sum(axis=-1, keepdims=True)
    return found


def parts(targets: np.ndarray, names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """The items of each class."""
    return [(name, targets == index) for index, name in enumerate(names)]


def tempered(answers: np.ndarray, temperature: float) -> np.ndarray:
    """Softer above 1, sharper below; the order of the classes stays."""
    found: np.ndarray = softmax(np.log(np.clip(answers, 1e-12, None)) / temperature, axis=-1)
    return found


def told(answer_C: np.ndarray, names: Sequence[str]) -> Told:
    """The most probable class, its probability, and those of all."""
    best = int(answer_C.argmax())
    return Told(names[best], float(answer_C[best]), dict(zip(names, answer_C.tolist(), strict=True)))


def worst(answers: np.ndarray, targets: np.ndarray, names: Sequence[str], most: int) -> list[dict[str, Any]]:
    """The surest of the wrong answers."""
    predicted_I, sure_I = answers.argmax(axis=-1), answers.max(axis=-1)
    wrong = np.flatnonzero(predicted_I != targets)
    return [
        {
            "at": at,
            "truth": names[targets[at]],
            "predicted": names[predicted_I[at]],
            "confidence": float(sure_I[at]),
        }
        for at in wrong[np.argsort(-sure_I[wrong], kind="stable")][:most].tolist()
    ]


def detail(answers: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """How often each class was taken for each, over all draws."""
    truth, answered = np.tile(targets, len(answers)), answers.argmax(axis=-1).ravel()
    counts = confusion_matrix(truth, answered, labels=np.arange(len(names)))
    return {"confusion": {"classes": list(names), "counts": counts.tolist()}}
