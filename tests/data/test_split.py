"""Splits: given ones are kept, groups stay whole, old rows stay where they were, draws are fair."""

from __future__ import annotations

import numpy as np
import pytest

from seedbed.core.errors import UsageError
from seedbed.core.types import NO_LABEL
from seedbed.data.clean import Cleaned
from seedbed.data.split import (
    HELD,
    OUT,
    TEST,
    TRAIN,
    VALIDATION,
    Ledger,
    assign,
    folds,
    group_codes,
    label_subset,
)
from tests.data.making import cleaned_of, settings_with, texts_of


def rows_of(num: int, num_labelled: int, first: int = 0, groups: int = 0) -> Cleaned:
    texts = texts_of(first + num, longest=5)[first:]
    labels = [str(row % 3) if row < num_labelled else None for row in range(num)]
    names = [f"patient{(first + row) % groups}" for row in range(num)] if groups else None
    return cleaned_of(texts, labels, groups=names)


def joined(one: Cleaned, other: Cleaned) -> Cleaned:
    return cleaned_of(
        [*one.raw, *other.raw], one.labels + other.labels, one.splits + other.splits, one.groups + other.groups
    )


def shares(splits: np.ndarray) -> np.ndarray:
    return np.bincount(splits, minlength=5) / len(splits)


def test_labelled_rows_are_shared_out() -> None:
    cleaned = rows_of(4000, 2500)
    splits = assign(cleaned, settings_with(test_share=0.2, validation_share=0.1), 0)
    assert shares(splits[:2500])[TEST] == pytest.approx(0.2, abs=0.03)
    assert shares(splits[2500:])[TEST] == 0
    for part in (splits[:2500], splits[2500:]):
        left = part[part != TEST]
        assert shares(left)[VALIDATION] == pytest.approx(0.1, abs=0.02)
        assert set(part) <= {TRAIN, VALIDATION, TEST}


def test_given_splits_are_kept() -> None:
    names = [("train", "test", "validation", None)[row % 4] for row in range(400)]
    labels = [str(row % 2) for row in range(400)]
    splits = assign(cleaned_of(texts_of(400), labels, names), settings_with(), 0)
    expected = [{"train": TRAIN, "test": TEST, "validation": VALIDATION, None: TRAIN}[name] for name in names]
    assert splits.tolist() == expected


def test_validation_is_carved_from_training_rows_only() -> None:
    names = ["test" if row % 4 == 0 else "train" for row in range(2000)]
    labels = [str(row % 2) if row < 1000 else None for row in range(2000)]
    splits = assign(cleaned_of(texts_of(2000, longest=3), labels, names), settings_with(validation_share=0.1), 0)
    assert np.all(splits[::4] == TEST)
    rest = np.delete(splits, np.arange(0, 2000, 4))
    assert shares(rest)[VALIDATION] == pytest.approx(0.1, abs=0.03)
    assert set(rest) == {TRAIN, VALIDATION}


def test_unlabelled_test_rows_are_no_test_set() -> None:
    names = ["test" if row >= 3000 else None for row in range(4000)]
    labels = [str(row % 2) if row < 3000 else None for row in range(4000)]
    splits = assign(cleaned_of(texts_of(4000, longest=3), labels, names), settings_with(), 0)
    assert np.all(splits[3000:] == TEST)
    assert 0.15 < shares(splits[:3000])[TEST] < 0.25


@pytest.mark.parametrize(("labels", "rows", "held"), [(999, 2500, True), (1000, 2500, False), (300, 400, False)])
def test_few_labels_are_held_for_folds(labels: int, rows: int, held: bool) -> None:
    splits = assign(rows_of(rows, labels), settings_with(), 0)
    assert bool(np.all(splits[:labels] == HELD)) is held
    assert bool((splits == TEST).any()) is not held
    assert set(splits[labels:]) <= {TRAIN, VALIDATION}
    assert (splits[labels:] == VALIDATION).any()


def test_labels_in_every_group_leave_nothing_to_pretrain_on_if_held() -> None:
    splits = assign(rows_of(1500, 300, groups=100), settings_with(), 0)
    assert {TRAIN, VALIDATION, TEST} == set(splits)


def test_given_test_labels_need_no_folds() -> None:
    names = ["test" if row < 30 else "train" for row in range(300)]
    splits = assign(
        cleaned_of(texts_of(300), [str(row % 2) for row in range(100)] + [None] * 200, names), settings_with(), 0
    )
    assert np.all(splits[:30] == TEST)
    assert HELD not in splits


def test_groups_stay_whole() -> None:
    cleaned = rows_of(3000, 1800, groups=200)
    for seed in range(3):
        splits = assign(cleaned, settings_with(validation_share=0.2), seed)
        codes = group_codes(cleaned.groups)
        assert len(np.unique(codes)) == 200
        assert all(len(set(splits[codes == code])) == 1 for code in np.unique(codes))
        assert {TRAIN, VALIDATION, TEST} == set(splits)


def test_a_group_in_training_and_test_stays_in_the_test() -> None:
    names = ["test"] * 50 + ["train"] * 450
    groups = [f"patient{row % 100}" for row in range(500)]
    cleaned = cleaned_of(texts_of(500), [str(row % 2) for row in range(500)], names, groups)
    splits = assign(cleaned, settings_with(), 0)
    assert np.all(splits[:50] == TEST)
    leaking = np.array([row % 100 < 50 for row in range(500)])
    assert np.all(splits[50:][leaking[50:]] == OUT)
    assert set(splits[~leaking]) == {TRAIN, VALIDATION}


