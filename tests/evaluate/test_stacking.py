from __future__ import annotations

import numpy as np
import pytest

from seedbed.evaluate.linear import Linear, fit_probe
from seedbed.evaluate.stacking import fit_stacked, together
from tests.evaluate.planted import blobs


def halves(num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two views, each of which shows one of four classes' two binary parts only."""
    rng = np.random.default_rng(seed)
    y = np.arange(num) % 4
    views = [rng.standard_normal((num, 4)) for _ in range(2)]
    views[0][:, 0] += 3.0 * (y % 2)
    views[1][:, 0] += 3.0 * (y // 2)
    return views[0], views[1], y


@pytest.mark.parametrize("num", [80, 200])
def test_both_views_tell_more_than_either(num: int) -> None:
    one_x, other_x, y = halves(num, 0)
    one_test, other_test, test_y = halves(1000, 1)
    one, other, selection = fit_stacked(one_x, other_x, y, 4, seed=0)
    accuracy = (together(one.answers(one_test), other.answers(other_test)).argmax(1) == test_y).mean()
    for x, test_x in ((one_x, one_test), (other_x, other_test)):
        assert accuracy > 0.15 + (fit_probe(x, y, 4, seed=0)[0].answers(test_x).argmax(1) == test_y).mean()
    assert selection == pytest.approx(accuracy, abs=0.12)


def test_neither_block_drowns_the_other_whatever_its_units() -> None:
    one_x, other_x, y = halves(80, 0)
    plain = fit_stacked(one_x, other_x, y, 4, seed=0)
    large = fit_stacked(1000 * one_x + 5, other_x, y, 4, seed=0)
    expected = together(plain[0].answers(one_x), plain[1].answers(other_x))
    np.testing.assert_allclose(
        together(large[0].answers(1000 * one_x + 5), large[1].answers(other_x)), expected, atol=2e-3
    )


def test_the_parts_together_are_one_model() -> None:
    one_x, other_x, y = halves(60, 0)
    one, other, _ = fit_stacked(one_x, other_x, y, 5, seed=0)
    whole = Linear(np.concatenate([one.weight_CF, other.weight_CF], axis=1), one.bias_C)
    found = together(one.answers(one_x), other.answers(other_x))
    np.testing.assert_allclose(found, whole.answers(np.concatenate([one_x, other_x], axis=1)), atol=1e-9)
    assert (found[:, 4] == 0).all() and np.allclose(found.sum(1), 1.0), "a class without a label"


def test_a_useless_block_costs_little() -> None:
    (x, y), (test_x, test_y) = blobs(200, 0), blobs(1000, 1)
    noise, test_noise = (
        np.random.default_rng(seed).standard_normal((len(rows), 6)) for seed, rows in ((2, x), (3, test_x))
    )
    one, other, _ = fit_stacked(x, noise, y, 3, seed=0)
    stacked = (together(one.answers(test_x), other.answers(test_noise)).argmax(1) == test_y).mean()
    assert stacked > (fit_probe(x, y, 3, seed=0)[0].answers(test_x).argmax(1) == test_y).mean() - 0.03
