"""Draws: uniform, normal, independent of the batch, and the same everywhere."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy import stats

from seedbed.core.hashing import fold, hash_rows, permute
from seedbed.core.rng import Keys, keys_for
from seedbed.core.types import Batch


def keys(num: int, seed: int = 0, epoch: int = 0, step: int = 3) -> Keys:
    return Keys(seed, torch.full((num,), epoch), torch.arange(num) * 7919 - 3, step)


def test_the_first_k_of_n_draws_are_k_draws() -> None:
    for draw in (keys(5).uniform, keys(5).normal):
        assert torch.equal(draw("mask", 100)[:, :37], draw("mask", 37))
    assert torch.equal(keys(5).shared("negatives", 100)[:37], keys(5).shared("negatives", 37))


def test_draws_do_not_know_their_batch() -> None:
    whole = keys(12)
    order = torch.tensor([11, 3, 3, 0])
    part = Keys(0, whole.epochs_B[order], whole.ids_B[order], step=99)
    assert torch.equal(part.uniform("mask", 50), whole.uniform("mask", 50)[order])
    assert torch.equal(part.normal("noise", 50), whole.normal("noise", 50)[order])


def test_positions_may_be_given() -> None:
    whole = keys(4).uniform("mask", 64)
    positions_BN = torch.tensor([[5, 9], [63, 0], [1, 1], [2, 60]], dtype=torch.int32)
    assert torch.equal(keys(4).uniform("mask", positions_BN), whole.gather(1, positions_BN.long()))
    assert torch.equal(keys(4).uniform("mask", torch.tensor([[8, 9]])), whole[:, 8:10])


def test_every_part_of_a_key_matters() -> None:
    base = keys(3).uniform("mask", 64)
    others = [keys(3, seed=1), keys(3, epoch=1), keys(3, epoch=-1)]
    draws = [other.uniform("mask", 64) for other in others] + [keys(3).uniform("mask2", 64), base.roll(1, 0)]
    for other in draws:
        assert (other == base).float().mean() < 0.01
    assert torch.equal(keys(3, step=4).uniform("mask", 64), base), "a step keys only what a batch shares"
    assert not torch.equal(keys(3, step=4).shared("mask", 64), keys(3).shared("mask", 64))


def test_shared_is_the_same_for_each_micro_batch() -> None:
    zeros_B = torch.zeros(8, dtype=torch.int64)
    batch = Batch({}, torch.arange(8), zeros_B, zeros_B, zeros_B)
    whole = keys_for(5, batch, 7).shared("negatives", 32)
    parts = [keys_for(5, part, 7).shared("negatives", 32) for part in batch.split(3)]
    assert len(parts) == 3
    for part in parts:
        assert torch.equal(part, whole)


def test_windows_of_one_document_have_their_own_draws() -> None:
    zeros_B, starts_B = torch.zeros(3, dtype=torch.int64), torch.tensor([0, 256, 512])
    windows = keys_for(5, Batch({}, zeros_B + 77, zeros_B, starts_B, zeros_B), 7).uniform("mask", 64)
    assert torch.equal(windows[0], Keys(5, zeros_B[:1], zeros_B[:1] + 77).uniform("mask", 64)[0])
    assert len({tuple(row) for row in windows.tolist()}) == 3


def test_nothing_given_is_changed() -> None:
    given = keys(6)
    ids, epochs = given.ids_B.clone(), given.epochs_B.clone()
    positions = torch.arange(9)[None]
    given.uniform("a", positions)
    given.normal("a", 9)
    assert torch.equal(given.ids_B, ids)
    assert torch.equal(given.epochs_B, epochs)
    assert torch.equal(positions, torch.arange(9)[None])


@pytest.mark.parametrize("axis", ["positions", "examples", "epochs", "names", "shared", "rows"])
def test_draws_are_uniform_along_every_axis(axis: str) -> None:
    num = 20_000
    ids = torch.zeros(num, dtype=torch.int64)
    draws = {
        "positions": lambda: keys(1).uniform("u", num)[0],
        "examples": lambda: keys(num).uniform("u", 1)[:, 0],
        "epochs": lambda: Keys(0, torch.arange(num), ids).uniform("u", 1)[:, 0],
        "names": lambda: torch.cat([keys(1).uniform(f"u{k}", 1)[0] for k in range(2000)]),
        "shared": lambda: keys(1).shared("u", num),
        "rows": lambda: torch.from_numpy(hash_rows(0, "u", np.arange(num))),
    }[axis]().double()
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    assert stats.kstest(draws.numpy(), "uniform").pvalue > 1e-3
    counts = torch.histc(draws, 100, 0.0, 1.0).numpy()
    assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 4 / len(draws) ** 0.5


def test_normal_draws_have_normal_moments() -> None:
    draws = keys(100).normal("noise", 2000).double().flatten()
    assert abs(draws.mean()) < 0.01
    assert abs(draws.std() - 1.0) < 0.01
    assert abs((draws**3).mean()) < 0.03
    assert abs((draws**4).mean() - 3.0) < 0.06
    assert torch.isfinite(draws).all()
    assert stats.kstest(draws[:20_000].numpy(), "norm").pvalue > 1e-3


def test_a_share_of_hidden_positions_is_as_asked() -> None:
    hidden = keys(64).uniform("hide", 512) < 0.15
    assert abs(hidden.float().mean() - 0.15) < 0.01


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 17, 64, 65, 999, 4096, 4097, 1_000_003])
def test_permute_is_a_permutation(n: int) -> None:
    order = permute(3, 1, np.arange(n), n)
    assert len(order) == n
    assert np.array_equal(np.sort(order), np.arange(n))


def test_permute_needs_no_neighbours() -> None:
    whole = permute(3, 1, np.arange(1001), 1001)
    assert np.array_equal(permute(3, 1, np.array([900, 0, 17]), 1001), whole[[900, 0, 17]])
    assert permute(3, 1, np.zeros(0, dtype=np.int64), 1001).shape == (0,)
    assert (permute(3, 2, np.arange(1001), 1001) == whole).mean() < 0.01
    assert (permute(4, 1, np.arange(1001), 1001) == whole).mean() < 0.01


def test_permute_sends_every_place_everywhere() -> None:
    counts = np.zeros((20, 20))
    for epoch in range(2000):
        counts[np.arange(20), permute(0, epoch, np.arange(20), 20)] += 1
    assert stats.chisquare(counts.ravel(), ddof=400 - 1 - 361).pvalue > 1e-4


def mixed(z: int) -> int:
    """Splitmix64's finaliser on Python's integers, which cannot overflow."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def test_draws_follow_the_formula() -> None:
    given = keys(3, seed=11, epoch=-1)
    for row, example in enumerate(given.ids_B.tolist()):
        key = mixed((example % 2**64) ^ fold(11, "example", "mask"))
        key = mixed((key - 0x94D049BB133111EB) % 2**64)
        expected = [(mixed((key + at * 0x9E3779B97F4A7C15) % 2**64) >> 40) / 2**24 for at in range(20)]
        assert given.uniform("mask", 20)[row].tolist() == expected


