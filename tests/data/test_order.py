"""The order: every item once an epoch, no token lost, pure in (seed, step), batches of about equal padded size."""

from __future__ import annotations

import numpy as np
import pytest

from seedbed.data.order import WINDOW, Order, Picks, cut_evenly, disjoint_windows


def order_of(lengths: np.ndarray, batch_size: int = 8, chunks: bool = True, seq_len: int = 16, seed: int = 0) -> Order:
    ids = np.arange(len(lengths)) * 7919
    return Order(ids, lengths, seed=seed, batch_size=batch_size, chunks=chunks, seq_len=seq_len)


def lengths_of(num: int, longest: int = 100) -> np.ndarray:
    return np.random.default_rng(0).integers(1, longest + 1, num)


def played(order: Order, steps: int) -> Picks:
    picks = [order.batch(step) for step in range(steps)]
    return Picks(*(np.concatenate(values) for values in zip(*picks, strict=True)))


def steps_for(order: Order, epochs: int) -> int:
    """Steps until the window that ends the last epoch is over."""
    windows = -(-epochs * order.num_items // (order.window * order.batch_size))
    return windows * order.window


def equal(one: Picks, other: Picks) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("num", [1, 2, 7, 300, 2000])
@pytest.mark.parametrize("batch_size", [1, 8, 100])
def test_each_epoch_has_every_token_once(num: int, batch_size: int) -> None:
    lengths = lengths_of(num, longest=400 if num <= 300 else 100)
    order = order_of(lengths, batch_size)
    picks = played(order, steps_for(order, 3))
    for epoch in range(3):
        seen = [np.zeros(length, dtype=np.int64) for length in lengths]
        for item, start, length in zip(*picks.take(picks.epochs == epoch)[:3], strict=True):
            assert 1 <= length <= 16
            seen[item][start : start + length] += 1
        assert all(np.all(times == 1) for times in seen)
        assert (picks.epochs == epoch).sum() == order.num_items


@pytest.mark.parametrize("num", [1, 5, 64, 1000])
def test_each_epoch_has_every_whole_item_once(num: int) -> None:
    lengths = lengths_of(num)
    order = order_of(lengths, chunks=False)
    picks = played(order, steps_for(order, 3))
    for epoch in range(3):
        part = picks.take(picks.epochs == epoch)
        assert np.array_equal(np.sort(part.items), np.arange(num))
        assert np.array_equal(part.lengths, np.minimum(lengths[part.items], 16))
        assert np.all(part.starts + part.lengths <= lengths[part.items])


def test_any_step_is_the_same_without_the_steps_before() -> None:
    lengths = lengths_of(500)
    whole = [order_of(lengths).batch(step) for step in range(200)]
    walking = order_of(lengths)
    assert all(equal(walking.batch(step), picks) for step, picks in enumerate(whole))
    for step in (199, 0, 63, 64, 130, 129):
        assert equal(order_of(lengths).batch(step), whole[step])
        assert equal(walking.batch(step), whole[step])


def test_a_far_step_costs_nothing() -> None:
    picks = order_of(lengths_of(50_000)).batch(10**9)
    assert len(picks.items)
    assert picks.epochs[0] > 10_000


def test_seeds_and_epochs_have_their_own_order() -> None:
    lengths = np.full(5120, 10)
    first, other = played(order_of(lengths), 11 * 64), played(order_of(lengths, seed=1), 64)
    assert (first.epochs[:512] == 0).all()
    assert (first.epochs[5120:] == 1).all()
    for one in (other.items[:512], first.items[5120:], first.items[512:1024], np.arange(512)):
        assert len(set(first.items[:512].tolist()) & set(one.tolist())) < 90


def test_windows_begin_elsewhere_each_epoch() -> None:
    for length in (10_000, 10_016, 10_010, 160):
        order = order_of(np.array([length]), batch_size=64)
        picks = played(order, steps_for(order, 40))
        starts = {int(start) % 16 for start in picks.starts[picks.starts > 0]}
        assert len(starts) >= 8
        assert (picks.lengths == 16).mean() > 0.8
    crops = played(order_of(np.array([100]), chunks=False), 300).starts
    assert crops.min() < 5
    assert crops.max() > 79
    assert len(set(crops.tolist())) > 70


def test_batches_are_about_equal_in_padded_tokens() -> None:
    order = order_of(lengths_of(20_000, longest=500), batch_size=64, seq_len=256)
    assert order.window == WINDOW
    for window in range(3):
        batches = [order.batch(window * WINDOW + turn).lengths for turn in range(WINDOW)]
        padded = np.array([lengths.max() * len(lengths) for lengths in batches])
        real = sum(int(lengths.sum()) for lengths in batches)
        assert padded.max() / padded.mean() < 1.05
        assert np.median(padded) / padded.mean() > 0.95
        assert 1 - real / padded.sum() < 0.03
        assert sum(len(lengths) for lengths in batches) == WINDOW * 64


def test_examples_of_one_length_make_batches_of_one_size() -> None:
    order = order_of(np.ones(1000, dtype=np.int64), batch_size=10, chunks=False, seq_len=0)
    assert {len(order.batch(step).items) for step in range(300)} == {10}


def test_batches_are_played_in_no_order_of_length() -> None:
    order = order_of(lengths_of(20_000, longest=500), batch_size=16, chunks=False, seq_len=256)
    longest = np.array([order.batch(step).lengths.max() for step in range(WINDOW)])
    assert abs(np.corrcoef(longest, np.arange(WINDOW))[0, 1]) < 0.5


@pytest.mark.parametrize(("num", "batch_size", "expected"), [(50, 64, 50), (50, 16, 16), (1, 8, 1)])
def test_few_items_fill_a_batch_without_repeating_in_it(num: int, batch_size: int, expected: int) -> None:
    order = order_of(np.full(num, 5), batch_size, chunks=False)
    assert order.batch_size == expected
    for step in range(10):
        picks = order.batch(step)
        assert len(picks.items) == expected
        in_epoch = set(zip(picks.items.tolist(), picks.epochs.tolist(), strict=True))
        assert len(in_epoch) == expected


@pytest.mark.parametrize("chunks", [True, False])
def test_scoring_windows_are_disjoint_and_in_order(chunks: bool) -> None:
    lengths = np.array([1, 16, 17, 48, 5])
    picks = disjoint_windows(lengths, 16, chunks)
    assert set(picks.epochs) == {-1}
    assert picks.items.tolist() == ([0, 1, 2, 2, 3, 3, 3, 4] if chunks else [0, 1, 2, 3, 4])
    assert picks.starts.tolist() == ([0, 0, 0, 16, 0, 16, 32, 0] if chunks else [0] * 5)
    assert picks.lengths.tolist() == ([1, 16, 16, 1, 16, 16, 16, 5] if chunks else [1, 16, 16, 16, 5])


@pytest.mark.parametrize("num", [1, 2, 5, 64])
def test_cuts_leave_no_batch_empty(num: int) -> None:
    rng = np.random.default_rng(num)
    for _ in range(50):
        lengths = -np.sort(-rng.integers(1, 300, rng.integers(num, 10 * num + 1)))
        bounds = cut_evenly(lengths, num)
        assert len(bounds) == num + 1
        assert bounds[0] == 0
        assert bounds[-1] == len(lengths)
        assert np.all(np.diff(bounds) > 0)
