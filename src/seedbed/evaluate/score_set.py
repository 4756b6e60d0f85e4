"""Answers that give every name a probability of being in the set.

The main metric is F1 of each example's set, averaged over examples. It is what a user sees, the answered set against
the true one; half-right sets count, which subset accuracy would not; names that nobody has do not, which would make the
share of right decisions look good for any sparse labels; and it is a mean over items, as an interval needs, which
micro and macro F1 are not. Which set is answered follows from the probabilities alone: the one whose expected F1 is
greatest, so that no arm's threshold has to be chosen by labels that are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from seedbed.evaluate.linear import ENOUGH, FIXED_STRENGTH, STRENGTHS, Features, Linear
from seedbed.evaluate.resample import Values, average_precision, macro, mean, precision_recall_f1, roc_area
from seedbed.evaluate.scoring import Metric, Told
from seedbed.models.losses import Weights, decision_weights

KIND = "set"
FEW_NEIGHBOURS = 3
LEFT_OUT = ("svm",)
F1 = Metric("F1 of sets", "answers sets with an F1 {} points higher", "answers sets with an F1 {} points lower")
LEAST = 1e-6  # a probability that costs what one in a million does


def chosen(answers: np.ndarray) -> np.ndarray:
    """The set of greatest expected F1, bool (..., I, C): the k most probable names, or none.

    For each k the expected F1 is taken as 2 sum(p of the k) / (k + sum of all p), and for the empty set as the chance
    that nothing is in it.

    Source: Lewis 1995, "Evaluating and optimizing autonomous text classification systems"; Lipton et al. 2014, "Optimal
    thresholding of classifiers to maximize F1 measure".
    """
    order = np.argsort(-answers, axis=-1, kind="stable")
    sorted_p = np.take_along_axis(answers, order, axis=-1)
    sizes = np.arange(1, answers.shape[-1] + 1)
    expected = 2 * sorted_p.cumsum(axis=-1) / (sizes + sorted_p.sum(axis=-1, keepdims=True))
    size = expected.argmax(axis=-1) + 1
    size = np.where((1 - sorted_p).prod(axis=-1) > expected.max(axis=-1), 0, size)
    rank = np.argsort(order, axis=-1, kind="stable")
    found: np.ndarray = rank < size[..., None]
    return found


def metric(targets: np.ndarray) -> Metric:
    """F1 of each example's set."""
    return F1


