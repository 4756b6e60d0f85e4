"""Batches of images."""

from __future__ import annotations

import numpy as np
import torch

from seedbed.data.image import collate


def test_collate_stacks_and_keeps_all() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), np.uint8)
    values, keep = collate(list(images))
    assert values.dtype == torch.uint8 and (values.numpy() == images).all()
    assert keep.tolist() == [True] * 3
