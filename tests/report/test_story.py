"""Words for curves: settled, under-fitted, over-fitted, at chance, collapsed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seedbed.report.read import Curve
from seedbed.report.story import clock, diagnose, size

FALLING = [(float(step), 5.0 - step / 40) for step in range(0, 101, 10)]
CURVE = Curve("pretrain", {"model": FALLING}, FALLING, 5.0, {}, None, {}, 0, 60.0)


@pytest.mark.parametrize(
    ("losses", "word"),
    [
        ([5.0, 4.0, 3.0, 3.0, 3.0, 2.999], "has settled"),
        ([5.0, 4.5, 4.0, 3.5, 3.0, 2.5], "Under-fitting"),
        ([5.0, 3.0, 2.5, 2.6, 2.8, 3.2], "Over-fitting: Validation loss was lowest at step 40"),
        ([5.0, 5.0, 5.0, 5.0, 5.0, 4.99], "Nothing learnt: Validation loss is 4.990 at best, chance is 5.000"),
    ],
)
def test_losses(losses: list[float], word: str) -> None:
    points = [(20.0 * index, loss) for index, loss in enumerate(losses)]
    said = diagnose(replace(CURVE, validation=points))
    assert len(said) == 1
    assert word in said[0]


def test_features_and_skipped_steps() -> None:
    watched = {"probe": [(0.0, 0.5), (100.0, 0.6)], "feature_std": [(0.0, 1.0), (100.0, 0.01)]}
    said = " ".join(diagnose(replace(CURVE, watched=watched, skipped=3)))
    assert "60.0% of cases, untrained in 50.0%: the features carry more" in said
    assert "the objective has collapsed" in said
    assert "Learning rate too high: 3 steps were left out" in said
    worse = {"probe": [(0.0, 0.5), (100.0, 0.5)]}
    assert "do not help" in " ".join(diagnose(replace(CURVE, watched=worse)))


def test_two_players_are_not_judged_by_their_losses() -> None:
    said = diagnose(replace(CURVE, train={"discriminator": FALLING, "generator": FALLING}))
    assert said == [
        "Several players train against each other, so their losses do not fall together; look at the features."
    ]


def test_units() -> None:
    assert [clock(s) for s in (3.21, 75, 7384)] == ["3.2 s", "1 min 15 s", "2 h 3 min"]
    assert [size(n) for n in (1.9e9, 2.5e6)] == ["1.90 GB", "2.5 MB"]
