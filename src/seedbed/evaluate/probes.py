"""What features are worth: a linear probe on few labels, and whether features have collapsed.

Every arm that ends in a linear classifier, the classic ones too, ends in `logistic_probe`: the same recipe, the same
way to choose its strength, the same estimate on training labels. Features are centred and scaled by one number, so
that rows have unit length on average. Scaling each feature by itself blows up directions in which data hardly vary: in
trials it cost 0 to 2 points on images and 5 to 11 on LSA features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from seedbed.core.device import Machine, autocast
from seedbed.core.types import NO_LABEL
from seedbed.data.loader import Loader
from seedbed.data.store import Prepared
from seedbed.models.encoder import Encoder

# From so many labels on, choices are made by cross-validation; below, it would choose by noise.
ENOUGH = 200
FOLDS = 5
# Beyond so many labels one held-out fold tells enough, and five fits would be slow.
MANY = 3000
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
FIXED_STRENGTH = 10.0
FEATURE_BATCH = 64

Features = Any  # a dense array (rows, F) or a scipy.sparse matrix of that shape
Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Selection(NamedTuple):
    """What training labels alone tell of a recipe: shares and nats on held-out folds."""

    accuracy: float
    log_loss: float


@torch.no_grad()
def features(encoder: Encoder, prepared: Prepared, rows: np.ndarray, machine: Machine, seq_len: int) -> np.ndarray:
    """Pooled states of whole examples, float32 (I, D), in the order of `rows`.

    Args:
        encoder: put into evaluation mode for the duration.
        rows: rows of the prepared data.
        seq_len: longest part of a text that is read, in tokens; 0 for images.
    """
    device, was_training = torch.device(machine.device), encoder.training
    encoder.eval()
    # Neighbours of like length need little padding.
    order = np.argsort(prepared.lengths[rows], kind="stable")
    loader = Loader(prepared, rows[order], seed=0, batch_size=FEATURE_BATCH, items="whole", seq_len=seq_len)
    found = []
    for batch in loader.evaluation():
        padded = batch.to(device).inputs[prepared.facts.modality]
        with autocast(machine):
            pooled_BD = encoder.pooled(padded.values, padded.keep)
        found.append(pooled_BD.float().cpu().numpy())
    encoder.train(was_training)
    sorted_ID = np.concatenate(found)
    assert len(sorted_ID) == len(rows), f"{len(sorted_ID)} of {len(rows)} rows were read"
    x_ID = np.empty_like(sorted_ID)
    x_ID[order] = sorted_ID
    return x_ID


def logistic_probe(
    train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, num_classes: int, seed: int
) -> tuple[np.ndarray, float]:
    """Multinomial logistic regression on features, regularised by a recipe or, from 200 labels on, by choice.

    Args:
        train_x: features (n, F) of the labelled rows.
        train_y: their class indices.
        test_x: features (I, F) to answer for.
        num_classes: C; a class without a label gets probability 0.
        seed: of the folds.

    Returns:
        probs_IC, and the accuracy estimated on held-out folds of the training labels.
    """
    train_x, test_x = scaled(train_x, train_x), scaled(train_x, test_x)
    strengths = STRENGTHS if len(train_y) >= ENOUGH else (FIXED_STRENGTH,)
    return strongest(train_x, train_y, test_x, num_classes, seed, strengths)


def logistic_weights(
    train_x: np.ndarray, train_y: np.ndarray, num_classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The model of `logistic_probe` as weights (C, F) and biases (C,) on features as they are; classes need a label."""
    x_ID = scaled(train_x, train_x)
    strengths = STRENGTHS if len(train_y) >= ENOUGH else (FIXED_STRENGTH,)

    def fit_with(strength: float) -> Fit:
        return lambda learn, answer: linear(x_ID[learn], train_y[learn], x_ID[answer], num_classes, strength)

    best = choose([fit_with(strength) for strength in strengths], train_y, seed)[0] if len(strengths) > 1 else 0
    model = LogisticRegression(C=strengths[best], max_iter=10_000).fit(x_ID, train_y)
    assert np.array_equal(model.classes_, np.arange(num_classes)), "a class has no label"
    weight_CD, bias_C = model.coef_, model.intercept_
    if num_classes == 2:
        weight_CD, bias_C = np.concatenate([-weight_CD, weight_CD]) / 2, np.concatenate([-bias_C, bias_C]) / 2
    # `scaled` is affine: its centre and its one factor go into the weights.
    mean_D = train_x.mean(axis=0, dtype=np.float64)
    factor = max(float(np.sqrt(((train_x - mean_D) ** 2).sum(axis=1).mean())), 1e-12)
    return weight_CD / factor, bias_C - (weight_CD / factor) @ mean_D


