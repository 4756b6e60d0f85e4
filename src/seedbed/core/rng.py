"""Randomness as a function of where it is used: counter-based hashing, elementwise and vectorised.

A draw depends on (seed, epoch, example id, name, position) and on nothing else, so masks and augmentation are tensor
operations over a batch and yet do not know which batch, micro-batch, worker or rank they are made in. All arithmetic
is on int64 with masked shifts, because torch's uint64 is patchy; products wrap modulo 2**64.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seedbed.core.types import Batch

_GAMMA = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_ROUNDS = 8


def _signed(value: int) -> int:
    """The int64 with the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


def fold(seed: int, *where: int | str) -> int:
    """Hash a seed and a place into 63 bits, the same on every platform and in every process."""
    parts = [f"i{part};" if isinstance(part, int) else f"s{len(part)}:{part};" for part in (seed, *where)]
    digest = hashlib.blake2b("".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _mix_(z: Tensor) -> Tensor:
    """Splitmix64's finaliser, in place, on int64 with logical shifts."""
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        z ^= (z >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        z *= _signed(factor)
    z ^= (z >> 31).bitwise_and_((1 << 33) - 1)
    return z


def _unit(bits: Tensor, shift: int) -> Tensor:
    """The 24 bits from `shift` on, as float32 in [0, 1): exact on every platform."""
    return (bits >> shift).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)


@dataclass(frozen=True)
class Keys:
    """Draws of a batch's examples; the first k of n draws equal k draws.

    Attributes:
        seed: of the run.
        epochs_B: int64, the epoch of each example.
        ids_B: int64, the content hash of each example.
        step: optimiser step, -1 when scoring; keys only what a whole batch shares.
    """

    seed: int
    epochs_B: Tensor
    ids_B: Tensor
    step: int = -1

    def _bits(self, name: str, positions: int | Tensor) -> Tensor:
        """64 random bits per example and position, int64 (B, N)."""
        key_B = _mix_(self.ids_B ^ fold(self.seed, "example", name))
        key_B = _mix_(key_B + self.epochs_B * _signed(_SECOND))
        if isinstance(positions, int):
            positions = torch.arange(positions, device=key_B.device)[None]
        return _mix_(key_B[:, None] + positions.to(torch.int64) * _signed(_GAMMA))

    def uniform(self, name: str, positions: int | Tensor) -> Tensor:
        """Uniform draws in [0, 1), float32 (B, N).

        Args:
            name: what the draws are for; other names give independent draws.
            positions: N for positions 0..N-1, or an integer tensor (B, N) or (1, N) of positions.
        """
        return _unit(self._bits(name, positions), 40)

    def normal(self, name: str, positions: int | Tensor) -> Tensor:
        """Standard normal draws, float32 (B, N), by Box and Muller; arguments as of `uniform`."""
        bits = self._bits(name, positions)
        radius = _unit(bits, 40).add_(2.0**-24).log_().mul_(-2.0).sqrt_()
        return radius.mul_(_unit(bits, 16).mul_(2.0 * math.pi).cos_())

    def shared(self, name: str, n: int) -> Tensor:
        """Uniform draws in [0, 1) that a whole step shares, float32 (n,): the same for each of its micro-batches."""
        counter = torch.arange(n, device=self.ids_B.device) * _signed(_GAMMA)
        return _unit(_mix_(counter + fold(self.seed, "shared", name, self.step)), 40)


def keys_for(seed: int, batch: Batch, step: int) -> Keys:
    """The keys of a batch's examples at a step; windows of one document are different examples."""
    return Keys(seed, batch.epochs_B, batch.ids_B + batch.starts_B * _signed(_FIRST), step)


def _mix_rows(z: np.ndarray) -> np.ndarray:
    """Splitmix64's finaliser on uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    return z ^ (z >> np.uint64(31))


def hash_rows(seed: int, name: str, ids: np.ndarray) -> np.ndarray:
    """Uniform draws in [0, 1), float64, one per 64-bit id: what splits and subsets are made with."""
    bits = np.ascontiguousarray(ids).astype(np.int64, copy=False).view(np.uint64) ^ np.uint64(fold(seed, "rows", name))
    return (_mix_rows(_mix_rows(bits) + np.uint64(_GAMMA)) >> np.uint64(11)) * 2.0**-53


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
