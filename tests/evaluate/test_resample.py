"""Metrics under resamples: those of scikit-learn on the repeated rows, fast, with intervals that cover."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as sk

from seedbed.evaluate import resample
from seedbed.evaluate.scoring import scoring

NUM, REPEATS = 120, 6
Reference = Callable[[np.ndarray, np.ndarray], dict[str, float]]


def problem(kind: str, num: int = NUM, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers (I, C) that know something of the targets, with ties."""
    rng = np.random.default_rng(seed)
    if kind == "class":
        y = rng.choice(4, num, p=(0.5, 0.3, 0.15, 0.05))
        logits = np.round(rng.normal(size=(num, 4)) + 1.5 * np.eye(4)[y], 1)
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), y
    if kind == "set":
        members = (rng.random((num, 5)) < (0.5, 0.3, 0.2, 0.1, 0.4)).astype(np.int8)
        return 1 / (1 + np.exp(-np.round(rng.normal(size=(num, 5)) + 2.0 * members - 1, 1))), members
    values = rng.gamma(2.0, size=num)
    return np.round(values + rng.normal(size=num), 1)[:, None], values


def of_classes(probs: np.ndarray, y: np.ndarray) -> dict[str, float]:
    classes, answered = np.arange(probs.shape[1]), probs.argmax(1)
    of = {"labels": classes, "average": "macro", "zero_division": 0.0}
    return {
        "accuracy": sk.accuracy_score(y, answered),
        "macro_precision": sk.precision_score(y, answered, **of),
        "macro_recall": sk.recall_score(y, answered, **of),
        "macro_f1": sk.f1_score(y, answered, **of),
        "roc_area": np.mean([sk.roc_auc_score(y == c, probs[:, c]) for c in classes if (y == c).any()]),
        "log_loss": sk.log_loss(y, probs, labels=classes),
        "calibration_error": slow_calibration_error(answered == y, probs.max(1)),
    }


def slow_calibration_error(right: np.ndarray, sure: np.ndarray) -> float:
    total = 0.0
    for step in range(15):
        inside = [at for at in range(len(sure)) if step / 15 < sure[at] <= (step + 1) / 15]
        if inside:
            total += len(inside) * abs(float(np.mean(right[inside])) - float(np.mean(sure[inside])))
    return total / len(sure)


def of_sets(probs: np.ndarray, y: np.ndarray) -> dict[str, float]:
    answered = slow_sets(probs)
    known = [c for c in range(y.shape[1]) if 0 < y[:, c].sum() < len(y)]
    return {
        "f1_of_sets": sk.f1_score(y, answered, average="samples", zero_division=1.0),
        "micro_f1": sk.f1_score(y, answered, average="micro"),
        "macro_f1": sk.f1_score(y, answered, average="macro", zero_division=0.0),
        "subset_accuracy": sk.accuracy_score(y, answered),
        "mean_average_precision": np.mean([sk.average_precision_score(y[:, c], probs[:, c]) for c in known]),
        "roc_area": np.mean([sk.roc_auc_score(y[:, c], probs[:, c]) for c in known]),
        "log_loss": np.mean([sk.log_loss(y[:, c], probs[:, c], labels=[0, 1]) for c in range(y.shape[1])]),
    }


def slow_sets(probs: np.ndarray) -> np.ndarray:
    """Every size tried in turn."""
    answered = np.zeros_like(probs, dtype=np.int64)
    for row, p in enumerate(probs):
        order = np.argsort(-p, kind="stable")
        best, size = float(np.prod(1 - p)), 0
        for k in range(1, len(p) + 1):
            expected = 2 * p[order[:k]].sum() / (k + p.sum())
            if expected >= best if size == 0 else expected > best:
                best, size = expected, k
        answered[row, order[:size]] = 1
    return answered


def of_numbers(answers: np.ndarray, y: np.ndarray) -> dict[str, float]:
    told = answers[:, 0]
    return {
        "mean_absolute_error": sk.mean_absolute_error(y, told),
        "root_mean_squared_error": sk.root_mean_squared_error(y, told),
        "r2": sk.r2_score(y, told),
        "spearman": float(spearmanr(told, y).statistic),
    }


REFERENCES: dict[str, Reference] = {"class": of_classes, "set": of_sets, "number": of_numbers}


