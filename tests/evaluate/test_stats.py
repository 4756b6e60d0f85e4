from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from seedbed.evaluate.stats import Interval, Scale, difference, mean_interval
from tests.evaluate.planted import World

WORLDS = {
    "draws alike": World((0.6, 0.6), draw=0.0),
    "draws differ": World((0.6, 0.6), draw=0.05),
    "draws differ much, an effect": World((0.7, 0.5), draw=0.2, shared_draw=0.3),
    "arms correlated": World((0.6, 0.6), draw=0.02, item=0.1, cell=0.1),
    "chance in every answer": World((0.6, 0.6), draw=0.0, shared_item=0.3, item=0.1, cell=1.0),
    "nearly all right": World((2.5, 2.5), draw=0.05, item=0.3, cell=0.3),
}
REPEATS = {300: 900, 1000: 600, 5000: 250}


def simulated(world: World, num_items: int, repeats: int, seed: int) -> tuple[float, float]:
    """Coverage of the difference, and mean width over that of one who knows the true standard deviation."""
    rng = np.random.default_rng(seed)
    truth = world.accuracies[0] - world.accuracies[1]
    found = []
    for _ in range(repeats):
        (a_SI, b_SI), _ = world.answers(rng, 5, num_items)
        found.append(difference(a_SI, b_SI))
    oracle = 2 * norm.ppf(0.975) * np.std([interval.value for interval in found])
    coverage = np.mean([interval.low <= truth <= interval.high for interval in found])
    return float(coverage), float(np.mean([interval.high - interval.low for interval in found]) / oracle)


@pytest.mark.parametrize("num_items", REPEATS)
@pytest.mark.parametrize("name", WORLDS)
def test_a_difference_is_covered_when_draws_and_items_are_random(name: str, num_items: int) -> None:
    coverage, width = simulated(WORLDS[name], num_items, REPEATS[num_items], seed=num_items)
    assert coverage >= 0.93, f"covers {coverage:.3f}"
    assert width <= 1.6, f"{width:.2f} times as wide as the oracle's"


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_coverage_over_many_repeats(name: str) -> None:
    for num_items in REPEATS:
        coverage, width = simulated(WORLDS[name], num_items, 8 * REPEATS[num_items], seed=7)
        print(f"{name}, {num_items} items: covers {coverage:.3f}, width {width:.2f}")
        assert coverage >= 0.935 and width <= 1.5


def test_bootstrapping_items_alone_would_cover_far_too_seldom() -> None:
    """The planted fault: without the draw part a 95 % interval covers less than half."""
    world, rng, covered = WORLDS["draws differ much, an effect"], np.random.default_rng(0), 0
    truth = world.accuracies[0] - world.accuracies[1]
    for _ in range(200):
        (a_SI, b_SI), _ = world.answers(rng, 5, 2000)
        interval = difference(a_SI, b_SI)
        covered += abs(interval.value - truth) <= 1.96 * interval.item_sd
    assert covered < 100


def test_one_arm_is_covered_too() -> None:
    world, rng = World((0.6,), draw=0.1), np.random.default_rng(1)
    found = [mean_interval(world.answers(rng, 5, 500)[0][0]) for _ in range(600)]
    assert np.mean([interval.low <= world.accuracies[0] <= interval.high for interval in found]) >= 0.93


def test_the_normal_approximation_equals_the_bootstrap_over_items() -> None:
    rng = np.random.default_rng(2)
    (a_SI, b_SI), _ = WORLDS["draws differ"].answers(rng, 5, 400)
    difference_SI = a_SI.astype(float) - b_SI
    columns_I = difference_SI.mean(0)
    means = [columns_I[rng.integers(0, 400, 400)].mean() for _ in range(4000)]
    interval = difference(a_SI, b_SI)
    rest_SI = difference_SI - difference_SI.mean(1, keepdims=True) - columns_I + difference_SI.mean()
    cell_var = (rest_SI**2).sum() / (4 * 399) / (5 * 400)
    assert np.sqrt(interval.item_sd**2 + cell_var) == pytest.approx(np.std(means), rel=0.05)


def test_the_parts_in_a_case_worked_by_hand() -> None:
    # Rows differ by 0.5 and items not at all: the draw part is all there is, but for the pseudo-items.
    a_SI = np.array([[1.0] * 8, [0.5] * 8])
    interval = difference(a_SI, np.zeros_like(a_SI))
    assert interval.value == 0.75
    assert interval.draw_sd == pytest.approx(np.std([1.0, 0.5], ddof=1) / np.sqrt(2))
    assert interval.item_sd == pytest.approx(np.sqrt(1 / 7 / 8))
    assert interval.high == 1.0 and interval.low == pytest.approx(
        max(0.75 - np.sqrt((12.7062 * 0.25) ** 2 + 1.96**2 / 56), -1.0), abs=1e-3
    )


def test_equal_answers_leave_room_for_doubt() -> None:
    a_SI = np.ones((5, 40), dtype=bool)
    interval = difference(a_SI, a_SI)
    assert interval.value == 0.0 and interval.high == pytest.approx(1.96 / np.sqrt(39 * 40), rel=1e-3)


