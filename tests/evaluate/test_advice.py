from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seedbed.evaluate.advice import Advice, to_tell
from seedbed.evaluate.stats import Interval, difference
from tests.evaluate.planted import World

GAIN = 0.01


def advised(interval: Interval, num_pool: int = 0) -> Advice:
    advice = to_tell(interval, GAIN, num_pool)
    assert advice is not None
    return advice


def chance(interval: Interval, draws: int, items: float = 1.0, pool: float = 1.0) -> float:
    """Of an answer, counted: effects of 3 points are usual, the next measurement lies around the true one.

    The spread of draws is taken as large as two thirds of the samples of five from a normal distribution leave it.
    """
    rng = np.random.default_rng(0)
    spread = np.sqrt(1 / np.quantile(rng.standard_normal((100_000, 5)).var(axis=1, ddof=1), 1 / 3))
    doubted = replace(interval, draw_sd=spread * interval.draw_sd, pool_sd=spread * interval.pool_sd)
    half, error = doubted.scaled(draws, items, pool)
    # Effects that would have been measured as this one was.
    effect = 0.03 * rng.standard_normal(4_000_000)
    measured = effect + interval.scaled(interval.num_draws)[1] * rng.standard_normal(len(effect))
    effect = effect[np.abs(measured - interval.value) < 0.001]
    value = effect + error * rng.standard_normal(len(effect))
    return float(((value - half > 0) | (value + half < GAIN)).mean())


def test_draws_come_first_where_they_are_the_trouble() -> None:
    interval = Interval(0.02, -0.008, 0.048, 5, 5000, 0.01, 0.002, 0.95)
    advice = advised(interval)
    assert advice.draws in (10, 15, 20, 30, 50) and advice.labels is None
    assert chance(interval, advice.draws) > 2 / 3 - 0.01
    assert advice.sentence(interval) == f"{advice.draws} draws instead of 5 would."


def test_items_where_no_number_of_draws_helps() -> None:
    interval = Interval(0.02, -0.03, 0.07, 5, 200, 0.002, 0.025, 0.95)
    advice = advised(interval)
    assert advice.items is not None and advice.pool is None and advice.labels == advice.items
    assert chance(interval, advice.draws or 0, 1 + advice.items / 200) == pytest.approx(2 / 3, abs=0.02)
    told = f"about {advice.items:,} more labels to score on would, with {advice.draws} draws."
    assert advice.sentence(interval) == told


def test_a_larger_pool_where_all_draws_are_nearly_alike() -> None:
    interval = Interval(0.012, -0.05, 0.07, 5, 20_000, 0.004, 0.001, 0.95, pool_sd=0.018, pool_share=0.8)
    advice = advised(interval, num_pool=250)
    assert advice.pool is not None and advice.items is None
    assert chance(interval, advice.draws or 0, pool=1 + advice.pool / 250) == pytest.approx(2 / 3, abs=0.02)
    told = f"about {advice.pool:,} more labels to learn from would, with {advice.draws} draws."
    assert advice.sentence(interval) == told


def test_both_where_neither_alone_would_do_and_nothing_where_nothing_would() -> None:
    interval = Interval(0.012, -0.05, 0.11, 5, 100, 0.004, 0.03, 0.95, pool_sd=0.04, pool_share=0.8)
    advice = advised(interval, num_pool=50)
    assert advice.items is not None and advice.pool is not None and advice.labels == advice.items + advice.pool
    assert "more labels to score on and about" in advice.sentence(interval)
    assert to_tell(Interval(0.0051, -0.4, 0.4, 5, 20, 0.1, 0.1, 0.95), GAIN) is None


WORLDS = {
    "draws": World((0.0, 0.0), draw=0.10),
    "items": World((0.0, 0.0), draw=0.01, shared_draw=0.01, cell=0.2),
    "both": World((0.0, 0.0)),
}


@pytest.mark.parametrize("name", WORLDS)
def test_who_follows_the_advice_is_told_in_most_planted_cases(name: str) -> None:
    """Effects of -1 to +4 points; where the first comparison cannot tell, a second one is made as advised."""
    rng, followed, told, unadvised = np.random.default_rng(0), 0, 0, 0
    while followed < 60:
        level = float(rng.uniform(-0.03, 0.14))
        world = World(**{**vars(WORLDS[name]), "levels": (0.5 + level, 0.5)})
        one_SI, other_SI = world.answers(rng, 5, 400)[0]
        first = difference(one_SI, other_SI)
        if first.low > 0 or first.high < GAIN:
            continue
        advice = to_tell(first, GAIN)
        if advice is None:
            unadvised += 1
            continue
        items = 400 + (advice.items or 0)
        if items > 12_000:
            continue
        one_SI, other_SI = world.answers(rng, advice.draws or 5, items)[0]
        second = difference(one_SI, other_SI)
        followed += 1
        told += second.low > 0 or second.high < GAIN
    print(f"{name}: {told / followed:.2f} of {followed} told, {unadvised} without advice")
    # Where draws differ most, their spread is known worst.
    assert told >= (0.45 if name == "draws" else 0.6) * followed
    assert unadvised <= 2.5 * followed
