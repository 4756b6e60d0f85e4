"""How a checkpoint wants its images: what preprocessor_config.json says, in the words of our own settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed.core.errors import DataError, UsageError
from seedbed.models.untrusted import read_json_file

# Pillow's numbers of its filters.
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
# What ConvNextImageProcessor, which ResNet uses, does from this size on: the whole image, no middle cut out.
CONVNEXT_WHOLE_FROM = 384


@dataclass(frozen=True)
class Preprocess:
    """From an image of any size to the numbers the network was trained on.

    Attributes:
        side: of the square that is given to the network, in pixels.
        fit: "stretch" brings the whole image to the square; "shorter" brings its shorter side to `side` / `crop` and
            keeps the middle.
        resample: name of Pillow's filter.
        crop: share of the shorter side that is kept.
        scale: what pixels in 0..255 are multiplied with.
        mean, std: what is then subtracted, and divided by, per channel.
    """

    side: int
    fit: str
    resample: str
    crop: float
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def data_options(self) -> dict[str, Any]:
        """The same as options of the data."""
        return {
            "image_size": self.side,
            "image_fit": self.fit,
            "image_resample": self.resample,
            "image_crop": self.crop,
        }


def read_preprocess(path: Path) -> Preprocess:
    """Read a preprocessor_config.json.

    Raises:
        DataError: it is missing, or says nothing that can be followed.
        UsageError: it asks for what is not there, such as images that are no squares.
    """
    told = read_json_file(path, "nobody knows how its images were scaled")
    size = told.get("size")
    kind = str(told.get("image_processor_type") or told.get("feature_extractor_type") or "")
    crop, fit = 1.0, "stretch"
    if told.get("do_center_crop"):
        side, fit = _side(path, told.get("crop_size", size)), "shorter"
        crop = side / (size.get("shortest_edge", side) if isinstance(size, dict) else _side(path, size))
    else:
        side = _side(path, size)
        if kind.startswith("ConvNext") and side < CONVNEXT_WHOLE_FROM:
            crop, fit = float(told.get("crop_pct") or 224 / 256), "shorter"
    resample = told.get("resample", 2)
    if resample not in FILTERS or not 0 < crop <= 1 or not told.get("do_resize", True):
        raise UsageError(
            f"{path}: its way to resize images is not known here.",
            found=f"resample {resample!r}, crop {crop:g}, do_resize {told.get('do_resize', True)}",
            fix="Write a preprocessor_config.json with do_resize, a square size and one of Pillow's filters, 0 to 5.",
        )
    scale = float(told.get("rescale_factor", 1 / 255)) if told.get("do_rescale", True) else 1.0
    normalised = told.get("do_normalize", True)
    mean = _channels(path, told, "image_mean") if normalised else (0.0,) * 3
    std = _channels(path, told, "image_std") if normalised else (1.0,) * 3
    return Preprocess(side, fit, FILTERS[resample], crop, scale, mean, std)


def _side(path: Path, size: object) -> int:
    if isinstance(size, dict):
        sides = {value for name, value in size.items() if name in ("height", "width", "shortest_edge")}
        size = sides.pop() if len(sides) == 1 else size
    if type(size) is not int or not 0 < size <= 4096:
        raise UsageError(
            f"{path}: images of the size {size!r} cannot be made here.",
            cause="The working image is a square.",
            fix='Give a checkpoint for squares: "size": {"height": 224, "width": 224}.',
        )
    return size


def _channels(path: Path, told: dict[str, Any], name: str) -> tuple[float, ...]:
    values = told.get(name)
    if not isinstance(values, list) or not values or not all(isinstance(value, float | int) for value in values):
        raise DataError(
            f"{path}: {name} is {values!r}.",
            cause="A number for each channel is needed to scale images as in training.",
            fix="Copy the checkpoint again, all of its files.",
        )
    return tuple(float(value) for value in values)