def scores(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """F1 of each answered set; 1 where both sets are empty."""
    answered, true = chosen(answers), targets == 1
    both = (answered & true).sum(axis=-1)
    sizes = answered.sum(axis=-1) + true.sum(axis=-1)
    found: np.ndarray = np.where(sizes == 0, 1.0, 2 * both / np.maximum(sizes, 1))
    return found


def losses(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mean over names of -ln of the probability given to the truth."""
    probs = np.where(targets == 1, answers, 1 - answers)
    found: np.ndarray = -np.log(np.clip(probs.astype(np.float64), LEAST, None)).mean(axis=-1)
    return found


def measure(answers: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Values:
    """F1 over examples, decisions and names; whole sets right; average precision and ROC over names; log-loss."""
    answered, true = chosen(answers), targets == 1
    both, had, has = (part.sum(axis=1) for part in (answered & true, answered, true))
    *_, f1 = precision_recall_f1(true, answered, weights)
    columns = range(true.shape[1])
    return {
        "f1_of_sets": mean(scores(answers, targets), weights),
        "micro_f1": 2 * (weights @ both) / np.maximum(weights @ (had + has), 1.0),
        "macro_f1": f1.mean(axis=1),
        "subset_accuracy": mean((answered == true).all(axis=1), weights),
        "mean_average_precision": macro([average_precision(true[:, at], answers[:, at], weights) for at in columns]),
        "roc_area": macro([roc_area(true[:, at], answers[:, at], weights) for at in columns]),
        "log_loss": mean(losses(answers, targets), weights),
    }


def constant(targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """The share of sets that hold each name."""
    found: np.ndarray = targets.mean(axis=0, dtype=np.float64)
    return found


def indicator(targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """Probability 1 for what is in the set, else 0."""
    return targets.astype(np.float64)


def prior(targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """The share of sets that hold each name."""
    return constant(targets, num_outputs)


def strengths(num_labels: int) -> Sequence[float]:
    """A fixed one while labels are too few to choose by."""
    return STRENGTHS if num_labels >= ENOUGH else (FIXED_STRENGTH,)


def fit(x: Features, y: np.ndarray, num_outputs: int, strength: float) -> Linear:
    """One against the rest: a logistic regression a name; one that all or no rows have gets its smoothed odds."""
    weight_CF, bias_C = np.zeros((num_outputs, x.shape[1])), np.zeros(num_outputs)
    for name in range(num_outputs):
        count = int((y[:, name] == 1).sum())
        if 0 < count < len(y):
            model = LogisticRegression(C=strength, max_iter=10_000).fit(x, y[:, name])
            weight_CF[name], bias_C[name] = model.coef_[0], model.intercept_[0]
        else:
            bias_C[name] = np.log((count + 0.5) / (len(y) - count + 0.5))
    return Linear(weight_CF, bias_C, "sigmoid")


def tilt(how: Weights, targets: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The logarithms of the ratios of the weights of being in and out."""
    counts_C = torch.from_numpy(targets.sum(axis=0, dtype=np.int64))
    out_C, in_C = decision_weights(how, names, counts_C, len(targets)).numpy().T
    return np.log(in_C / out_C)


def tilted(answers: np.ndarray, tilt_C: np.ndarray) -> np.ndarray:
    """Odds times these ratios."""
    leaning = answers * np.exp(tilt_C)
    found: np.ndarray = leaning / (leaning + 1 - answers)
    return found


def parts(targets: np.ndarray, names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """The items whose set holds each name, and those of empty sets; an item is in several parts."""
    empty_I = (targets != 1).all(axis=1)
    found = [(name, targets[:, index] == 1) for index, name in enumerate(names)]
    return [*found, ("none", empty_I)] if empty_I.any() else found


def tempered(answers: np.ndarray, temperature: float) -> np.ndarray:
    """Nearer to a half above 1, farther from it below; none crosses it."""
    found: np.ndarray = expit(logit(np.clip(answers, LEAST, 1 - LEAST)) / temperature)
    return found


def told(answer_C: np.ndarray, names: Sequence[str]) -> Told:
    """The set, no single confidence, and the probability of every name."""
    inside = [name for name, is_in in zip(names, chosen(answer_C), strict=True) if is_in]
    return Told(inside, None, dict(zip(names, answer_C.tolist(), strict=True)))


def worst(answers: np.ndarray, targets: np.ndarray, names: Sequence[str], most: int) -> list[dict[str, Any]]:
    """Wrong sets of the greatest log-loss; confidence is that of the least probable truth being wrong."""
    answered, true = chosen(answers), targets == 1
    wrong = np.flatnonzero((answered != true).any(axis=1))
    loss_I = losses(answers, targets)
    least_I = np.where(true, answers, 1 - answers).min(axis=1)
    return [
        {
            "at": at,
            "truth": _listed(true[at], names),
            "predicted": _listed(answered[at], names),
            "confidence": float(1 - least_I[at]),
        }
        for at in wrong[np.argsort(-loss_I[wrong], kind="stable")][:most].tolist()
    ]


def _listed(inside_C: np.ndarray, names: Sequence[str]) -> str:
    return ", ".join(name for name, is_in in zip(names, inside_C, strict=True) if is_in) or "none"


def detail(answers: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """For each name how many sets hold it, how many it was answered for, precision, recall and F1, over all draws."""
    answered, true = chosen(answers), np.broadcast_to(targets == 1, answers.shape)
    both_C, answered_C, true_C = (part.mean(axis=0).sum(axis=0) for part in (answered & true, answered, true))
    rows = []
    for name, both, had, has in zip(names, both_C, answered_C, true_C, strict=True):
        precision, recall = both / had if had else 0.0, both / has if has else 0.0
        f1 = 2 * both / (had + has) if had + has else 0.0
        told = {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
        rows.append({"name": name, "sets": int(has), "answered": float(had), **told})
    return {"names": rows}
