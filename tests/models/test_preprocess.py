"""Images are prepared for a checkpoint as its own preprocessor_config.json asks for, to the last pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seedbed.core.config import resolve
from seedbed.core.errors import DataError, SeedbedError, UsageError
from seedbed.data.decode_image import fit
from seedbed.models.preprocess import read_preprocess
from tests.models.checkpoints import save_preprocessor

SIZES = [(40, 40), (37, 91), (120, 50), (16, 16), (9, 300), (28, 28)]
CONVNEXT = {"image_processor_type": "ConvNextImageProcessor"}
WAYS: dict[str, dict[str, Any]] = {
    "ViTImageProcessorPil": {},
    "ViTImageProcessorPil bicubic": {"resample": 3, "size": {"height": 24, "width": 24}},
    "ConvNextImageProcessorPil": {**CONVNEXT, "size": {"shortest_edge": 28}, "crop_pct": 0.875, "resample": 3},
    "ConvNextImageProcessorPil whole": {**CONVNEXT, "size": {"shortest_edge": 384}, "resample": 3},
    "BitImageProcessorPil": {
        "image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 32}, "do_center_crop": True,
        "crop_size": {"height": 28, "width": 28}, "resample": 2, "do_convert_rgb": False,
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
def test_pixels_are_those_of_transformers(way: str, tmp_path: Path) -> None:
    import transformers

    save_preprocessor(tmp_path, **WAYS[way])
    theirs = getattr(transformers, way.split()[0]).from_pretrained(tmp_path)
    wants = read_preprocess(tmp_path / "preprocessor_config.json")
    settings = resolve([("planner", {"data": wants.data_options()})]).settings
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (wants.mean, wants.std))
    draw = np.random.default_rng(0)
    for height, width in SIZES:
        image = draw.integers(0, 256, (3, height, width), dtype=np.uint8)
        ours = fit(image, (3, wants.side, wants.side), settings)
        expected = theirs(image, input_data_format="channels_first", return_tensors="pt")["pixel_values"][0]
        found = torch.from_numpy((ours * np.float32(wants.scale) - mean) / std)
        assert float((found - expected).abs().max()) <= 1e-5, (height, width)


REFUSED: dict[str, tuple[dict[str, Any], type[SeedbedError], str]] = {
    "no square": ({"size": {"height": 16, "width": 24}}, UsageError, "images of the size"),
    "no size": ({"size": None}, UsageError, "images of the size None"),
    "huge": ({"size": 1 << 30}, UsageError, "images of the size"),
    "unknown filter": ({"resample": 9}, UsageError, "its way to resize"),
    "crop": ({**CONVNEXT, "size": 28, "crop_pct": 7}, UsageError, "its way to resize"),
    "not resized": ({"do_resize": False}, UsageError, "its way to resize"),
    "no mean": ({"image_mean": None}, DataError, "image_mean is None"),
    "words": ({"image_std": ["a"]}, DataError, "image_std is"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_followed_is_refused(fault: str, tmp_path: Path) -> None:
    told, kind, words = REFUSED[fault]
    save_preprocessor(tmp_path, **told)
    with pytest.raises(kind, match=words) as caught:
        read_preprocess(tmp_path / "preprocessor_config.json")
    assert caught.value.fix


def test_a_border_is_cut_off_only_from_what_was_made_larger() -> None:
    with pytest.raises(UsageError, match="only with image_fit = shorter"):
        resolve([("flag", {"data": {"image_crop": 0.9}})])
    assert resolve([("flag", {"data": {"image_crop": 0.9, "image_fit": "shorter"}})]).settings.data.image_crop == 0.9


def test_one_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"preprocessor_config\.json is missing"):
        read_preprocess(tmp_path / "preprocessor_config.json")


def test_without_normalisation(tmp_path: Path) -> None:
    save_preprocessor(tmp_path, do_normalize=False, do_rescale=False, size=16)
    wants = read_preprocess(tmp_path / "preprocessor_config.json")
    assert (wants.side, wants.scale, wants.mean, wants.std) == (16, 1.0, (0.0,) * 3, (1.0,) * 3)
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["size"] == 16
