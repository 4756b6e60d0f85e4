"""Augmentation: keyed, independent of the batch, off when scoring, and as large as it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seedbed.core.rng import Keys
from seedbed.core.types import Facts, Moment
from seedbed.data.augment import augment, crop, mirror, relight, unit
from tests.data.making import images_of


def moment(num: int, epoch: int = 0, training: bool = True) -> Moment:
    keys = Keys(0, torch.full((num,), epoch), torch.arange(num) + 100)
    return Moment(keys, 0, 0.0, training, Facts("image"))


def pixels(num: int, channels: int = 3, side: int = 16) -> Tensor:
    return torch.from_numpy(images_of(num, channels, side))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_does_not_know_its_batch(channels: int) -> None:
    values, keep = pixels(12, channels), torch.ones(12, dtype=torch.bool)
    at = moment(12)
    whole = augment(values, keep, at)
    part = torch.tensor([7, 2, 2])
    alone = augment(values[part], keep[part], at._replace(keys=Keys(0, at.keys.epochs_B[part], at.keys.ids_B[part])))
    assert torch.equal(alone, whole[part])
    assert whole.shape == values.shape
    assert whole.dtype == torch.float32
    assert whole.min() >= 0.0
    assert whole.max() <= 1.0


def test_each_epoch_has_its_own() -> None:
    values, keep = pixels(4), torch.ones(4, dtype=torch.bool)
    first, again, second = (augment(values, keep, moment(4, epoch)) for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_scoring_and_its_input_leave_images_alone() -> None:
    values, keep = pixels(4), torch.ones(4, dtype=torch.bool)
    before = values.clone()
    assert torch.equal(augment(values, keep, moment(4, training=False)), before)
    augment(values, keep, moment(4))
    assert torch.equal(values, before)


def test_grey_images_are_not_mirrored() -> None:
    ramp = torch.arange(16).mul(10).to(torch.uint8).expand(64, 1, 16, 16)
    grey = augment(ramp, torch.ones(64, dtype=torch.bool), moment(64))
    assert torch.all(grey[..., -1] > grey[..., 0])
    colour = augment(ramp.expand(64, 3, 16, 16), torch.ones(64, dtype=torch.bool), moment(64))
    mirrored = (colour[..., -1] < colour[..., 0]).all(dim=(1, 2)).float().mean()
    assert 0.25 < mirrored < 0.75


def test_crops_stay_near_and_keep_what_is_flat() -> None:
    flat = torch.full((8, 1, 16, 16), 0.5)
    assert torch.allclose(crop(flat, moment(8).keys), flat)
    ramp = (torch.arange(32) / 31).expand(500, 1, 32, 32)
    middle = crop(ramp, moment(500).keys)[:, 0, 0, 15:17].mean(1)
    assert 0.36 < middle.min() < 0.40
    assert 0.60 < middle.max() < 0.64
    spread = crop(ramp, moment(500).keys)[:, 0, 0, 20] - crop(ramp, moment(500).keys)[:, 0, 0, 12]
    assert (spread / (8 / 31)).min() == pytest.approx(0.75, abs=0.02)
    assert (spread / (8 / 31)).max() == pytest.approx(1.1, abs=0.02)


@pytest.mark.parametrize("light", [0.2, 0.5])
def test_light_changes_by_its_share(light: float) -> None:
    half = torch.full((500, 1, 4, 4), 0.5)
    lit = relight(half, moment(500).keys, light)[:, 0, 0, 0]
    assert lit.min() == pytest.approx(0.5 * (1 - light), abs=0.005)
    assert lit.max() == pytest.approx(0.5 * (1 + light), abs=0.005)
    assert torch.equal(mirror(half, moment(500).keys), half)


def test_unit_scales_bytes_only() -> None:
    assert unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]
    assert unit(torch.tensor([0.25])).tolist() == [0.25]