def test_golden_values() -> None:
    assert fold(0) == 3877483726552662742
    assert fold(7, "mask", 3) == 2403967726361869003
    assert keys(2).uniform("mask", 3).tolist() == [
        [0.7585427761077881, 0.5411540269851685, 0.4677795171737671],
        [0.6195398569107056, 0.7994744777679443, 0.18259286880493164],
    ]
    assert keys(2).shared("mask", 3).tolist() == [0.6794123649597168, 0.9255264401435852, 0.6994383931159973]
    expected = [-0.7044624090194702, -0.858060359954834, -0.45793625712394714, 0.41516372561454773]
    assert keys(2).normal("mask", 2).flatten().tolist() == pytest.approx(expected, abs=1e-5)
    rows = [0.6067134192744711, 0.5872998324722071, 0.7475230135053882]
    assert hash_rows(7, "split", np.array([0, 1, -1])).tolist() == rows
    assert permute(7, 2, np.arange(10), 10).tolist() == [7, 5, 3, 1, 8, 2, 9, 6, 0, 4]


def test_fold_tells_places_apart() -> None:
    seen = {fold(s, *where) for s in range(10) for where in ((), (1,), ("1",), (1, 1), (11,), ("a", "b"), ("ab",))}
    assert len(seen) == 70
    assert all(0 <= value < 1 << 63 for value in seen)


def test_draws_are_fast() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    given = keys(64)
    best = 0.0
    for _ in range(15):
        start = time.perf_counter()
        given.uniform("mask", 512)
        best = max(best, 64 * 512 / (time.perf_counter() - start))
    torch.set_num_threads(threads)
    assert best > 1e7, f"{best / 1e6:.1f} million draws a second; about 40 when the machine is free"
