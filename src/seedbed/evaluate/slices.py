"""Scores of parts of the items: by label, length, group or a column; with bounds that hold for all parts together.

Who looks at many parts finds one that stands out by chance. So each interval of K is made at a confidence of
1 - (1 - confidence) / K, which makes all K hold together at least at `confidence`.

Source: Dunn 1961, "Multiple comparisons among means" (Bonferroni's inequality).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seedbed.evaluate.scoring import Metric, scoring
from seedbed.evaluate.stats import Scale, difference, mean_interval

LABEL, LENGTH, GROUP = "label", "length", "group"
WAYS = (LABEL, LENGTH, GROUP)
FEWEST_ITEMS, MOST_PARTS = 10, 12
LENGTH_PARTS = 4


class Part(NamedTuple):
    """Some of the items: how they were chosen, what they share, and which they are."""

    by: str
    value: str
    inside_I: np.ndarray


def parts_of(
    ways: Sequence[str], kind: str, truth: np.ndarray, names: Sequence[str], about: Mapping[str, np.ndarray]
) -> tuple[list[Part], list[str]]:
    """The parts of items in the ways asked for, and sentences on those that are left out.

    Args:
        ways: of WAYS, or columns.
        kind: of labels.
        truth: targets of the items.
        names: of the labels.
        about: way -> a length or a name for each item.
    """
    parts, said = [], []
    for way in ways:
        found = _parts(way, kind, truth, names, about)
        enough = [part for part in found if part.inside_I.sum() >= FEWEST_ITEMS]
        kept = sorted(enough, key=lambda part: -int(part.inside_I.sum()))[:MOST_PARTS]
        if len(kept) < len(found):
            few = len(found) - len(enough)
            told = f"{few} of under {FEWEST_ITEMS} items" if few else ""
            rest = f"{len(enough) - len(kept)} smaller ones" if len(enough) > len(kept) else ""
            said.append(f"by {way}, not shown: {' and '.join(filter(None, (told, rest)))}")
        parts += [part for part in found if any(part is one for one in kept)]
    return parts, said


def _parts(way: str, kind: str, truth: np.ndarray, names: Sequence[str], about: Mapping[str, np.ndarray]) -> list[Part]:
    if way == LABEL:
        return [Part(way, value, inside_I) for value, inside_I in scoring(kind).parts(truth, names)]
    values = about[way]
    if way == LENGTH:
        edges = np.unique(np.quantile(values, np.arange(1, LENGTH_PARTS) / LENGTH_PARTS, method="inverted_cdf"))
        place_I = np.searchsorted(edges, values, side="left")
        inside = [place_I == place for place in range(len(edges) + 1)]
        return [Part(way, f"{values[one].min()} to {values[one].max()} tokens", one) for one in inside if one.any()]
    return [Part(way, str(value), values == value) for value in sorted(Counter(values.tolist()))]


def sliced(
    parts: Sequence[Part], pretrained_SI: np.ndarray, other_SI: np.ndarray, metric: Metric, confidence: float
) -> list[dict[str, Any]]:
    """Both arms' scores and their difference in every part, JSON-able; bounds hold for all parts together."""
    together = 1 - (1 - confidence) / max(len(parts), 1)
    scale = Scale(metric.unit, metric.bounded)
    told = []
    for part in parts:
        a_SI, b_SI = pretrained_SI[:, part.inside_I], other_SI[:, part.inside_I]
        row: dict[str, Any] = {"by": part.by, "value": part.value, "items": int(part.inside_I.sum())}
        for name, scores_SI in (("pretrained", a_SI), ("other", b_SI)):
            found = mean_interval(scores_SI, together, scale=scale)
            low, high = sorted((metric.shown(found.low), metric.shown(found.high)))
            row[name] = {"mean": metric.shown(found.value), "low": low, "high": high}
        gap = difference(a_SI, b_SI, together, scale=scale)
        told.append(row | {"difference": {"value": gap.value, "low": gap.low, "high": gap.high}})
    return told


def remark(rows: Sequence[Mapping[str, Any]], confidence: float) -> str:
    """What the parts say together, in a sentence."""
    if not rows:
        return ""
    apart = [f"{row['by']} {row['value']}" for row in rows if row["difference"]["low"] * row["difference"]["high"] > 0]
    found = f"The arms differ for {', '.join(apart)}." if apart else "In none of them do the arms differ for sure."
    return (
        f"{len(rows)} parts were looked at, so each interval is widened until all of them hold together at "
        f"{confidence:.0%}. {found}"
    )
