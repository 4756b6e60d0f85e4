from __future__ import annotations

import numpy as np
import pytest

from seedbed.core.types import NO_LABEL
from seedbed.evaluate import suggest
from seedbed.evaluate.linear import fit_probe
from seedbed.evaluate.suggest import choose_rows

CLASSES = ("a", "b", "c", "d", "e", "f")


def groups(each: int, seed: int = 0, num: int = 6, spread: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Rows around centres, one group a class, the first class three times as large."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(num), [3 * each, *[each] * (num - 1)])
    return 3.0 * np.eye(num, 12)[y] + spread * rng.standard_normal((len(y), 12)), y


def unlabelled(num: int) -> np.ndarray:
    return np.full(num, NO_LABEL)


def test_at_the_start_every_group_is_reached_the_largest_first() -> None:
    x, y = groups(30)
    chosen = choose_rows(x, unlabelled(len(x)), CLASSES, 6, seed=0)
    assert len({one.row for one in chosen}) == 6 and len(set(y[[one.row for one in chosen]])) >= 5
    scores = [one.score for one in chosen]
    assert scores == sorted(scores, reverse=True) and "none of which has a label" in chosen[0].reason
    assert choose_rows(x, unlabelled(len(x)), CLASSES, 6, seed=0) == chosen


def test_groups_without_a_label_come_first() -> None:
    x, y = groups(30)
    labels = unlabelled(len(x))
    labels[np.flatnonzero(y == 0)[:6]] = 0
    chosen = choose_rows(x, labels, CLASSES, 5, seed=0)
    assert not set(np.flatnonzero(labels != NO_LABEL)) & {one.row for one in chosen}
    assert (y[[one.row for one in chosen]] != 0).sum() >= 4


def test_with_labels_rows_between_the_classes_are_chosen_from_all_sides() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (600, 6))
    labels = unlabelled(600)
    labels[:60] = (x[:60, 0] > 0).astype(int)
    chosen = choose_rows(x, labels, ("left", "right"), 10, seed=0)
    rows = np.array([one.row for one in chosen])
    assert (rows >= 60).all() and len(rows) == 10 and np.abs(x[rows, 0]).mean() < 0.3, "near the border"
    assert (np.ptp(x[rows, 1:], axis=0) > 0.8).all(), "along all of it"
    assert '"left" (0.' in chosen[0].reason and '"right" (0.' in chosen[0].reason and 0.5 < chosen[0].score <= 1.0


def test_nearly_equal_rows_are_passed_over() -> None:
    x, y = groups(20)
    labels = unlabelled(len(x) * 2)
    labels[:5] = y[:5]
    twice = np.concatenate([x, x + 1e-4])
    chosen = [one.row for one in choose_rows(twice, labels, CLASSES, 40, seed=0)]
    assert len(chosen) == 40 and len({row % len(x) for row in chosen}) == 40
    assert not set(range(5)) & {row % len(x) for row in chosen}
    few = choose_rows(np.ones((9, 3)) + 1e-9 * np.arange(9)[:, None], unlabelled(9), CLASSES, 4, seed=0)
    assert 1 <= len(few) <= 4
    every = choose_rows(x, unlabelled(len(x)), CLASSES, 1000, seed=0)
    assert len(every) == len(x)


def test_many_rows_are_clustered_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggest, "LARGE", 50)
    x, y = groups(30)
    chosen = choose_rows(x, unlabelled(len(x)), CLASSES, 12, seed=0)
    assert len(set(y[[one.row for one in chosen]])) >= 5


def test_it_teaches_more_than_chance_where_groups_are_classes() -> None:
    """The planted case, paired with as many rows drawn by chance."""
    gains = []
    for seed in range(6):
        x, y = groups(40, seed, spread=1.0)
        test_x, test_y = groups(40, seed + 100, spread=1.0)
        chosen = np.array([one.row for one in choose_rows(x, unlabelled(len(x)), CLASSES, 12, seed)])
        drawn = np.random.default_rng(seed).permutation(len(x))[:12]
        right = [
            (fit_probe(x[rows], y[rows], 6, 0)[0].answers(test_x).argmax(1) == test_y).mean()
            for rows in (chosen, drawn)
        ]
        gains.append(right[0] - right[1])
    assert np.mean(gains) > 0.05, gains