def strongest(
    train_x: Features, train_y: np.ndarray, test_x: Features, num_classes: int, seed: int, strengths: Sequence[float]
) -> tuple[np.ndarray, float]:
    """As `logistic_probe`, on features as they are (dense or sparse), with the strengths to choose from."""

    def fit_with(strength: float) -> Fit:
        return lambda learn, answer: linear(train_x[learn], train_y[learn], train_x[answer], num_classes, strength)

    best, selection = choose([fit_with(strength) for strength in strengths], train_y, seed)
    return linear(train_x, train_y, test_x, num_classes, strengths[best]), selection


def choose(fits: Sequence[Fit], train_y: np.ndarray, seed: int) -> tuple[int, float]:
    """Index of the recipe with the least cross-validated log-loss, and its cross-validated accuracy.

    Log-loss is less noisy than accuracy, and so the accuracy told is hardly the luckiest of several.
    """
    found = [cross_validate(fit, train_y, seed) for fit in fits]
    best = min(range(len(fits)), key=lambda index: found[index].log_loss)
    return best, found[best].accuracy


def scaled(reference: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Centre by the reference rows and divide by the root mean square of their lengths, float64."""
    mean = reference.mean(axis=0, dtype=np.float64)
    length = np.sqrt(((reference - mean) ** 2).sum(axis=1).mean())
    result: np.ndarray = (x - mean) / max(float(length), 1e-12)
    return result


def linear(x: Features, y: np.ndarray, test_x: Features, num_classes: int, strength: float) -> np.ndarray:
    """Probabilities (I, C) of one logistic regression; `strength` is the inverse of the L2 penalty."""
    present = np.unique(y)
    probs_IC = np.zeros((test_x.shape[0], num_classes))
    if len(present) == 1:
        probs_IC[:, present] = 1.0
        return probs_IC
    model = LogisticRegression(C=strength, max_iter=10_000).fit(x, y)
    probs_IC[:, present] = model.predict_proba(test_x)
    return probs_IC


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


def neighbour_accuracy(x_ID: np.ndarray, labels_I: np.ndarray, neighbours: int = 5) -> float:
    """Leave-one-out accuracy of voting by nearest neighbours under cosine distance: a probe without training.

    Args:
        x_ID: features.
        labels_I: class indices; rows without a label are left out.
    """
    known = labels_I != NO_LABEL
    unit_ID, y = scaled(x_ID[known], x_ID[known]), labels_I[known]
    unit_ID /= np.maximum(np.linalg.norm(unit_ID, axis=1, keepdims=True), 1e-12)
    near = unit_ID @ unit_ID.T
    np.fill_diagonal(near, -np.inf)
    nearest = np.argsort(-near, axis=1, kind="stable")[:, : min(neighbours, len(y) - 1)]
    # Similarity breaks ties between equally many votes.
    votes = np.zeros((len(y), int(y.max()) + 1))
    for column in nearest.T:
        np.add.at(votes, (np.arange(len(y)), y[column]), 1.0 + 1e-3 * near[np.arange(len(y)), column])
    return float((votes.argmax(axis=1) == y).mean())


def feature_std(x_ID: np.ndarray) -> float:
    """Mean over features of the standard deviation of unit-length rows, times sqrt(D): 1 when spread, 0 when collapsed.

    Source: Chen and He, "Exploring simple siamese representation learning" (2021), section 4.1.
    """
    unit_ID = x_ID / np.maximum(np.linalg.norm(x_ID, axis=1, keepdims=True), 1e-12)
    return float(unit_ID.std(axis=0).mean() * np.sqrt(x_ID.shape[1]))


def effective_rank(x_ID: np.ndarray) -> float:
    """The exponential of the entropy of the normalised singular values of centred features: 1 to D, 0 if constant.

    Source: Roy and Vetterli, "The effective rank" (2007).
    """
    values = np.linalg.svd(x_ID.astype(np.float64) - x_ID.mean(axis=0, dtype=np.float64), compute_uv=False)
    total = values.sum()
    if total <= 1e-9 * max(float(np.abs(x_ID).max()), 1e-12) * len(x_ID):
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))
