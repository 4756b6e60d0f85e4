"""Files that belong to images rather than being data themselves: boxes, masks, captions, classes, of the same name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from seedbed.core.errors import DataError
from seedbed.data.files import Found
from seedbed.data.rows import number

_SUFFIXES = (".txt", ".json", ".xml", ".cls", ".caption")
_LEAST_SHARE = 0.8  # of the files of one ending that must be called like an image, to belong to images
_MASKS = ("mask", "masks", "segmentation", "segmentationclass", "segmentationobject", "annotations", "labels")
_BOX = re.compile(rb"\s*\d+(\s+-?\d*\.?\d+){4,}\s*")
_HEAD, _TAIL = 1 << 20, 1 << 16
_COCO = (rb'"images"', rb'"annotations"', rb'"categories"')
_NOT_YET = "a task that is not there yet"


class Set(NamedTuple):
    """Files without those that belong to images, and the classes these tell.

    Attributes:
        files: what is left.
        labels: name of an image -> its class, from a .cls file beside it as in WebDataset.
    """

    files: list[Found]
    labels: Mapping[str, str]


def set_aside(files: Sequence[Found], images: Sequence[Found], understood: list[str]) -> Set:
    """Take away what belongs to images, and say what it is.

    Args:
        files: all there are.
        images: those among them that are images.
        understood: receives what was taken away.

    Raises:
        DataError: there is a list of boxes, and no image.
    """
    coco = [file for file in files if file.suffix == ".json" and _is_coco(file)]
    if coco and not images:
        raise DataError(
            f"{coco[0].name}: a list of boxes in the form of COCO.",
            found="images, annotations and categories, but no image beside it",
            cause=f"Finding objects is {_NOT_YET}; images can be pretrained on and classified.",
            fix="Give the folder of the images.",
        )
    away: dict[str, str] = {file.name: f"boxes in the form of COCO: {_NOT_YET}" for file in coco}
    masks = _masks(images)
    away |= {file.name: f"masks of other images: {_NOT_YET}" for file in masks}
    stems: dict[str, list[Found]] = defaultdict(list)
    for image in images:
        if image.name not in away:
            stems[PurePosixPath(image.base).stem].append(image)
    labels: dict[str, str] = {}
    for suffix in _SUFFIXES if stems else ():
        group = [file for file in files if file.suffix == suffix and file.name not in away]
        own = [file for file in group if PurePosixPath(file.base).stem in stems]
        if not own or len(own) < _LEAST_SHARE * len(group):
            continue
        told = "their classes" if suffix == ".cls" else _meaning(own[0])
        away |= {file.name: told for file in own}
        if suffix == ".cls":
            labels |= _classes(own, stems)
    for what in dict.fromkeys(away.values()):
        those = [name for name, why in away.items() if why == what]
        verb = "are" if len(those) > 1 else "is"
        used = "" if what == "their classes" else ", not used"
        understood.append(f"{number(len(those), 'file')} beside the images {verb} {what}{used} (such as {those[0]})")
    return Set([file for file in files if file.name not in away], labels)


def _classes(files: Sequence[Found], stems: Mapping[str, list[Found]]) -> dict[str, str]:
    labels = {}
    for file in files:
        label = _read(file, 1000).decode("utf-8", "replace").strip()
        for image in stems[PurePosixPath(file.base).stem]:
            if image.folders == file.folders and label:
                labels[image.name] = label
    return labels


def _masks(images: Sequence[Found]) -> list[Found]:
    """Images in a folder called like one of masks, each with the name of an image outside of it."""
    inside = [file for file in images if any(folder.lower() in _MASKS for folder in file.folders)]
    outside = {PurePosixPath(file.base).stem for file in images} if not inside else {
        PurePosixPath(file.base).stem for file in set(images) - set(inside)
    }  # fmt: skip
    own = [file for file in inside if PurePosixPath(file.base).stem.removesuffix("_mask") in outside]
    return own if own and len(own) >= _LEAST_SHARE * len(inside) else []


def _meaning(file: Found) -> str:
    head = _read(file, 4096)
    if file.suffix == ".xml":
        return f"boxes in the form of Pascal VOC: {_NOT_YET}"
    if file.suffix == ".txt" and _BOX.fullmatch(head.partition(b"\n")[0]):
        return f"boxes in the form of YOLO: {_NOT_YET}"
    if file.suffix == ".json":
        return "descriptions of the image of the same name"
    return "texts of the image of the same name; to read the texts, give a folder without the images"


def _is_coco(file: Found) -> bool:
    try:
        with file.path.open("rb") as stream:
            head = stream.read(_HEAD)
            stream.seek(max(len(head), file.path.stat().st_size - _TAIL))
            text = head + stream.read(_TAIL)
    except OSError:
        return False
    return text.lstrip()[:1] == b"{" and all(word in text for word in _COCO)


def _read(file: Found, size: int) -> bytes:
    try:
        with file.path.open("rb") as stream:
            return stream.read(size)
    except OSError:
        return b""
