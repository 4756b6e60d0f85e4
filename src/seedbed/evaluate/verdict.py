"""Did pretraining pay? The best pretrained arm against the best other one, each side's chosen on training labels.

    paid           the lower bound of the difference is above 0;
    did not pay    else, the upper bound is below the smallest gain that matters, one point: such a gain is ruled out;
    cannot tell    else; the sentence says what would tell, where an affordable number would.

The choice of arms never looks at a test item: the more arms a side has, the better its choice may become, but the
interval of the chosen pair is no luckier for it (tested with six equal arms).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seedbed.evaluate.advice import Advice, to_tell
from seedbed.evaluate.score_class import ACCURACY
from seedbed.evaluate.scoring import Metric
from seedbed.evaluate.stats import LARGEST_SHARE, Interval, Scale, Scores, difference

# Weights somebody else pretrained: not the user's pretraining, which has to beat them.
PUBLIC = "public weights"
PAID, DID_NOT_PAY, CANNOT_TELL = "paid", "did not pay", "cannot tell"
SMALLEST_GAIN = 0.01


@dataclass(frozen=True)
class Arm:
    """A way to answer.

    Attributes:
        name: as shown.
        kind: "majority", "classic", "scratch", "untrained", "frozen", "finetuned", "stacked", "selftrained", or PUBLIC.
        pretrained: on which side of the comparison it stands.
        against: of a pretrained arm, one without pretraining whose means it uses too, and which it must beat as well.
    """

    name: str
    kind: str
    pretrained: bool
    against: str = ""


@dataclass(frozen=True)
class Contestant:
    """An arm at one label count.

    Attributes:
        scores_SI: how good each answer is, such as 1 or 0, per draw and item.
        selection: the mean score estimated on training labels alone, mean over the draws.
    """

    arm: Arm
    scores_SI: Scores
    selection: float


@dataclass(frozen=True)
class Verdict:
    """What the comparison says at one label count.

    Attributes:
        outcome: "paid", "did not pay" or "cannot tell".
        sentence: the same with effect, interval, draws and items, in plain words.
        draws_to_tell: number of draws in all that would tell if nothing else changed; None where it does not apply.
        labels_to_tell: labelled rows beyond those there are that would tell (with 20 draws); likewise.
    """

    outcome: str
    sentence: str
    n_labels: int
    best_pretrained: Arm
    best_other: Arm
    interval: Interval
    draws_to_tell: int | None = None
    labels_to_tell: int | None = None

    def to_json(self) -> dict[str, Any]:
        """One flat dictionary, arms by name."""
        told = asdict(self)
        interval = told.pop("interval")
        return told | interval | {"best_pretrained": self.best_pretrained.name, "best_other": self.best_other.name}


def decide(
    contestants: Sequence[Contestant],
    n_labels: int,
    confidence: float = 0.95,
    pool_share: float = 0.0,
    smallest_gain: float = SMALLEST_GAIN,
    metric: Metric = ACCURACY,
) -> Verdict:
    """Judge arms that answered the same items on the same draws.

    Args:
        contestants: at least one pretrained and one other; of equals on one side the first is taken.
        n_labels: labels of a draw.
        confidence: of the interval.
        pool_share: see `stats.difference`.
        smallest_gain: gains below it are as good as none, as a share of the metric's unit.
        metric: what the scores are.
    """
    pretrained, other = _best(contestants, True), _best(contestants, False)
    scale, smallest = Scale(metric.unit, metric.bounded), smallest_gain * metric.unit
    interval = difference(pretrained.scores_SI, other.scores_SI, confidence, pool_share, scale=scale)
    for companion in (one for one in contestants if one.arm.name == pretrained.arm.against):
        beside = difference(pretrained.scores_SI, companion.scores_SI, confidence, pool_share, scale=scale)
        if beside.low < interval.low:
            other, interval = companion, beside
    outcome = CANNOT_TELL
    if interval.low > 0:
        outcome = PAID
    elif interval.high < smallest:
        outcome = DID_NOT_PAY
    advice = None
    if outcome == CANNOT_TELL:
        num_pool = round(n_labels / pool_share) if pool_share else 0
        advice = to_tell(interval, smallest, num_pool)
    facts = _facts(interval, n_labels, pretrained.arm, other.arm, metric)
    end = _end(outcome, interval, smallest, advice, metric)
    scope = " It holds for these labels: each draw had most or all of them." if pool_share > LARGEST_SHARE else ""
    sentence = f"{facts} {end}{_means(pretrained.arm)}{scope}"
    draws, labels = (advice.draws, advice.labels) if advice else (None, None)
    return Verdict(outcome, sentence, n_labels, pretrained.arm, other.arm, interval, draws, labels)


def arm_to_keep(verdict: Mapping[str, Any], selection_of: Mapping[str, float]) -> str:
    """The arm whose model is left behind: the better one where the verdict tells, else the best on training labels.

    A network that stops early has for a score its best moment on a few held-out labels, which is more than it is worth:
    it must not be served against what all draws and items have shown. This looks at test items, but only to choose
    between two arms whose difference is sure, so that the score of the one kept is hardly luckier for it.

    Args:
        verdict: from `Verdict.to_json`.
        selection_of: score on training labels of each arm at the verdict's label count.
    """
    told = {PAID: "best_pretrained", DID_NOT_PAY: "best_other"}.get(verdict["outcome"])
    return str(verdict[told]) if told else max(selection_of, key=lambda name: selection_of[name])


def _means(arm: Arm) -> str:
    """What else than pretraining an arm lives on."""
    if not arm.against:
        return ""
    means = "the features of" if arm.kind == "stacked" else "its own answers for unlabelled rows, as does"
    return f" {arm.name} also uses {means} {arm.against}, so it was compared with that as well."


def _best(contestants: Sequence[Contestant], pretrained: bool) -> Contestant:
    side = [contestant for contestant in contestants if contestant.arm.pretrained == pretrained]
    assert side, "a comparison needs an arm on each side"
    return max(side, key=lambda contestant: contestant.selection)


def _facts(interval: Interval, n_labels: int, pretrained: Arm, other: Arm, metric: Metric) -> str:
    public = other.kind == PUBLIC
    rival = f"{other.name} (public weights), the best without your" if public else f"{other.name}, the best without"
    low, high = metric.amount(interval.low, "+"), metric.amount(interval.high, "+")
    bounds = f"{interval.confidence:.0%} interval {low} to {high}{metric.noun and ' '}{metric.noun}"
    return (
        f"With {n_labels:,} labels, {pretrained.name} (pretrained) {metric.compared(interval.value)} than {rival} "
        f"pretraining ({bounds}; {interval.num_draws} draws of labels, {interval.num_items:,} items)."
    )


def _end(outcome: str, interval: Interval, smallest_gain: float, advice: Advice | None, metric: Metric) -> str:
    matters = f"{metric.per * smallest_gain:.3g}"
    if metric.noun:
        matters += f" {metric.noun.removesuffix('s') if matters == '1' else metric.noun}"
    if outcome == PAID:
        small = f" The gain is small: below {matters}." if interval.high < smallest_gain else ""
        return f"Pretraining paid.{small}"
    if outcome == DID_NOT_PAY:
        ruled_out = "any gain" if interval.high <= 0 else f"a gain of {matters} or more"
        return f"Pretraining did not pay: {ruled_out} is ruled out."
    if advice:
        return f"That does not tell; with two chances in three, {advice.sentence(interval)}"
    return "That does not tell, and no affordable number of draws or labels would: the two are too much alike."
