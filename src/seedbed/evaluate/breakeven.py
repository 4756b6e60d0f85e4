"""At how many labels the advantage of pretraining ends or begins, with bounds, where the labels compared can tell.

The difference between the best pretrained and the best other arm is known at the label counts compared, the rungs. In
between it is taken as linear in the logarithm of the count, draw by draw and item by item: subsets of a draw are
nested and the items are the same, so the interval of the difference can be had anywhere between two rungs. The
break-even is where the difference is 0; its bounds are the counts between which the interval holds 0. Where the
interval still holds 0 at the first or the last rung, there is no bound on that side, and that is said.

Source: Fieller (1954) for an interval as the set of values that are not refuted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from seedbed.evaluate.stats import Interval, Scores, crossed

STEPS = 20  # between two rungs
ENDS, BEGINS, AHEAD, BEHIND, UNCLEAR = "ends", "begins", "ahead", "behind", "unclear"


@dataclass(frozen=True)
class Rung:
    """The comparison at one label count.

    Attributes:
        n_labels: labels of a draw.
        difference_SI: scores of the best pretrained arm less those of the best other.
        pool_share: see `stats.difference`.
        unit: of the scores, see `stats.Scale`.
    """

    n_labels: int
    difference_SI: Scores
    pool_share: float = 0.0
    unit: float = 1.0


@dataclass(frozen=True)
class BreakEven:
    """Where pretraining stops or starts to be ahead.

    Attributes:
        course: "ends", "begins", "ahead" or "behind" at every rung, or "unclear".
        at: label count at which the difference is 0; None where it is not among those compared.
        low, high: bounds of that count; None where the labels compared give none.
    """

    course: str
    at: int | None
    low: int | None
    high: int | None
    sentence: str


def break_even(rungs: Sequence[Rung], confidence: float = 0.95) -> BreakEven | None:
    """Find the break-even among the rungs, ascending in labels; None where there is only one."""
    if len(rungs) < 2:
        return None
    counts, found = _course(rungs, confidence)
    ahead = np.array([interval.value > 0 for interval in found])
    turns = np.flatnonzero(ahead[1:] != ahead[:-1])
    first, last = rungs[0].n_labels, rungs[-1].n_labels
    if len(turns) > 1:
        sentence = "The advantage changes sides more than once between the label counts: no break-even can be told."
        return BreakEven(UNCLEAR, None, None, None, sentence)
    if not len(turns):
        return _one_sided(counts, found, bool(ahead[0]), confidence)
    turn = int(turns[0])
    share = found[turn].value / (found[turn].value - found[turn + 1].value)
    at = round(math.exp((1.0 - share) * math.log(counts[turn]) + share * math.log(counts[turn + 1])))
    sure = np.array([interval.low > 0 or interval.high < 0 for interval in found])
    before, after = np.flatnonzero(sure[: turn + 1]), np.flatnonzero(sure[turn + 1 :])
    low = round(counts[before[-1]]) if len(before) else None
    high = round(counts[turn + 1 + after[0]]) if len(after) else None
    course, verb = (ENDS, "ends") if ahead[0] else (BEGINS, "begins")
    below = f"{low:,}" if low else f"fewer than {first:,}"
    above = f"{high:,}" if high else f"more than {last:,}"
    sentence = (
        f"The advantage of pretraining {verb} at about {at:,} labels ({confidence:.0%} bounds: {below} to {above})."
    )
    return BreakEven(course, at, low, high, sentence)


def _one_sided(counts: Sequence[float], found: Sequence[Interval], ahead: bool, confidence: float) -> BreakEven:
    """The difference has one sign at all rungs: the break-even lies outside, and how surely is said."""
    sure = [interval.low > 0 if ahead else interval.high < 0 for interval in found]
    first, last = round(counts[0]), round(counts[-1])
    side = "ahead" if ahead else "behind"
    told = f"Pretraining is {side} at every number of labels compared, {first:,} to {last:,}"
    if all(sure):
        return BreakEven(side, None, None, None, f"{told}: a break-even lies outside, if anywhere.")
    # Sure from the first rung on, or up to the last one.
    if sure[0]:
        bound = round(counts[sure.index(False) - 1])
        sentence = f"{told}, surely up to {bound:,} ({confidence:.0%}); no break-even was reached."
        return BreakEven(side, None, bound, None, sentence)
    if sure[-1]:
        bound = round(counts[len(sure) - sure[::-1].index(False)])
        sentence = f"{told}, surely from {bound:,} on ({confidence:.0%}); no break-even was reached."
        return BreakEven(side, None, None, bound, sentence)
    sentence = f"Neither side is surely ahead at {first:,} or at {last:,} labels: no break-even can be told."
    return BreakEven(UNCLEAR, None, None, None, sentence)


def _course(rungs: Sequence[Rung], confidence: float) -> tuple[list[float], list[Interval]]:
    """Label counts from the first rung to the last, and the interval of the difference at each."""
    counts, found = [], []
    for lower, upper in pairwise(rungs):
        for step in range(STEPS + (upper is rungs[-1])):
            share = step / STEPS
            mixed_SI = (1.0 - share) * lower.difference_SI + share * upper.difference_SI
            pool_share = (1.0 - share) * lower.pool_share + share * upper.pool_share
            counts.append(math.exp((1.0 - share) * math.log(lower.n_labels) + share * math.log(upper.n_labels)))
            found.append(crossed(mixed_SI, confidence, pool_share, lower.unit, None))
    return counts, found
