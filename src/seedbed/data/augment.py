"""Augmentation of images as tensor operations over a whole batch, keyed by example and epoch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seedbed.core.rng import Keys
from seedbed.core.types import Moment

_CLOSEST, _FURTHEST = 0.75, 1.1
_SHIFT = 0.125
_LIGHT = 0.2


def augment(values: Tensor, keep: Tensor, at: Moment, light: float = _LIGHT) -> Tensor:
    """Crop, mirror and relight images while training; leave them alone when scoring.

    Only colour images are mirrored: digits and letters, which are grey, would become others.

    Args:
        values: pixels_BCYX, uint8 or floating point in 0..1.
        keep: keep_B.
        at: keys and whether this is training.
        light: by how much brightness and contrast change, see `relight`.

    Returns:
        pixels_BCYX, float32 in 0..1 while training.
    """
    if not at.training:
        return values
    pixels_BCYX = crop(unit(values), at.keys)
    if pixels_BCYX.shape[1] == 3:
        pixels_BCYX = mirror(pixels_BCYX, at.keys)
    return relight(pixels_BCYX, at.keys, light)


def unit(values: Tensor) -> Tensor:
    """Pixels as float32 in 0..1."""
    return values.to(torch.float32) / 255.0 if values.dtype == torch.uint8 else values


def crop(pixels_BCYX: Tensor, keys: Keys) -> Tensor:
    """A window of each image, resized to its full size.

    Its sides are 0.75 to 1.1 of the image's, its centre is off by up to an eighth; outside the image, its edge goes on.
    Built from elementwise operations, so that an image's window does not depend on the others in the batch.
    """
    num, _, height, width = pixels_BCYX.shape
    draws_BN = keys.uniform("crop", 3)
    side_B = _CLOSEST + (_FURTHEST - _CLOSEST) * draws_BN[:, 0]
    shift_BN = (2.0 * draws_BN[:, 1:] - 1.0) * 2.0 * _SHIFT
    across_BX = _centres(width, pixels_BCYX) * side_B[:, None] + shift_BN[:, :1]
    down_BY = _centres(height, pixels_BCYX) * side_B[:, None] + shift_BN[:, 1:]
    grid = torch.stack(
        [across_BX[:, None, :].expand(num, height, width), down_BY[:, :, None].expand(num, height, width)], dim=3
    )
    return functional.grid_sample(pixels_BCYX, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _centres(size: int, like: Tensor) -> Tensor:
    """Centres of pixels along one side, where the image reaches from -1 to 1; float32 (1, size)."""
    return ((2 * torch.arange(size, device=like.device) + 1) / size - 1.0)[None]


def mirror(pixels_BCYX: Tensor, keys: Keys) -> Tensor:
    """Swap left and right in half of the images."""
    swapped_B = keys.uniform("mirror", 1)[:, 0] < 0.5
    return torch.where(swapped_B[:, None, None, None], pixels_BCYX.flip(3), pixels_BCYX)


def relight(pixels_BCYX: Tensor, keys: Keys, light: float = _LIGHT) -> Tensor:
    """Change brightness by a factor of 1 - light to 1 + light, then contrast about each image's mean by another."""
    factors_BN = 1.0 + light * (2.0 * keys.uniform("light", 2) - 1.0)
    bright_BCYX = pixels_BCYX * factors_BN[:, 0, None, None, None]
    mean_B = bright_BCYX.mean((1, 2, 3), keepdim=True)
    return (mean_B + (bright_BCYX - mean_B) * factors_BN[:, 1, None, None, None]).clamp(0.0, 1.0)
