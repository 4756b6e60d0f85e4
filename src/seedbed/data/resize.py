"""Ways to bring an image to a working size: our own, and those that checkpoints elsewhere were trained with."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from seedbed.core.settings import DataSettings

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resized(content: np.ndarray, height: int, width: int, settings: DataSettings) -> np.ndarray:
    """An image at another size.

    Args:
        content: uint8 in (channels, rows, columns), 1 or 3 channels.
        height: wanted rows.
        width: wanted columns.
        settings: `image_fit` and `image_resample`, and with image_fit = shorter `image_crop`.
    """
    image = Image.fromarray(content[0] if len(content) == 1 else np.ascontiguousarray(content.transpose(1, 2, 0)))
    how = FILTERS[settings.image_resample]
    if settings.image_fit == "cover":
        image = ImageOps.fit(image, (width, height), how)
    elif settings.image_fit == "stretch":
        image = image.resize((width, height), how)
    else:
        image = _shorter(image, height, width, settings.image_crop, how)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _shorter(image: Image.Image, height: int, width: int, crop: float, how: Image.Resampling) -> Image.Image:
    """The shorter side brought to the wanted one / crop, then the middle cut out.

    Rounding is that of transformers: the longer side is cut off to whole pixels, and so is where the middle begins.
    """
    wanted = int(min(height, width) / crop)
    short, long = sorted(image.size)
    other = int(wanted * long / short)
    image = image.resize((wanted, other) if image.width <= image.height else (other, wanted), how)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
