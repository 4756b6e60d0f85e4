"""Images for the loader: the reader of `decode_image`, and batches of its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from seedbed.core.types import Padded
from seedbed.data.augment import augment
from seedbed.data.decode_image import baseline, preview, profile, read, sniff

__all__ = ["augment", "baseline", "collate", "preview", "profile", "read", "sniff"]


def collate(items: Sequence[np.ndarray]) -> Padded:
    """Stack images of one shape.

    Args:
        items: uint8 pixels in (channels, rows, columns).

    Returns:
        pixels_BCYX (uint8) and keep_B, all True.
    """
    return Padded(torch.from_numpy(np.stack(items)), torch.ones(len(items), dtype=torch.bool))
