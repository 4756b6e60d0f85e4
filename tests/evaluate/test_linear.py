from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from seedbed.evaluate import linear
from seedbed.evaluate.linear import cross_validate, fit_probe, probe_unseen, scaled, strongest
from seedbed.evaluate.score_class import fit
from tests.evaluate.planted import blobs


@pytest.mark.parametrize("num", [60, 240])
def test_a_probe_finds_what_is_there_and_tells_it_from_training_labels_alone(num: int) -> None:
    (x, y), (test_x, test_y) = blobs(num, 0), blobs(2000, 1)
    model, selection = fit_probe(x, y, 3, seed=0)
    probs_IC = model.answers(test_x)
    assert probs_IC.shape == (2000, 3) and np.allclose(probs_IC.sum(1), 1.0)
    accuracy = (probs_IC.argmax(1) == test_y).mean()
    assert accuracy > 0.75 and selection == pytest.approx(accuracy, abs=0.12)


def test_without_structure_the_selection_score_is_chance() -> None:
    x, y = blobs(600, 2, apart=0.0)
    assert fit_probe(x, y, 3, seed=0)[1] == pytest.approx(1 / 3, abs=0.06)


def test_a_probe_survives_one_class_rare_classes_and_constant_features() -> None:
    x, y = blobs(12, 0)
    model, selection = fit_probe(x, np.zeros(12, dtype=int), 3, seed=0)
    assert (model.answers(x)[:, 0] == 1).all() and selection == 1.0
    y = np.array([0] * 11 + [2])
    model, selection = fit_probe(x, y, 4, seed=0)
    assert (model.answers(x)[:, [1, 3]] == 0).all() and 0 < selection < 1
    model, _ = fit_probe(np.ones((12, 3)), y, 4, seed=0)
    assert np.isfinite(model.answers(np.ones((2, 3)))).all()


def test_scaling_is_one_number_so_a_probe_ignores_units_and_rotations() -> None:
    (x, y), (test_x, _) = blobs(60, 0), blobs(50, 1)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 20)))[0]
    expected = fit_probe(x, y, 3, seed=0)[0].answers(test_x)
    turned = fit_probe(1000 * x @ rotation + 7, y, 3, seed=0)[0].answers(1000 * test_x @ rotation + 7)
    np.testing.assert_allclose(turned, expected, atol=2e-3)
    assert np.sqrt((scaled(x, x) ** 2).sum(1).mean()) == pytest.approx(1.0)


def test_every_labelled_row_is_held_out_once_and_never_learnt_from_then() -> None:
    y = np.array([0] * 20 + [1] * 5)
    held: list[int] = []

    def fitted(learn: np.ndarray, answer: np.ndarray) -> np.ndarray:
        assert not set(learn) & set(answer) and len(learn) + len(answer) == 25
        assert (y[answer] == 1).sum() == 1
        held.extend(answer.tolist())
        return np.eye(2)[y[answer]] * 0.8 + 0.1

    selection = cross_validate(fitted, y, seed=3)
    assert sorted(held) == list(range(25))
    assert selection.score == 1.0 and selection.loss == pytest.approx(-np.log(0.9))


def test_many_labels_are_judged_on_one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "MANY", 50)
    sizes: list[int] = []

    def fitted(learn: np.ndarray, answer: np.ndarray) -> np.ndarray:
        sizes.append(len(answer))
        return np.full((len(answer), 3), 1 / 3)

    cross_validate(fitted, np.arange(60) % 3, seed=0)
    assert sizes == [12]


def test_linear_gives_absent_classes_nothing() -> None:
    x, y = blobs(30, 0, num_classes=2)
    assert fit(x, y * 2, 4, 1.0).answers(x)[:, [1, 3]].max() == 0.0


@pytest.mark.parametrize(("num_classes", "num"), [(2, 60), (3, 60), (3, 240)])
def test_the_weights_on_features_as_they_are_are_scikit_learns_on_scaled_ones(num_classes: int, num: int) -> None:
    (x, y), (test_x, _) = blobs(num, 0, num_classes), blobs(50, 1, num_classes)
    model, selection = fit_probe(x + 3, y, num_classes, seed=0)
    same = strongest(scaled(x, x), y, num_classes, 0, (10.0,) if num < 200 else (0.1, 1.0, 10.0, 100.0))
    np.testing.assert_allclose(model.answers(test_x + 3), same[0].answers(scaled(x, test_x)), atol=1e-9)
    assert selection == same[1]
    plain = LogisticRegression(C=10.0, max_iter=10_000).fit(scaled(x, x), y).predict_proba(scaled(x, test_x))
    np.testing.assert_allclose(fit(scaled(x, x), y, num_classes, 10.0).answers(scaled(x, test_x)), plain, atol=1e-12)


def test_unseen_answers_come_from_the_other_folds() -> None:
    """Labels that nothing tells: learnt by heart they are right, unseen ones at chance."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(300, 200)), np.arange(300) % 2
    assert (fit_probe(x, y, 2, 0)[0].answers(x).argmax(1) == y).mean() > 0.75
    assert (probe_unseen(x, y, 2, 0).argmax(1) == y).mean() < 0.6
    x[:, 0] += 6 * y
    answers_IC = probe_unseen(x, y, 2, 0)
    assert (answers_IC.argmax(1) == y).mean() > 0.9
    np.testing.assert_allclose(answers_IC.sum(1), 1.0)
