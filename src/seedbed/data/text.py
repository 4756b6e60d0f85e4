"""Texts for the loader: the reader of `decode_text`, and batches of its tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seedbed.core.types import Moment, Padded
from seedbed.data.decode_text import baseline, preview, profile, read, sniff

__all__ = ["augment", "baseline", "collate", "preview", "profile", "read", "sniff"]


def collate(items: Sequence[np.ndarray]) -> Padded:
    """Pad token sequences on the right with 0 to the longest of them.

    Args:
        items: token numbers of each example, of any length.

    Returns:
        tokens_BN (int64) and keep_BN.
    """
    lengths = np.array([len(item) for item in items])
    keep_BN = np.arange(max(lengths, default=0)) < lengths[:, None]
    tokens_BN = np.zeros(keep_BN.shape, np.int64)
    if len(items):
        tokens_BN[keep_BN] = np.concatenate(items)
    return Padded(torch.from_numpy(tokens_BN), torch.from_numpy(keep_BN))


def augment(values: Tensor, keep: Tensor, at: Moment) -> Tensor:
    """Texts are not augmented: what an objective hides or drops is its own affair."""
    return values
