"""What would settle a comparison that cannot tell: more draws, more rows to score on, or more labels to draw from.

An interval has parts that shrink by different means: draws shrink with their number, items with theirs, and what all
draws share because they come from one small pool shrinks with the pool. The advice is the cheapest of these with two
chances in three of an answer. The effect itself is only known as well as it was measured, and was probably measured
too large: advice that took it at its word was followed in vain in half of the simulated cases (LOG.md). Draws cost time
only and come first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from scipy.stats import chi2, norm

from seedbed.evaluate.stats import Interval

# More than this is no advice: so many draws, or so many times the rows there are.
DRAWS, MANY_DRAWS, MOST_TIMES = (10, 15, 20, 30, 50), (20, 50), 100.0
CHANCE = 2 / 3
# How large effects of pretraining usually are, in smallest gains that matter (3 points of accuracy): one measured
# larger with little certainty is probably smaller.
USUAL = 3.0


@dataclass(frozen=True)
class Advice:
    """What would tell; None where it is not what is lacking.

    Attributes:
        draws: label subsets in all.
        items: labelled rows to score on, beyond those there are.
        pool: labelled rows to learn from, beyond those there are.
    """

    draws: int | None = None
    items: int | None = None
    pool: int | None = None

    @property
    def labels(self) -> int | None:
        """Further labelled rows in all."""
        return (self.items or 0) + (self.pool or 0) or None

    def sentence(self, interval: Interval) -> str:
        """The advice in words."""
        if self.draws and not self.labels:
            return f"{self.draws} draws instead of {interval.num_draws} would."
        if not self.labels:
            return ""
        parts = [(self.items, "to score on"), (self.pool, "to learn from")]
        labels = " and ".join(f"about {count:,} more labels {use}" for count, use in parts if count)
        return f"{labels} would, with {self.draws} draws."


def to_tell(interval: Interval, smallest_gain: float, num_pool: int = 0) -> Advice | None:
    """The cheapest means to an answer; None where no affordable one would do.

    An answer is an interval above 0 or below the smallest gain.

    Args:
        interval: of the difference; it contains 0 or the smallest gain.
        smallest_gain: gains below it are as good as none.
        num_pool: labelled rows that subsets are drawn from; 0 for repeated folds, where the items are these rows.
    """
    _, error_now = interval.scaled(interval.num_draws)
    usual = USUAL * smallest_gain
    trust = usual**2 / (usual**2 + error_now**2)
    effect, effect_sd = trust * interval.value, math.sqrt(trust) * error_now
    interval = _doubted(interval)

    def enough(draws: int, items: float = 1.0, pool: float = 1.0) -> bool:
        half, error = interval.scaled(draws, items, pool)
        if 2 * half <= smallest_gain:
            return True
        # The next value lies around the true effect, which lies around what this one makes probable.
        spread = math.hypot(effect_sd, error)
        silent = norm.cdf((half - effect) / spread) - norm.cdf((smallest_gain - half - effect) / spread)
        return float(silent) < 1.0 - CHANCE

    for draws in DRAWS:
        if draws > interval.num_draws and enough(draws):
            return Advice(draws=draws)
    for draws in MANY_DRAWS:
        if found := _labels(interval, partial(enough, max(draws, interval.num_draws)), num_pool):
            return replace(found, draws=max(draws, interval.num_draws))
    return None


def _labels(interval: Interval, enough: Callable[[float, float], bool], num_pool: int) -> Advice | None:
    """The fewest further labels that are enough: to score on, to learn from, or both in proportion."""
    found = []
    if items := _least(lambda times: enough(times, 1.0)):
        found.append(Advice(items=_further(items, interval.num_items)))
    if num_pool and (pool := _least(lambda times: enough(1.0, times))):
        found.append(Advice(pool=_further(pool, num_pool)))
    if not found and num_pool and (both := _least(lambda times: enough(times, times))):
        found.append(Advice(items=_further(both, interval.num_items), pool=_further(both, num_pool)))
    return min(found, key=lambda advice: advice.labels or 0, default=None)


def _doubted(interval: Interval) -> Interval:
    """With the spread of draws at the upper end of what so few draws leave possible, again with two chances in three.

    Where the spread happened to come out small, few draws would seem enough: a choice of the lucky ones.
    """
    freedom = interval.num_draws - 1
    factor = math.sqrt(freedom / float(chi2.ppf(1.0 - CHANCE, freedom)))
    return replace(interval, draw_sd=factor * interval.draw_sd, pool_sd=factor * interval.pool_sd)


def _least(enough: Callable[[float], bool]) -> float | None:
    """The least of the affordable multiples that is enough, to one part in a thousand."""
    low, high = 1.0, MOST_TIMES
    if not enough(high):
        return None
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _further(times: float, count: int) -> int:
    """Rows beyond those there are, to two significant digits: an extrapolation knows no more."""
    more = max(math.ceil((times - 1.0) * count), 1)
    unit = 10 ** max(len(str(more)) - 2, 0)
    return math.ceil(more / unit) * unit
