"""Findings: each planted fault is named, its healthy twin is not; causes come before what they bring about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from seedbed.evaluate.diagnose import (
    LABELS,
    LEAK,
    LR,
    NOTHING,
    ORDER,
    OVER,
    UNDER,
    Course,
    Finding,
    of_course,
    of_fit,
    of_labels,
    of_split,
    ranked,
)

STEPS = [20.0 * index for index in range(21)]
TRAIN = [(step + 1, 2.3 * 0.97**step + 0.2) for step in range(0, 400, 5)]


def course(losses: list[float], **changed: object) -> Course:
    validation = [(20.0 * index, loss) for index, loss in enumerate(losses)]
    return replace(Course(TRAIN, validation, 2.3), **changed)  # type: ignore[arg-type]


HEALTHY = [2.3, 1.2, 0.8, 0.6, 0.5, 0.45, 0.43, 0.42, 0.42, 0.421, 0.42]
RISING = [2.3, 1.2, 0.8, 0.6, 0.55, 0.6, 0.65, 0.7, 0.72, 0.75, 0.76]


@pytest.mark.parametrize(
    ("losses", "kinds"),
    [
        (HEALTHY, []),
        (RISING, [OVER]),
        ([2.3, 2.1, 1.9, 1.7, 1.5, 1.3, 1.1, 0.9, 0.7, 0.6, 0.5], [UNDER]),
        ([2.3, 2.3, 2.31, 2.3, 2.3, 2.29], [NOTHING]),
        ([*HEALTHY, 0.6, 0.42], []),  # one bad evaluation is not a trend
        ([2.3, 0.4], []),
    ],
)
def test_losses(losses: list[float], kinds: list[str]) -> None:
    assert [finding.kind for finding in of_course(course(losses))] == kinds


def test_what_was_dealt_with_is_a_note() -> None:
    (kept,) = of_course(course(RISING, kept_best=True))
    (lost,) = of_course(course(RISING))
    assert (kept.severity, lost.severity) == ("note", "warning")
    assert "lowest at step 80 (0.550) and rose by 36%" in lost.evidence and "were kept" in kept.evidence


def test_losses_that_leap() -> None:
    leaping = [(1.0, 2.3), (5.0, 9.0), (50.0, 2.0), (100.0, 1.8)]
    (found,) = of_course(course(HEALTHY, train=leaping))
    assert found.kind == LR and "rose to 9 at step 5; it began at 2.3, and chance is 2.3" in found.evidence
    assert of_course(course(HEALTHY, train=[(1.0, 2.3), (5.0, 2.8), (50.0, 0.5)])) == []
    # Started from a probe, far below chance: what pretraining brought is undone.
    assert of_course(course(HEALTHY, train=[(1.0, 0.2), (5.0, 2.0), (50.0, 0.5)])) == []
    (found,) = of_course(course(HEALTHY, skipped=2))
    assert found.kind == LR and "2 steps were left out" in found.evidence


def right(share: float, count: int = 400) -> np.ndarray:
    return np.arange(count) < share * count


def test_answers_against_a_probe() -> None:
    assert of_fit(right(1.0), right(0.9), right(0.9)) == []
    assert [found.kind for found in of_fit(right(0.6), right(0.6), right(0.9))] == [UNDER]
    assert [found.kind for found in of_fit(right(1.0), right(0.7), right(0.9))] == [OVER]
    assert of_fit(right(1.0), np.zeros(0, bool), right(0.9)) == []
    assert of_fit(right(0.8, 20), right(0.8, 20), right(0.9, 20)) == []  # chance explains it


def answers(noise: float, hard: float, seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two classes: a calibrated probe, the less sure the harder the problem, and labels of which some are wrong."""
    draw = np.random.default_rng(seed)
    sure_I = 1 / (1 + np.exp(-draw.normal(0, 4 / hard, count)))
    truth_I = (draw.random(count) < sure_I).astype(np.int64)
    labels_I = np.where(draw.random(count) < noise, 1 - truth_I, truth_I)
    return np.stack([1 - sure_I, sure_I], 1), labels_I


@pytest.mark.parametrize(("noise", "hard", "named"), [(0.0, 1.0, 0), (0.0, 2.0, 0), (0.3, 1.0, 9), (0.0, 1000.0, 0)])
def test_wrong_labels_are_told_from_hard_problems(noise: float, hard: float, named: int) -> None:
    """Clean and easy, clean and hard (a fifth of the answers wrong), three in ten labels wrong, nothing to learn."""
    found = [of_labels(*answers(noise, hard, seed)) for seed in range(10)]
    # Of 80 answers the bound leaves out one such draw in forty; without a fault there is none at all.
    assert named <= sum(bool(one) for one in found) <= (10 if named else 0)
    assert all(finding.kind == LABELS for one in found for finding in one)


def test_suspects_are_rows_whose_label_was_changed() -> None:
    probs_IC, labels_I = answers(0.0, 0.5, 0)
    changed = np.flatnonzero(probs_IC.max(1) > 0.99)[:80]
    labels_I[changed] = probs_IC[changed].argmin(1)
    (found,) = of_labels(probs_IC, labels_I)
    assert len(found.rows) == 12 and set(found.rows) <= set(changed.tolist())
    assert of_labels(probs_IC[:50], labels_I[:50]) == []  # too few to tell


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("copies", "change", "named"), [(0, 0.0, 0), (30, 0.05, 10), (60, 0.3, 10)])
def test_copies_across_the_split(copies: int, change: float, named: int, sparse: bool) -> None:
    hits = 0
    for seed in range(10):
        draw = np.random.default_rng(seed)
        train, test = draw.normal(size=(500, 20)), draw.normal(size=(200, 20))
        test[:copies] = train[:copies] + change * draw.normal(size=(copies, 20))
        found = of_split(csr_matrix(train), csr_matrix(test)) if sparse else of_split(train, test)
        hits += bool(found)
        assert all(finding.kind == LEAK and set(finding.rows) <= set(range(copies)) for finding in found)
    assert hits == named
    assert of_split(train[:50], test) == []


def test_data_full_of_copies_say_so() -> None:
    draw = np.random.default_rng(0)
    things = np.repeat(draw.normal(size=(200, 20)), 4, axis=0) + 0.01 * draw.normal(size=(800, 20))
    draw.shuffle(things)
    (found,) = of_split(things[:600], things[600:])
    assert "of which these data hold many" in found.cause and "About 100% of 200 test rows" in found.evidence


def test_causes_come_first_and_once() -> None:
    found = [Finding(kind, "warning", str(place), "", "") for place, kind in enumerate((UNDER, OVER, LR, OVER, LEAK))]
    assert [finding.kind for finding in ranked(found)] == [LEAK, LR, OVER, UNDER]
    assert [finding.evidence for finding in ranked(found)] == ["4", "2", "1", "0"]
    assert len(ORDER) == len(set(ORDER)) == 6


def test_as_json() -> None:
    told = Finding(LEAK, "warning", "e", "c", "a", (3, 4)).about(["x", "y"]).to_json()
    assert told == {
        "kind": LEAK, "severity": "warning", "evidence": "e", "cause": "c", "advice": "a", "keys": ["x", "y"],
    }  # fmt: skip
