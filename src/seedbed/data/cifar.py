"""CIFAR-10 and CIFAR-100 in their binary form.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seedbed.core.errors import DataError
from seedbed.data.arrays import MAX_ARRAY_BYTES
from seedbed.data.files import Found, bare_name, chunks, lines
from seedbed.data.rows import Row, Unreadable, listed, number, settle_splits, split_word

SIDE = 32
_PIXELS = 3 * SIDE * SIDE
_TEN = re.compile(r"(data_batch_\d+|test_batch)\.bin", re.IGNORECASE)
_HUNDRED = re.compile(r"(train|test)\.bin", re.IGNORECASE)
_PYTHON = re.compile(r"data_batch_\d+|test_batch|batches\.meta|meta|train|test")
NAMES = ("batches.meta.txt", "fine_label_names.txt", "coarse_label_names.txt")


def is_cifar(path: Path) -> bool:
    """Whether a file is a binary batch: by its name, and for CIFAR-100, whose names are common, by its size too."""
    name = bare_name(path)
    if _TEN.fullmatch(name):
        return True
    try:
        return bool(_HUNDRED.fullmatch(name)) and path.stat().st_size % (_PIXELS + 2) == 0
    except OSError:
        return False


def is_python_batch(path: Path) -> bool:
    """Whether a file, by its name, is a batch of the Python version, which is a pickle."""
    return bool(_PYTHON.fullmatch(path.name))


def rows_of_batches(batches: Sequence[Found], others: Sequence[Found], understood: list[str]) -> list[Row]:
    """A row for each image; the files called test are the test split.

    Args:
        batches: files for which `is_cifar` holds.
        others: the files beside them, with the names of the classes.
        understood: receives what was read.

    Raises:
        DataError: a batch is damaged, or holds a class that has no name.
    """
    names = {file.base.lower(): file for file in others if file.base.lower() in NAMES}
    settled = settle_splits((_word(file) for file in batches), understood)
    rows: list[Row] = []
    for file in batches:
        labels = 1 if _TEN.fullmatch(bare_name(file.path)) else 2
        records = _records(file, labels + _PIXELS)
        classes = _names(names.get(NAMES[labels - 1]))
        numbers = records[:, labels - 1]
        if classes and int(numbers.max(initial=0)) >= len(classes):
            raise DataError(
                f"{file.name}: it holds class {numbers.max()}.",
                found=f"{number(len(classes), 'name')}: {listed(classes, 4)}",
                fix="Fetch the files again, or take the file of names away.",
            )
        pixels_ICYX = records[:, labels:].reshape(-1, 3, SIDE, SIDE)
        told = [classes[at] if classes else str(at) for at in numbers.tolist()]
        rows += [
            Row(f"{file.name}:{at + 1}", pixels_ICYX[at], label, settled[_word(file)]) for at, label in enumerate(told)
        ]
        understood.append(
            f"{file.name}: CIFAR-{10 if labels == 1 else 100}, {number(len(told), 'image')}, "
            + ("classes by their names" if classes else "classes by their numbers")
        )
    return rows


def _word(file: Found) -> str | None:
    return split_word(re.sub(r"^data_batch.*", "train", file.base.split(".")[0].lower()).replace("_batch", ""))


def _records(file: Found, size: int) -> np.ndarray:
    held = bytearray()
    try:
        for chunk in chunks(file.path):
            held += chunk
            if len(held) > MAX_ARRAY_BYTES:
                raise Unreadable(f"more than {MAX_ARRAY_BYTES:,} bytes")
        if not held or len(held) % size:
            raise Unreadable(f"{len(held):,} bytes are no whole number of images of {size:,} bytes")
    except Unreadable as error:
        raise DataError(f"{file.name}: {error}", found="a batch of CIFAR by its name", fix="Fetch it again.") from error
    return np.frombuffer(bytes(held), np.uint8).reshape(-1, size)


def _names(file: Found | None) -> list[str]:
    if file is None:
        return []
    try:
        found = [line.data.decode("utf-8", "replace").strip() for line in lines(file.path)]
    except Unreadable:
        return []
    return [name for name in found if name]
