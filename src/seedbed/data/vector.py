"""Vectors for the loader: the reader of `decode_vector`, and batches of its values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seedbed.core.types import Moment, Padded
from seedbed.data.decode_vector import baseline, preview, profile, read, sniff

__all__ = ["augment", "baseline", "collate", "preview", "profile", "read", "sniff"]


def collate(items: Sequence[np.ndarray]) -> Padded:
    """Stack vectors of one length.

    Args:
        items: float32 in (values, 1, 1).

    Returns:
        pixels_BCYX (float32) and keep_B, all True.
    """
    return Padded(torch.from_numpy(np.stack(items)), torch.ones(len(items), dtype=torch.bool))


def augment(values: Tensor, keep: Tensor, at: Moment) -> Tensor:
    """Numbers without a known meaning are not changed."""
    return values