@pytest.mark.parametrize("kind", REFERENCES)
def test_every_metric_is_scikit_learns_on_all_rows_and_on_repeated_ones(kind: str) -> None:
    answers, y = problem(kind)
    weights = np.concatenate([np.ones((1, NUM)), resample.weights_of(NUM, 3, range(REPEATS))])
    found = scoring(kind).measure(answers, y, weights)
    for at, counts in enumerate(weights):
        rows = np.repeat(np.arange(NUM), counts.astype(int))
        expected = REFERENCES[kind](answers[rows], y[rows])
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name][at] == pytest.approx(value, abs=1e-6), f"{name}, resample {at}"


@pytest.mark.parametrize("kind", REFERENCES)
def test_the_mean_score_is_the_main_metric(kind: str) -> None:
    answers, y = problem(kind)
    of = scoring(kind)
    metric = of.metric(y)
    name = metric.name.lower().replace(" ", "_")
    value = of.measure(answers, y, np.ones((1, NUM)))[name][0]
    assert metric.shown(of.scores(answers, y).mean()) == pytest.approx(value)


def test_resamples_draw_each_item_once_on_average_and_are_the_same_each_time() -> None:
    weights = resample.weights_of(50, 7)
    assert weights.shape == (resample.RESAMPLES, 50) and (weights.sum(1) == 50).all()
    assert weights.mean() == 1 and weights.var() == pytest.approx(1 - 1 / 50, abs=0.05)
    assert np.array_equal(weights, resample.weights_of(50, 7))


def test_many_items_are_resampled_in_parts_to_the_same_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, y = problem("set")
    whole = resample.with_bounds(scoring("set").measure, answers[None], y)
    monkeypatch.setattr(resample, "AT_ONCE", 7 * NUM)
    parts = resample.with_bounds(scoring("set").measure, answers[None], y)
    assert parts.keys() == whole.keys()
    for name, found in whole.items():
        assert parts[name] == pytest.approx(found, rel=1e-6)


def test_what_has_no_value_is_left_out() -> None:
    answers = np.array([[0.7, 0.3], [0.6, 0.4]])
    found = resample.with_bounds(scoring("class").measure, answers[None], np.array([0, 0]))
    assert "roc_area" not in found and found["accuracy"].value == 1.0
    constant = resample.with_bounds(scoring("number").measure, np.zeros((1, 3, 1)), np.ones(3))
    assert set(constant) == {"mean_absolute_error", "root_mean_squared_error"}


def test_the_interval_of_a_share_is_the_binomials() -> None:
    right = np.arange(400) < 300
    answers = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
    found = resample.with_bounds(scoring("class").measure, answers[None], np.zeros(400, int))["accuracy"]
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 400), rel=0.15)


@pytest.mark.parametrize(("kind", "name"), [("class", "macro_f1"), ("class", "roc_area"), ("number", "spearman")])
def test_intervals_of_what_is_no_mean_cover_the_value_of_many_items(kind: str, name: str) -> None:
    answers, y = problem(kind, 40_000, seed=9)
    truth = scoring(kind).measure(answers, y, np.ones((1, len(y)), np.float32))[name][0]
    hits = 0
    for seed in range(60):
        few_answers, few = problem(kind, 200, seed=100 + seed)
        found = resample.with_bounds(scoring(kind).measure, few_answers[None], few, seed=seed)[name]
        hits += found.low <= truth <= found.high
    assert 51 <= hits <= 60


def test_draws_that_differ_widen_the_interval() -> None:
    answers, y = problem("number")
    alike = resample.with_bounds(scoring("number").measure, np.stack([answers] * 5), y)["r2"]
    moved = np.stack([answers + shift for shift in (-1, -0.5, 0, 0.5, 1)])
    apart = resample.with_bounds(scoring("number").measure, moved, y)["r2"]
    assert apart.high - apart.low > 1.2 * (alike.high - alike.low)


@pytest.mark.slow
def test_a_thousand_resamples_of_five_thousand_items_take_seconds() -> None:
    answers, y = problem("class", 5000)
    weights = resample.weights_of(5000, 0, range(1000))
    started = time.process_time()
    scoring("class").measure(answers, y, weights)
    assert time.process_time() - started < 10
