"""Kinds of labels: which answers are good, what simple models make of them, how they are told."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeCV

from seedbed.data.labels import KINDS
from seedbed.evaluate import score_number, score_set
from seedbed.evaluate.baselines import arm_module, classic_arms
from seedbed.evaluate.linear import Linear, fit_probe
from seedbed.evaluate.scoring import scoring, scoring_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 12))
TARGETS: dict[str, np.ndarray] = {
    "class": (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1),
    "set": np.stack([X[:, 0] > 0, X[:, 1] > 0.5, X[:, 2] > 5], axis=1).astype(np.int8),
    "number": 100 + 10 * X[:, 0] - 4 * X[:, 1] + RNG.normal(size=240),
}
OUTPUTS = {"class": 3, "set": 3, "number": 1}


def test_targets_tell_their_kind() -> None:
    assert [scoring_of(TARGETS[kind]).KIND for kind in KINDS] == list(KINDS) == [scoring(k).KIND for k in KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_perfect_answers_score_best_and_cost_least(kind: str) -> None:
    of, y = scoring(kind), TARGETS[kind]
    perfect = of.indicator(y, OUTPUTS[kind])
    constant = np.tile(of.constant(y, OUTPUTS[kind]), (len(y), 1))
    assert of.metric(y).shown(of.scores(perfect, y).mean()) == (0.0 if kind == "number" else 1.0)
    assert of.scores(perfect, y).mean() > of.scores(constant, y).mean()
    assert of.losses(perfect, y).mean() == pytest.approx(0.0, abs=1e-5)
    assert of.losses(constant, y).mean() > 0.1
    assert of.worst(perfect, y, "abc", 3) == []
    stacked = of.scores(np.stack([perfect, constant]), y)
    assert stacked.shape == (2, 240) and np.array_equal(stacked[1], of.scores(constant, y))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num", [30, 240])
def test_a_probe_learns_every_kind_and_tells_its_score_from_training_labels(kind: str, num: int) -> None:
    of, y = scoring(kind), TARGETS[kind]
    model, selection = fit_probe(X[:num], y[:num], OUTPUTS[kind], seed=0)
    answers = model.answers(X)
    assert answers.shape == (240, OUTPUTS[kind])
    constant = np.tile(of.constant(y, OUTPUTS[kind]), (len(y), 1))
    assert of.scores(answers, y).mean() > of.scores(constant, y).mean()
    assert selection == pytest.approx(of.scores(answers, y).mean(), abs=0.35 * of.metric(y).unit)
    again = Linear.from_state(model.state()).answers(X)
    assert np.array_equal(again, answers)


def test_names_are_learnt_one_against_the_rest_and_rare_ones_get_smoothed_odds() -> None:
    y = TARGETS["set"]
    model = score_set.fit(X, y, 3, 2.0)
    expected = LogisticRegression(C=2.0, max_iter=10_000).fit(X, y[:, 1]).predict_proba(X)[:, 1]
    np.testing.assert_allclose(model.answers(X)[:, 1], expected, atol=1e-9)
    assert not y[:, 2].any() and model.answers(X)[:, 2] == pytest.approx(0.5 / 241)


def test_numbers_are_learnt_by_ridge_regression() -> None:
    y = TARGETS["number"]
    expected = RidgeCV(alphas=score_number.ALPHAS).fit(X, y).predict(X)
    np.testing.assert_allclose(score_number.fit(X, y, 1, 1.0).answers(X)[:, 0], expected, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arm", ["majority", "pixels", "knn", "svm"])
@pytest.mark.parametrize("num", [6, 220])
def test_classic_arms_of_images_learn_every_kind(kind: str, arm: str, num: int) -> None:
    if arm in scoring(kind).LEFT_OUT:
        assert arm not in classic_arms("image", kind)
        return
    module, of, y = arm_module(arm), scoring(kind), TARGETS[kind]
    learnt, selection = module.learn(X[:num], y[:num], OUTPUTS[kind], 0)
    answers = module.respond(learnt, X)
    assert answers.shape == (240, OUTPUTS[kind]) and np.isfinite(answers).all() and np.isfinite(selection)
    if num == 220 and arm != "majority":
        constant = np.tile(of.constant(y, OUTPUTS[kind]), (len(y), 1))
        assert of.scores(answers, y).mean() > of.scores(constant, y).mean()


def test_the_majority_of_numbers_is_the_median() -> None:
    learnt, selection = arm_module("majority").learn(X[:3], np.array([1.0, 2.0, 30.0]), 1, 0)
    assert learnt["answer"].tolist() == [2.0] and selection == pytest.approx(-29 / 3)


def test_constant_numbers_are_learnt_without_a_support_vector() -> None:
    learnt, _ = arm_module("svm").learn(X[:8], np.full(8, 3.5), 1, 0)
    assert arm_module("svm").respond(learnt, X) == pytest.approx(3.5)


def test_the_answered_set_is_hardly_worse_than_the_best_of_all_sets() -> None:
    """Against every subset, with its exact expected F1 under independent names."""
    draw = np.random.default_rng(3)
    lost = []
    for _ in range(60):
        p = draw.random(4) ** 2
        worlds = [np.array(bits) for bits in itertools.product((0, 1), repeat=4)]
        weight = [float(np.prod(np.where(bits == 1, p, 1 - p))) for bits in worlds]

        def expected(chosen: np.ndarray, worlds: list[np.ndarray] = worlds, weight: list[float] = weight) -> float:
            sizes = [chosen.sum() + bits.sum() for bits in worlds]
            f1 = [
                1.0 if not size else 2 * (chosen & bits).sum() / size for bits, size in zip(worlds, sizes, strict=True)
            ]
            return float(np.dot(weight, f1))

        lost.append(max(map(expected, worlds)) - expected(score_set.chosen(p).astype(int)))
    assert np.mean(lost) < 0.01 and np.max(lost) < 0.08


def test_a_set_may_be_answered_below_one_half_and_may_be_empty() -> None:
    assert score_set.chosen(np.array([0.4, 0.02, 0.01])).tolist() == [False, False, False]
    assert score_set.chosen(np.array([0.45, 0.44, 0.43])).tolist() == [True, True, True]


def test_answers_are_told_in_words() -> None:
    assert scoring("class").told(np.array([0.2, 0.8]), ("a", "b")) == ("b", 0.8, {"a": 0.2, "b": 0.8})
    assert scoring("set").told(np.array([0.9, 0.1]), ("a", "b")) == (["a"], None, {"a": 0.9, "b": 0.1})
    assert scoring("number").told(np.array([2.5]), ()) == (2.5, None, {})


def test_the_worst_come_first() -> None:
    numbers = scoring("number").worst(np.array([[1.0], [5.0], [2.0]]), np.array([1.0, 2.0, 2.5]), (), 5)
    assert [wrong["at"] for wrong in numbers] == [1, 2] and numbers[0]["predicted"] == "5"
    sets = scoring("set").worst(np.array([[0.9, 0.9], [0.9, 0.1]]), np.array([[1, 0], [1, 0]], np.int8), ("a", "b"), 5)
    assert [(wrong["truth"], wrong["predicted"]) for wrong in sets] == [("a", "a, b")]


def test_names_and_residuals_are_detailed() -> None:
    answers = np.array([[[0.9, 0.1], [0.9, 0.8]]])
    rows = scoring("set").detail(answers, np.array([[1, 0], [0, 1]], np.int8), ("a", "b"))["names"]
    assert rows[0] == {"name": "a", "sets": 1, "answered": 2.0, "precision": 0.5, "recall": 1.0, "f1": 2 / 3}
    dots = scoring("number").detail(np.arange(1000.0)[None, :, None], np.arange(1000.0), ())["residuals"]
    assert len(dots["truth"]) == 400 == len(dots["answer"]) and dots["truth"][-1] == 999.0


def test_differences_of_numbers_are_told_in_their_unit() -> None:
    metric = scoring("number").metric(np.array([0.0, 10.0, 20.0]))
    assert metric.unit == pytest.approx(20 / 3) and metric.compared(1.25) == "errs by 1.25 less"
    assert metric.compared(-1.25) == "errs by 1.25 more" and metric.shown(-3.0) == 3.0
    assert scoring("class").metric(np.zeros(1, int)).compared(-0.021) == "is right 2.1 points less often"