def test_tiny_data_still_have_each_part() -> None:
    splits = assign(rows_of(12, 12), settings_with(test_share=0.01, validation_share=0.01), 0)
    assert set(splits) == {TRAIN, VALIDATION, TEST}
    assert assign(rows_of(1, 0), settings_with(), 0).tolist() == [TRAIN]
    assert set(assign(rows_of(50, 0), settings_with(validation_share=0.0), 0)) == {TRAIN}


def test_splits_do_not_depend_on_order() -> None:
    cleaned = rows_of(1500, 1200, groups=300)
    order = np.random.default_rng(1).permutation(1500)
    mixed = cleaned_of(
        [cleaned.raw[row] for row in order],
        [cleaned.labels[row] for row in order],
        groups=[cleaned.groups[row] for row in order],
    )
    assert np.array_equal(assign(mixed, settings_with(), 0), assign(cleaned, settings_with(), 0)[order])


@pytest.mark.parametrize("more", [15, 150, 1500])
@pytest.mark.parametrize("groups", [0, 100])
@pytest.mark.parametrize("labelled", [0, 600, 1300])
def test_old_rows_keep_their_split_when_data_grow(more: int, groups: int, labelled: int) -> None:
    before = rows_of(1500, labelled, groups=groups)
    old = assign(before, settings_with(), 0)
    ledger = Ledger().extended(before.ids, old)
    grown = joined(rows_of(more, more, first=1500, groups=groups), before)
    new = assign(grown, settings_with(), 0, ledger)
    if labelled:
        assert np.array_equal(new[more:], old)
        assert (HELD in new) == (HELD in old)
    codes = group_codes(grown.groups)
    assert all(len(set(new[codes == code])) == 1 for code in np.unique(codes))


def test_the_first_labels_ever_get_a_test_set() -> None:
    unlabelled = rows_of(1500, 0)
    ledger = Ledger().extended(unlabelled.ids, assign(unlabelled, settings_with(), 0))
    splits = assign(rows_of(1500, 1500), settings_with(), 0, ledger)
    assert 0.15 < shares(splits)[TEST] < 0.25


@pytest.mark.parametrize("groups", [1, 4])
def test_folds_are_stratified_and_grouped(groups: int) -> None:
    labels = np.random.default_rng(0).choice(3, size=300, p=[0.6, 0.3, 0.1])
    group = np.arange(300) // groups
    seen = []
    for draw in range(3):
        fold_of = folds(labels, group, 5, draw, 0)
        seen.append(fold_of)
        assert set(fold_of) == set(range(5))
        assert all(len(set(fold_of[group == code])) == 1 for code in np.unique(group))
        for label in range(3):
            counts = np.bincount(fold_of[labels == label], minlength=5)
            assert counts.max() - counts.min() <= groups
        sizes = np.bincount(fold_of, minlength=5)
        assert sizes.max() - sizes.min() <= 3 * groups
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(folds(labels, group, 5, 0, 0), seen[0])


def test_folds_follow_content_not_order() -> None:
    labels, ids = np.arange(90) % 3, np.arange(90) * 31 + 5
    order = np.random.default_rng(0).permutation(90)
    whole = folds(labels, np.arange(90), 4, 1, 0, ids=ids)
    assert np.array_equal(folds(labels[order], np.arange(90), 4, 1, 0, ids=ids[order]), whole[order])


def test_label_subsets_are_nested_and_stratified() -> None:
    labels = np.random.default_rng(0).choice([0, 1, 2, NO_LABEL], size=5000, p=[0.5, 0.29, 0.01, 0.2])
    kept = labels[labels != NO_LABEL]
    previous = np.zeros(0, dtype=np.int64)
    for n in (3, 10, 50, 200, 1000, len(kept)):
        chosen = label_subset(labels, n, 0, 0)
        assert len(set(chosen.tolist())) == n
        assert np.all(labels[chosen] != NO_LABEL)
        assert np.array_equal(chosen[: len(previous)], previous)
        counts = np.bincount(labels[chosen], minlength=3)
        assert counts.min() >= 1
        assert np.abs(counts - n * np.bincount(kept) / len(kept)).max() <= 2
        previous = chosen
    assert len(set(label_subset(labels, 50, 0, 0)) & set(label_subset(labels, 50, 1, 0))) < 10


def test_label_subsets_are_fair() -> None:
    labels = np.arange(40) % 2
    times = np.zeros(40)
    for draw in range(2000):
        times[label_subset(labels, 8, draw, 0)] += 1
    assert np.all(np.abs(times / 2000 - 0.2) < 0.045)


def test_label_subsets_follow_content_not_order() -> None:
    labels, ids = np.arange(90) % 3, np.arange(90) * 31 + 5
    order = np.random.default_rng(0).permutation(90)
    chosen = ids[label_subset(labels, 20, 1, 0, ids=ids)]
    assert np.array_equal(ids[order][label_subset(labels[order], 20, 1, 0, ids=ids[order])], chosen)


@pytest.mark.parametrize("n", [2, 91])
def test_impossible_label_counts_are_refused(n: int) -> None:
    with pytest.raises(UsageError, match="3 to 90"):
        label_subset(np.arange(90) % 3, n, 0, 0)
