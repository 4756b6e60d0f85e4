"""Images from files and arrays: bounded decoding, one working size for all, previews."""

from __future__ import annotations

import base64
import io
import statistics
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from seedbed.core.settings import Settings
from seedbed.data.files import reason_of
from seedbed.data.image_traits import is_sideways, say_traits, traits
from seedbed.data.resize import resized
from seedbed.data.rows import Raw, Row, Unreadable

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")  # nothing that runs a program, as EPS does
MAX_PIXELS = 64_000_000
LARGEST_KEPT = 96  # images that all have one shape up to this side are not resized
DEFAULT_SIDE = 64
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_MEASURED = 2000
_PREVIEW_SIDE = 96
_SPARE = 1.5  # a JPEG is decoded at no less than so many times the working size


def sniff(values: Path | Sequence[object]) -> bool:
    """Whether a file, by its name, or values are images."""
    if isinstance(values, Path):
        return values.suffix.lower() in SUFFIXES
    return bool(len(values)) and all(isinstance(value, np.ndarray) and value.ndim in (2, 3) for value in values)


def _open(raw: Raw) -> Image.Image:
    """The header of an image file; no pixel is decoded yet."""
    source = io.BytesIO(raw) if isinstance(raw, bytes) else raw
    assert isinstance(source, Path | io.BytesIO), "an image row holds a path, bytes or pixels"
    try:
        with warnings.catch_warnings():  # Pillow warns of what is refused below
            warnings.simplefilter("ignore")
            image = Image.open(source, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Unreadable(f"larger than {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise Unreadable("no image of a known kind, or damaged in its header") from error
    except OSError as error:
        raise Unreadable(reason_of(error) if error.errno else f"damaged header: {error}") from error
    except (SyntaxError, ValueError, EOFError) as error:
        raise Unreadable(f"damaged header: {error}") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise Unreadable(f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are decoded")
    return image


def measure(row: Row) -> tuple[int, int, int]:
    """Channels, rows and columns, of a file by its header alone.

    Raises:
        Unreadable: with the reason.
    """
    return _look(row)[0]


def _look(row: Row) -> tuple[tuple[int, int, int], list[str]]:
    """The shape of an image and what will be done to it, by its header alone."""
    if isinstance(row.raw, np.ndarray):
        channels, height, width = row.raw.shape
        return (channels, height, width), []
    with _open(row.raw) as image:
        width, height = image.size
        channels = 1 if image.mode in _GREY else 3
        try:
            with warnings.catch_warnings():  # of odd metadata, which are not used
                warnings.simplefilter("ignore")
                turned, found = is_sideways(image), traits(image)
        except Exception as error:  # as in `read`
            raise Unreadable(f"damaged header: {error}") from error
    return (channels, width, height) if turned else (channels, height, width), found


def read(row: Row, settings: Settings, shape: tuple[int, ...] = ()) -> np.ndarray:
    """The pixels of a row: uint8 in (channels, rows, columns), 1 channel for grey, else 3.

    Args:
        row: a path, bytes, or pixels.
        settings: `data.image_fit`.
        shape: the working shape; a JPEG at least three times as large is decoded at 1/2, 1/4 or 1/8 of its size, which
            saves most of the time and all that `fit` would throw away; not where `image_fit` follows another library.

    Raises:
        Unreadable: with the reason.
    """
    if isinstance(row.raw, np.ndarray):
        return row.raw
    with _open(row.raw) as image:
        try:
            with warnings.catch_warnings():  # of odd metadata, which are not used
                warnings.simplefilter("ignore")
                if shape and settings.data.image_fit == "cover":
                    image.draft(None, (round(_SPARE * max(shape[1:])),) * 2)
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                pixels = _pixels(image)
        except MemoryError:
            raise
        except Exception as error:  # decoders of damaged files raise whatever they stumble upon
            raise Unreadable(f"damaged or cut off: {error}") from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _pixels(image: Image.Image) -> np.ndarray:
    """uint8 in (rows, columns) or (rows, columns, 3); what is see-through shows white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        most = float(np.nanmax(values, initial=0))
        scale = 255 / 65535 if most > 255 or image.mode.startswith("I;16") else 255 if 0 < most <= 1 else 1
        return np.clip(np.nan_to_num(values * scale), 0, 255).astype(np.uint8)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert(
            "L" if image.mode in _GREY else "RGB"
        )
    return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))


def fold(content: np.ndarray) -> bytes:
    """What two images must share to be the same: shape and pixels."""
    return repr(content.shape).encode() + content.tobytes()


def rule(content: np.ndarray) -> str | None:
    """The rule that excludes a readable image, or None."""
    return "no pixels" if content.size == 0 else None


def working_shape(rows: Sequence[Row], settings: Settings) -> tuple[tuple[int, ...], str]:
    """One shape for all images, and the sentence that says so.

    Small images of one shape stay as they are; otherwise the side is 64 pixels, or the median shorter side if less.

    Args:
        rows: all of them; an evenly spaced part is measured.
        settings: `data.image_size` overrules the side.

    Returns:
        (channels, rows, columns).
    """
    seen: Counter[tuple[int, int, int]] = Counter()
    done: Counter[str] = Counter()
    sample = rows[:: max(1, len(rows) // _MEASURED)]
    for row in sample:
        try:
            shape, found = _look(row)
        except Unreadable:
            continue  # it will be counted when it is read
        seen[shape] += 1
        done.update(found)
    if not seen:
        return (1, DEFAULT_SIDE, DEFAULT_SIDE), ""
    chosen, told = _chosen_shape(seen, settings)
    return chosen, told + say_traits(done, len(sample), len(rows))


def _chosen_shape(seen: Counter[tuple[int, int, int]], settings: Settings) -> tuple[tuple[int, ...], str]:
    channels = max(shape[0] for shape in seen)
    sides = {shape[1:] for shape in seen}
    height, width = next(iter(sides))
    colour = "grey" if channels == 1 else "colour"
    if settings.data.image_size:
        side = settings.data.image_size
        return (channels, side, side), f"images: {colour}, brought to {side} x {side} pixels as asked"
    if len(sides) == 1 and max(height, width) <= LARGEST_KEPT and height and width:
        return (channels, height, width), f"images: {colour}, all {height} x {width} pixels"
    shorter = statistics.median_low(min(shape[1:]) for shape in seen.elements())
    side = max(8, min(DEFAULT_SIDE, shorter))
    sizes = f"of {len(sides)} sizes" if len(sides) > 1 else f"all {height} x {width} pixels"
    told = f"images: {colour}, {sizes}, brought to {side} x {side} pixels (change it with data.image_size)"
    return (channels, side, side), told


def fit(content: np.ndarray, shape: tuple[int, ...], settings: Settings) -> np.ndarray:
    """Bring an image to the working shape, as `data.image_fit` says: the middle of the longer side is kept, or all."""
    channels, height, width = shape
    # With a border to be cut off, an image of the right size has to grow first.
    if content.shape[1:] != (height, width) or settings.data.image_crop < 1:
        content = resized(content, height, width, settings.data)
    return np.broadcast_to(content, shape) if len(content) < channels else _to_grey(content, channels)


def _to_grey(content: np.ndarray, channels: int) -> np.ndarray:
    if len(content) == channels:
        return content
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's
    return np.rint(np.tensordot(weights, content, 1)).astype(np.uint8)[None]


def pack(contents: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """All images of a data set: uint8 in (items, channels, rows, columns)."""
    packed = np.empty((len(contents), *shape), np.uint8)
    for place, content in enumerate(contents):
        packed[place] = content
    return packed


def profile(items: np.ndarray) -> dict[str, object]:
    """What a planner asks of images: how many, their shape, mean and spread per channel (of pixels in 0..1).

    Args:
        items: uint8 in (items, channels, rows, columns).
    """
    sample = items[:: max(1, len(items) // _MEASURED)].astype(np.float32) / 255
    return {
        "num_items": len(items),
        "shape": tuple(items.shape[1:]),
        "pixels": int(items.size),
        "channel_mean": sample.mean(axis=(0, 2, 3)).tolist(),
        "channel_std": sample.std(axis=(0, 2, 3)).tolist(),
    }


def baseline(items: np.ndarray) -> np.ndarray:
    """What a classic model is given: one row of pixels in 0..1 an image, float32 in (items, pixels)."""
    return (items.reshape(len(items), -1) / np.float32(255)).astype(np.float32)


def preview(raw: np.ndarray) -> str:
    """A small image as HTML with the pixels inside.

    Args:
        raw: uint8 in (channels, rows, columns).
    """
    image = Image.fromarray(raw[0] if len(raw) == 1 else np.ascontiguousarray(raw.transpose(1, 2, 0)))
    factor = _PREVIEW_SIDE / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BICUBIC)
    held = io.BytesIO()
    image.save(held, "PNG")
    data = base64.b64encode(held.getvalue()).decode()
    return f'<img alt="" width="{size[0]}" height="{size[1]}" src="data:image/png;base64,{data}">'
