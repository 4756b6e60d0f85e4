"""Keyed hashes of places and of rows, in Python and NumPy alone: what reads and splits data needs no torch.

What draws on tensors, by the same constants, is in `rng`.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB
_ROUNDS = 8


def fold(seed: int, *where: int | str) -> int:
    """Hash a seed and a place into 63 bits, the same on every platform and in every process."""
    parts = [f"i{part};" if isinstance(part, int) else f"s{len(part)}:{part};" for part in (seed, *where)]
    digest = hashlib.blake2b("".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _mix_rows(z: np.ndarray) -> np.ndarray:
    """Splitmix64's finaliser on uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(SECOND)
    return z ^ (z >> np.uint64(31))


def hash_rows(seed: int, name: str, ids: np.ndarray) -> np.ndarray:
    """Uniform draws in [0, 1), float64, one per 64-bit id: what splits and subsets are made with."""
    bits = np.ascontiguousarray(ids).astype(np.int64, copy=False).view(np.uint64) ^ np.uint64(fold(seed, "rows", name))
    return (_mix_rows(_mix_rows(bits) + np.uint64(GAMMA)) >> np.uint64(11)) * 2.0**-53


@functools.lru_cache(maxsize=64)
def _round_keys(seed: int, epoch: int) -> tuple[np.uint64, ...]:
    return tuple(np.uint64(fold(seed, "order", epoch, turn)) for turn in range(_ROUNDS))


def permute(seed: int, epoch: int, positions: np.ndarray, n: int) -> np.ndarray:
    """Where a keyed permutation of range(n) sends positions, without building it.

    An alternating Feistel network over the smallest power of two that holds n; what falls outside walks on along its
    cycle until it is back inside, which takes less than two rounds on average.

    Args:
        seed, epoch: the key.
        positions: integers in 0..n-1.
        n: size of the permuted range.
    Source: Black and Rogaway, Ciphers with arbitrary finite domains, 2002, "generalized Feistel" with cycle walking.
    """
    bits = max(2, (n - 1).bit_length())
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    keys = _round_keys(seed, epoch)
    values = np.array(positions, dtype=np.uint64)
    outside = np.arange(values.size)
    while outside.size:
        low, high = values[outside] & low_mask, values[outside] >> low_bits
        for turn in range(0, _ROUNDS, 2):
            low ^= _mix_rows(high + keys[turn]) & low_mask
            high ^= _mix_rows(low + keys[turn + 1]) & high_mask
        moved = (high << low_bits) | low
        values[outside] = moved
        outside = outside[moved >= n]
    return values.astype(np.int64)
