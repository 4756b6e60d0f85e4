"""The learning rate over time: closed forms, and a horizon that shortens on the way."""

from __future__ import annotations

import itertools
import math

import pytest

from seedbed.train.loop import steps
from seedbed.train.schedule import schedule
from seedbed.train.state import Horizon
from tests.train.test_loop import MACHINE, Ragged, batch_at, training

SHAPES = ("linear", "cosine", "wsd")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("total,warmup", [(1, 0.05), (2, 0.05), (10, 0.0), (100, 0.05), (1000, 0.3), (20, 0.9)])
def test_it_rises_to_one_and_falls_to_zero(total: int, warmup: float, shape: str) -> None:
    factors = [schedule(step, total, warmup, shape) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    assert schedule(total, total, warmup, shape) == 0.0
    rising = round(warmup * total)
    assert factors.index(max(factors)) == rising and max(factors) == 1.0
    changes = [after - before for before, after in itertools.pairwise([*factors, 0.0])]
    assert all(math.isclose(change, 1 / (rising + 1)) for change in changes[:rising])
    assert all(change <= 1e-12 for change in changes[rising:])


def test_linear() -> None:
    assert [schedule(step, 10, 0.2) for step in range(2, 11)] == pytest.approx([1 - k / 8 for k in range(9)])


def test_cosine() -> None:
    """Half of the peak in the middle of the fall, and as much above it before as below it afterwards."""
    factors = [schedule(step, 100, 0.0, "cosine") for step in range(101)]
    assert factors[50] == pytest.approx(0.5) and factors[25] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert [a + b for a, b in zip(factors, reversed(factors), strict=True)] == pytest.approx([1.0] * 101)


def test_warmup_stable_decay() -> None:
    factors = [schedule(step, 100, 0.1, "wsd", 0.36) for step in range(101)]
    assert factors[10:65] == [1.0] * 55
    assert factors[64 + 9] == pytest.approx(1 - math.sqrt(9 / 36)) and factors[64 + 36] == 0.0
    assert schedule(99, 100, 0.0, "wsd", 0.0) == 1.0  # without a cool-down it never falls


def factor(horizon: Horizon, step: int, shape: str) -> float:
    """As the loop computes it."""
    return schedule(horizon.progress(step) * horizon.planned, horizon.planned, 0.05, shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cuts", [((250, 600),), ((250, 600), (500, 560)), ((750, 760),), ((250, 251),)])
def test_a_shortened_horizon_goes_on_from_where_it_stood(shape: str, cuts: tuple[tuple[int, int], ...]) -> None:
    """Before a cut nothing changes, at a cut the rate does not jump, and it falls all the way to zero."""
    horizon = Horizon(((0, 1000),))
    for at, total in cuts:
        before, horizon = horizon, horizon.shortened(at, total)
        assert all(factor(horizon, step, shape) == factor(before, step, shape) for step in range(at + 1))
        assert factor(horizon, at + 1, shape) <= factor(before, at + 1, shape)
    factors = [factor(horizon, step, shape) for step in range(horizon.total)]
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(factors[50:]))
    assert factors[-1] > 0 and factor(horizon, horizon.total, shape) == 0.0


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loop_follows_it(shape: str) -> None:
    """Rates told by the loop, with a cut on the way, are the peak times the factor, and a replay tells the same."""
    horizon = Horizon(((0, 40),)).shortened(10, 25)
    told = []
    for _ in range(2):
        job = training(Ragged(), lr=0.1)
        job.horizon, job.schedule = horizon, shape
        told.append([item.lr for item in steps(job, batch_at, MACHINE)])
    assert told[0] == told[1]
    assert told[0] == [0.1 * factor(horizon, step, shape) for step in range(25)]
