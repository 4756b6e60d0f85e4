"""Randomness as a function of where it is used: counter-based hashing, elementwise and vectorised.

A draw depends on (seed, epoch, example id, name, position) and on nothing else, so masks and augmentation are tensor
operations over a batch and yet do not know which batch, micro-batch, worker or rank they are made in. All arithmetic
is on int64 with masked shifts, because torch's uint64 is patchy; products wrap modulo 2**64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seedbed.core.hashing import FIRST, GAMMA, SECOND, fold
from seedbed.core.types import Batch


def _signed(value: int) -> int:
    """The int64 with the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _mix_(z: Tensor) -> Tensor:
    """Splitmix64's finaliser, in place, on int64 with logical shifts."""
    for shift, factor in ((30, FIRST), (27, SECOND)):
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
        key_B = _mix_(key_B + self.epochs_B * _signed(SECOND))
        if isinstance(positions, int):
            positions = torch.arange(positions, device=key_B.device)[None]
        return _mix_(key_B[:, None] + positions.to(torch.int64) * _signed(GAMMA))

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
        counter = torch.arange(n, device=self.ids_B.device) * _signed(GAMMA)
        return _unit(_mix_(counter + fold(self.seed, "shared", name, self.step)), 40)


def keys_for(seed: int, batch: Batch, step: int) -> Keys:
    """The keys of a batch's examples at a step; windows of one document are different examples."""
    return Keys(seed, batch.epochs_B, batch.ids_B + batch.starts_B * _signed(FIRST), step)
