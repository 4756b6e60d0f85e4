"""Data sets in memory that are asked for one item after another: those of torch, Hugging Face, and the like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.data.arrays import IMAGE_NAMES, LABEL_NAMES, rows_of_mapping
from seedbed.data.columns import rows_of_tables
from seedbed.data.rows import Quarantined, Row, listed, number
from seedbed.data.tables import from_records


@runtime_checkable
class Items(Protocol):
    """What has a length and gives an item for each number below it."""

    def __len__(self) -> int:
        """How many items there are."""

    def __getitem__(self, at: int) -> object:
        """One of them."""


def holds_images(item: object) -> bool:
    """Whether an item is a dictionary with an image in memory."""
    if not isinstance(item, Mapping):
        return False
    named = (value for key, value in item.items() if str(key).lower() in IMAGE_NAMES)
    return any(isinstance(value, np.ndarray | Image.Image) for value in named)


def rows_of_items(
    data: Items, settings: Settings, understood: list[str]
) -> tuple[str, Sequence[Row], list[Quarantined]]:
    """Rows of a data set whose items are dictionaries, pairs of input and label, or inputs.

    Returns:
        modality, rows, and what could not be used.

    Raises:
        DataError: the items are something else, or images of several sizes.
    """
    items = [data[at] for at in range(len(data))]
    understood.append(f"a {type(data).__name__} of {number(len(items), 'item')}")
    records = [_record(item) for item in items]
    image = next((key for key in records[0] if key.lower() in IMAGE_NAMES), None)
    if image is None or isinstance(records[0][image], str | bytes):
        records = [{key: _plain(value) for key, value in record.items()} for record in records]
        return "text", *rows_of_tables([from_records(records, "items")], settings, understood)
    columns: dict[str, object] = {"images": _stacked([record[image] for record in records])}
    label = settings.label or next((key for key in records[0] if key.lower() in LABEL_NAMES), None)
    if label is not None:
        columns["labels"] = [_plain(record.get(label)) for record in records]
    return rows_of_mapping(columns, "items", settings.model_copy(update={"label": None}), understood)


def _record(item: object) -> dict[str, object]:
    """An item as columns: a dictionary is, of a pair the second is the label."""
    if isinstance(item, Mapping):
        return {str(key): value for key, value in item.items()}
    value, *label = item if isinstance(item, tuple | list) and len(item) == 2 else (item,)
    named = {"text" if isinstance(value, str | bytes) else "image": value}
    return {**named, "label": label[0]} if label else named


def _plain(value: object) -> object:
    """A number of numpy or torch as Python's own."""
    if isinstance(value, str | bytes | int | float | None | list | dict):
        return value
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else array.tolist()


def _stacked(images: Sequence[object]) -> np.ndarray:
    arrays = [np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image) for image in images]
    shapes = sorted({" x ".join(map(str, array.shape)) for array in arrays})
    if len(shapes) > 1:
        raise DataError(
            "The images differ in size.",
            found=f"{len(shapes):,} sizes: {listed(shapes, 4)}",
            cause="Images in memory are one array; files may have any size.",
            fix="Resize them, or write them to files and give the folder.",
        )
    return np.stack(arrays)
