from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from seedbed.evaluate.breakeven import AHEAD, BEGINS, BEHIND, ENDS, UNCLEAR, BreakEven, Rung, break_even

COUNTS = (50, 200, 1000, 5000)


def told(*rungs: Rung) -> BreakEven:
    found = break_even(rungs)
    assert found is not None
    return found


def sure(n_labels: int, points: float, num_items: int = 1000) -> Rung:
    """A rung whose difference is hardly in doubt: the same items in every draw."""
    difference_SI = np.zeros((5, num_items))
    difference_SI[:, : round(abs(points) / 100 * num_items)] = np.sign(points)
    return Rung(n_labels, difference_SI)


def test_an_advantage_that_ends_is_found_between_its_rungs() -> None:
    found = told(sure(50, 10), sure(200, 5), sure(1000, -5))
    # Linear in the logarithm of the count, from +5 to -5: the middle of 200 and 1,000.
    assert found.course == ENDS and found.at == pytest.approx(np.sqrt(200 * 1000), rel=0.05)
    assert found.at is not None and found.low is not None and found.high is not None
    assert 200 < found.low < found.at < found.high < 1000
    assert f"ends at about {found.at:,} labels" in found.sentence
    assert f"bounds: {found.low:,} to {found.high:,}" in found.sentence
    turned = told(sure(50, -10), sure(200, -5), sure(1000, 5))
    assert (turned.course, turned.at) == (BEGINS, found.at) and "begins" in turned.sentence


def test_bounds_outside_the_ladder_are_not_made_up() -> None:
    found = told(sure(50, 0.4), sure(200, -5))
    assert found.course == ENDS and found.low is None and found.high is not None
    assert "bounds: fewer than 50 to" in found.sentence
    found = told(sure(50, 5), sure(200, -0.4))
    assert found.low is not None and found.high is None and "to more than 200)" in found.sentence


def test_one_side_at_every_rung() -> None:
    found = told(sure(50, 10), sure(200, 5))
    assert (found.course, found.at, found.low, found.high) == (AHEAD, None, None, None)
    assert "lies outside, if anywhere" in found.sentence and "50 to 200" in found.sentence
    assert told(sure(50, -10), sure(200, -5)).course == BEHIND
    found = told(sure(50, 10), sure(200, 0.3))
    assert found.course == AHEAD and found.low is not None and 50 < found.low < 200 and "surely up to" in found.sentence
    found = told(sure(50, -0.3), sure(200, -10))
    assert found.course == BEHIND and found.high is not None and "surely from" in found.sentence
    assert told(sure(50, 0.3), sure(200, 0.3)).course == UNCLEAR


def test_several_turns_and_a_single_rung() -> None:
    found = told(sure(50, 5), sure(200, -5), sure(1000, 5))
    assert found.course == UNCLEAR and found.at is None and "more than once" in found.sentence
    assert break_even([sure(50, 5)]) is None


def world(rng: np.random.Generator, levels: Sequence[tuple[float, float]], num_items: int) -> list[Rung]:
    """Both arms over nested subsets of five draws: luck of a draw and of an item is shared between the rungs."""
    num = len(levels)
    item = rng.standard_normal((1, 1, 1, num_items)) + 0.5 * rng.standard_normal((2, 1, 1, num_items))
    own = 0.6 * rng.standard_normal((2, 1, 5, 1)) + 0.8 * rng.standard_normal((2, num, 5, 1))
    latent = np.array(levels).T[:, :, None, None] + item + 0.06 * own
    right = latent + 0.5 * rng.standard_normal((2, num, 5, num_items)) > 0
    return [Rung(count, right[0, at].astype(float) - right[1, at]) for at, count in enumerate(COUNTS)]


def accuracy(level: float) -> float:
    return float(norm.cdf(level / np.sqrt(1 + 0.25 + 0.0036 + 0.25)))


@pytest.mark.parametrize(("slope", "num_items"), [(0.16, 600), (0.3, 600), (0.16, 3000)])
def test_bounds_hold_the_true_break_even(slope: float, num_items: int) -> None:
    """The other arm gains on the pretrained one in proportion to the logarithm of the labels; they meet at 450."""
    rng, covered, told_both, repeats = np.random.default_rng(num_items), 0, 0, 60
    logs = np.log(COUNTS)

    def level(log_count: float) -> tuple[float, float]:
        base = 0.9 + 0.1 * (log_count - logs[0])
        return base, base + slope * (log_count - np.log(450.0))

    def advantage(log_count: float) -> float:
        """As between the rungs it is taken: linear in the logarithm."""
        at = [accuracy(level(log)[0]) - accuracy(level(log)[1]) for log in logs]
        return float(np.interp(log_count, logs, at))

    truth = np.exp(brentq(advantage, logs[0], logs[-1]))
    for _ in range(repeats):
        found = told(*world(rng, [level(log) for log in logs], num_items))
        if found.course == UNCLEAR:
            covered += 1  # nothing was claimed
        else:
            assert found.course in (ENDS, AHEAD, BEHIND)
            low, high = found.low or 0, found.high or np.inf
            covered += found.course == ENDS and 0.999 * low <= truth <= 1.001 * high
            told_both += found.low is not None and found.high is not None
    assert covered >= 0.93 * repeats, covered / repeats
    assert told_both >= 0.5 * repeats, "bounds that are never told are worth nothing"


def test_without_the_draw_part_bounds_would_hold_too_seldom() -> None:
    """The planted fault: as if the draws were one, repeated, so that only items are counted."""
    rng, covered = np.random.default_rng(1), 0
    levels = [(1.0, 0.85), (1.1, 1.05), (1.2, 1.22), (1.3, 1.4)]
    at = [accuracy(one) - accuracy(other) for one, other in levels]
    truth = np.exp(brentq(lambda log: float(np.interp(log, np.log(COUNTS), at)), np.log(50), np.log(5000)))
    for _ in range(40):
        rungs = world(rng, levels, 5_000)
        fixed = [Rung(rung.n_labels, np.tile(rung.difference_SI.mean(0), (5, 1))) for rung in rungs]
        found = told(*fixed)
        covered += (found.low or 0) <= truth <= (found.high or np.inf)
    assert covered < 0.8 * 40