def test_the_interval_does_not_depend_on_the_order_of_draws_or_items() -> None:
    rng = np.random.default_rng(3)
    (a_SI, b_SI), _ = WORLDS["draws differ"].answers(rng, 5, 100)
    order = rng.permutation(100)
    shuffled = difference(a_SI[::-1][:, order], b_SI[::-1][:, order])
    assert shuffled.low == pytest.approx(difference(a_SI, b_SI).low, abs=1e-12)


def test_scaled_says_what_more_draws_items_or_a_larger_pool_would_bring() -> None:
    interval = Interval(0.02, -0.01, 0.05, 5, 1000, 0.01, 0.005, 0.95)
    assert interval.scaled(5)[0] == pytest.approx(np.hypot(2.7764 * 0.01, 1.96 * 0.005), rel=1e-4)
    assert interval.scaled(20)[0] == pytest.approx(np.hypot(2.0930 * 0.005, 1.96 * 0.005), rel=1e-4)
    assert interval.scaled(5, items=4.0)[0] == pytest.approx(np.hypot(2.7764 * 0.01, 1.96 * 0.0025), rel=1e-4)
    assert interval.scaled(5)[1] == pytest.approx(np.hypot(0.01, 0.005))


def test_a_larger_pool_widens_as_if_it_had_been_that_large() -> None:
    rng = np.random.default_rng(5)
    (a_SI, b_SI), _ = WORLDS["draws differ"].answers(rng, 5, 300)
    small, large = (difference(a_SI, b_SI, pool_share=share) for share in (0.5, 0.1))
    assert small.scaled(5)[0] == pytest.approx((small.high - small.low) / 2)
    assert small.scaled(5, pool=5.0)[0] == pytest.approx((large.high - large.low) / 2)


Features = NDArray[np.float64]
Labels = NDArray[np.int64]


def made(rng: np.random.Generator, num: int) -> tuple[Features, Labels]:
    y = rng.integers(0, 2, num)
    x = rng.standard_normal((num, 10))
    x[:, :3] += 0.5 * (2 * y[:, None] - 1)
    x[:, 3:8] *= 2.0
    return x, np.where(rng.random(num) < 0.05, 1 - y, y)


def nearest_mean(x: Features, y: Labels, test_x: Features) -> Labels:
    distances = [((test_x - x[y == c].mean(0)) ** 2).sum(1) for c in (0, 1)]
    return np.argmin(distances, axis=0)


def ridge(x: Features, y: Labels, test_x: Features) -> Labels:
    x, test_x = np.c_[x, np.ones(len(x))], np.c_[test_x, np.ones(len(test_x))]
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (2.0 * y - 1))
    return (test_x @ weights > 0).astype(np.int64)


def true_difference(rng: np.random.Generator, num: int) -> float:
    found = []
    for _ in range(300):
        (x, y), (test_x, test_y) = made(rng, num), made(rng, 2000)
        found.append((nearest_mean(x, y, test_x) == test_y).mean() - (ridge(x, y, test_x) == test_y).mean())
    return float(np.mean(found))


def test_repeated_folds_of_real_classifiers_are_covered() -> None:
    rng, covered = np.random.default_rng(4), 0
    truth = true_difference(rng, 80)
    for _ in range(150):
        x, y = made(rng, 100)
        a_SI, b_SI = np.zeros((5, 100)), np.zeros((5, 100))
        for draw in range(5):
            order = rng.permutation(100)
            for part in np.array_split(order, 5):
                learn = np.setdiff1d(order, part)
                a_SI[draw, part] = nearest_mean(x[learn], y[learn], x[part]) == y[part]
                b_SI[draw, part] = ridge(x[learn], y[learn], x[part]) == y[part]
        interval = difference(a_SI, b_SI)
        covered += interval.low <= truth <= interval.high
    assert covered >= 0.93 * 150


@pytest.mark.parametrize(("pool", "with_share"), [(120, True), (120, False), (75, True)])
def test_subsets_of_a_small_pool_need_the_share(pool: int, with_share: bool) -> None:
    rng, covered = np.random.default_rng(pool), 0
    truth = true_difference(rng, 60)
    for _ in range(150):
        (x, y), (test_x, test_y) = made(rng, pool), made(rng, 1000)
        subsets = [rng.permutation(pool)[:60] for _ in range(5)]
        a_SI = np.stack([nearest_mean(x[rows], y[rows], test_x) == test_y for rows in subsets])
        b_SI = np.stack([ridge(x[rows], y[rows], test_x) == test_y for rows in subsets])
        interval = difference(a_SI, b_SI, pool_share=60 / pool if with_share else 0.0)
        covered += interval.low <= truth <= interval.high
    assert covered >= 0.93 * 150 if with_share else covered < 0.9 * 150


def test_intervals_of_errors_cover_too() -> None:
    """Skew absolute errors in a unit of their own, draws and items both random; scale is that of the metric."""
    rng, repeats, hits, narrow = np.random.default_rng(5), 400, 0, 0
    for _ in range(repeats):
        item = rng.gamma(1.5, 40.0, 300)
        errors = [
            item * (1 + 0.1 * rng.standard_normal((5, 1))) * rng.gamma(4.0, 0.25, (5, 300)) * level
            for level in (1.0, 0.9)
        ]
        found = difference(-errors[1], -errors[0], scale=Scale(unit=45.0, bounded=False))
        hits += found.low <= 6.0 <= found.high
        narrow += found.high - found.low < 60.0
    assert hits >= 0.93 * repeats and narrow >= 0.9 * repeats
