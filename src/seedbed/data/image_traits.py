"""What is done to an image on its way to 8-bit grey or colour, told by its header: so that it can be said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from PIL import Image

TURNED = "turned upright as their EXIF data say"
FRAMES = "hold several frames, of which the first is taken"
DEEP = "have more than 8 bits a channel, brought to 8"
PRINT = "are in the colours of print (CMYK), brought to RGB"
PALETTE = "have a palette, brought to RGB"
SEE_THROUGH = "are see-through in parts, which are shown white"
_ORIENTATION = 0x0112
_SIDEWAYS = 5  # this and greater orientations swap width and height


@runtime_checkable
class _Frames(Protocol):
    is_animated: bool


def orientation(image: Image.Image) -> int:
    """How an opened image has to be turned, 1 where it need not; no pixel is decoded for it.

    TIFF is turned by Pillow itself. A PNG may tell it behind its pixels; then it is found when they are decoded.
    """
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    told = image.getexif().get(_ORIENTATION, 1)
    return told if isinstance(told, int) and 1 <= told <= 8 else 1


def is_sideways(image: Image.Image) -> bool:
    """Whether width and height of an opened image change places when it is turned."""
    return orientation(image) >= _SIDEWAYS


def traits(image: Image.Image) -> list[str]:
    """What will be done to an opened image, none of it for most."""
    found = [TURNED] if orientation(image) > 1 else []
    if isinstance(image, _Frames) and image.is_animated:
        found.append(FRAMES)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        found.append(DEEP)
    elif image.mode == "CMYK":
        found.append(PRINT)
    elif image.mode in ("P", "PA"):
        found.append(PALETTE)
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        found.append(SEE_THROUGH)
    return found


def say_traits(counts: Mapping[str, int], looked: int, total: int) -> str:
    """A sentence on what is done, "" if nothing is.

    Args:
        counts: trait -> how many of the images looked at have it.
        looked: how many were looked at.
        total: how many there are.
    """
    told = "; ".join(f"{count:,} {trait}" for trait, count in Counter(counts).most_common())
    return (f"; of {looked:,} looked at, {told}" if looked < total else f"; {told}") if told else ""
