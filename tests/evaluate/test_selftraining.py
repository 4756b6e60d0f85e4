from __future__ import annotations

import numpy as np
import pytest

from seedbed.evaluate import selftraining
from seedbed.evaluate.linear import fit_probe
from seedbed.evaluate.selftraining import fit_self_trained
from tests.evaluate.planted import blobs


def test_two_clear_groups_are_completed_from_two_labels_each() -> None:
    """Many directions of noise: four labels point somewhere, the groups themselves tell the direction."""
    gains = []
    for seed in range(4):
        (x, y), (pool_x, _), (test_x, test_y) = (
            blobs(num, seed + 100 * at, 2, 2.2) for at, num in enumerate((6, 300, 600))
        )
        plain = (fit_probe(x, y, 2, 0)[0].answers(test_x).argmax(1) == test_y).mean()
        model, selection = fit_self_trained(x, y, pool_x, 2, seed=0)
        gains.append((model.answers(test_x).argmax(1) == test_y).mean() - plain)
        assert 0.0 <= selection <= 1.0
    assert np.mean(gains) > 0.03, gains


def test_without_a_pool_or_a_second_class_it_is_a_plain_fit() -> None:
    x, y = blobs(30, 0)
    model, _ = fit_self_trained(x, y, np.zeros((0, 20)), 3, seed=0)
    np.testing.assert_allclose(model.answers(x), fit_probe(x, y, 3, 0)[0].answers(x), atol=1e-9)
    one, selection = fit_self_trained(x, np.full(30, 1), x, 3, seed=0)
    assert (one.answers(x)[:, 1] == 1).all() and selection == 1.0


def test_from_enough_labels_on_it_may_choose_to_do_without() -> None:
    """A pool from elsewhere teaches nonsense; held-out labels notice."""
    (x, y), (test_x, test_y) = blobs(240, 0), blobs(1000, 1)
    strange = np.random.default_rng(5).standard_normal((500, 20)) * 8
    model, selection = fit_self_trained(x, y, strange, 3, seed=0)
    plain = (fit_probe(x, y, 3, 0)[0].answers(test_x).argmax(1) == test_y).mean()
    accuracy = (model.answers(test_x).argmax(1) == test_y).mean()
    assert accuracy > plain - 0.03 and selection == pytest.approx(accuracy, abs=0.1)


def test_a_class_without_a_label_is_never_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftraining, "ROUNDS", 1)
    x, y = blobs(30, 0, num_classes=2)
    model, _ = fit_self_trained(x, y * 2, x, 4, seed=0)
    assert model.answers(x)[:, [1, 3]].max() == 0.0
