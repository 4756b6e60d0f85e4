"""Arrays as images or vectors: NumPy in memory, .npy, .npz, and the IDX files of MNIST and its kin."""

from __future__ import annotations

import math
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.data.columns import label_name, rows_of_tables
from seedbed.data.files import Found, bare_name, chunks, reason_of
from seedbed.data.folders import refuse_columns
from seedbed.data.rows import SPLIT_WORDS, Quarantined, Row, Unreadable, number, settle_splits, split_word
from seedbed.data.tables import from_columns

SUFFIXES = frozenset({".npy", ".npz"})
MAX_ARRAY_BYTES = 8 << 30
_IDX = re.compile(r"(.*)idx[1-4]-ubyte", re.IGNORECASE)
IMAGE_NAMES, LABEL_NAMES = ("images", "image", "x"), ("labels", "label", "y")
_VECTOR_NAMES = ("vectors", "features")
_SPLIT_NAMES, _GROUP_NAMES = ("split", "splits"), ("group", "groups")


class Arrays(NamedTuple):
    """Images or vectors and what belongs to each of them; None where nothing does."""

    images: np.ndarray
    labels: Sequence[object] | None = None
    splits: Sequence[object] | None = None
    groups: Sequence[object] | None = None


def rows_of_mapping(
    data: Mapping[str, object], name: str, settings: Settings, understood: list[str]
) -> tuple[str, Sequence[Row], list[Quarantined]]:
    """Rows of a dictionary of columns, which holds images or vectors if a column is called so.

    Returns:
        modality, rows, and what could not be used.
    """
    lower = {key.lower(): value for key, value in data.items()}

    def pick(names: Sequence[str]) -> np.ndarray | None:
        return next((np.asarray(lower[key]) for key in names if lower.get(key) is not None), None)

    vectors = pick(_VECTOR_NAMES)
    images = pick(IMAGE_NAMES) if vectors is None else vectors
    if images is None or images.dtype.kind in "OUS":
        columns = {key: np.asarray(value, object).tolist() for key, value in data.items() if value is not None}
        return "text", *rows_of_tables([from_columns(columns, name)], settings, understood)
    labels = next((lower[key] for key in LABEL_NAMES if lower.get(key) is not None), None)
    beside = (_listed(pick(names)) for names in (_SPLIT_NAMES, _GROUP_NAMES))
    arrays = Arrays(images, None if labels is None else _label_cells(labels, understood), *beside)
    if settings.label is not None and settings.label.lower() not in lower:
        refuse_columns(settings, "arrays called " + ", ".join(data))
    return *rows_of_arrays(arrays, name, understood, vectors=vectors is not None), []


def _label_cells(labels: Any, understood: list[str]) -> Sequence[object]:
    """One label an item; a matrix of 0 and 1 says of each column whether it is in the item's set."""
    if isinstance(labels, np.ndarray) and labels.ndim == 2 and np.isin(labels, (0, 1)).all():
        understood.append(f"labels of {len(labels):,} x {labels.shape[1]}: sets, a column for each name")
        return [np.flatnonzero(row).tolist() for row in labels]
    cells: list[object] = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    return cells


def _listed(values: np.ndarray | None) -> Sequence[object] | None:
    return None if values is None else values.tolist()


def rows_of_arrays(arrays: Arrays, name: str, understood: list[str], *, vectors: bool = False) -> tuple[str, list[Row]]:
    """A row for each image or vector of an array.

    Args:
        arrays: images in (items, rows, columns), also with channels last or first, or (items, side * side); or vectors
            in (items, values).
        name: what keys begin with.
        understood: receives how the array was read.
        vectors: whether they are vectors even if they could be square images.

    Returns:
        modality and rows.

    Raises:
        DataError: shapes that do not fit.
    """
    flat = arrays.images.ndim == 2 and math.isqrt(arrays.images.shape[1]) ** 2 != arrays.images.shape[1]
    modality = "vector" if vectors or flat else "image"
    pixels_icyx = (_vectors if modality == "vector" else _pixels)(arrays.images, understood)
    for what, values in (("labels", arrays.labels), ("splits", arrays.splits), ("groups", arrays.groups)):
        if values is not None and len(values) != len(pixels_icyx):
            raise DataError(
                f"There are not as many {what} as {modality}s.",
                found=f"{len(values):,} {what}, {len(pixels_icyx):,} {modality}s",
                fix=f"Give one of the {what} for each {modality}; None where there is none.",
            )
    size = len(pixels_icyx)
    labels = _labels(arrays.labels, name, understood) if arrays.labels is not None else [None] * size
    words = [SPLIT_WORDS.get(str(word).strip().lower()) for word in arrays.splits or [None] * size]
    settled = settle_splits(words, understood)
    groups = [None if group is None else str(group) for group in arrays.groups or [None] * size]
    rows = [Row(f"{name}:{at + 1}", pixels_icyx[at], labels[at], settled[words[at]], groups[at]) for at in range(size)]
    return modality, rows


def _labels(values: Sequence[object], name: str, understood: list[str]) -> list[str | None]:
    names = [label_name(value, f"{name}:{at}") for at, value in enumerate(values, 1)]
    if "-1" in names and not {*names} <= {"-1", "0", "1", None}:
        understood.append("label -1 stands for no label")
        names = [None if label == "-1" else label for label in names]
    return names


def _vectors(values: np.ndarray, understood: list[str]) -> np.ndarray:
    """float32 in (items, values, 1, 1)."""
    if values.dtype.kind not in "buif" or values.ndim != 2:
        raise DataError(
            "The array does not hold vectors of numbers.",
            found=f"{' x '.join(map(str, values.shape))} of dtype {values.dtype}",
            fix="Give numbers in (items, values).",
        )
    understood.append(f"array of {' x '.join(map(str, values.shape))}: each row a vector")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and its row is set aside
        return np.ascontiguousarray(values, np.float32)[:, :, None, None]


def _pixels(images: np.ndarray, understood: list[str]) -> np.ndarray:
    """uint8 in (items, channels, rows, columns)."""
    if images.dtype.kind not in "buif":
        raise DataError(
            "The array does not hold pixels.",
            found=f"dtype {images.dtype}",
            fix="Give numbers: uint8, or floats in 0..1.",
        )
    shape = " x ".join(map(str, images.shape))
    if images.ndim == 2 and math.isqrt(images.shape[1]) ** 2 == images.shape[1] and images.shape[1]:
        side = math.isqrt(images.shape[1])
        images = images.reshape(-1, 1, side, side)
        understood.append(f"array of {shape}: each row read as {side} x {side} grey pixels")
    elif images.ndim == 3:
        images = images[:, None]
        understood.append(f"array of {shape}: grey images")
    elif images.ndim == 4 and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
        understood.append(f"array of {shape}: images with channels last")
    elif images.ndim == 4 and images.shape[1] in (1, 3):
        understood.append(f"array of {shape}: images with channels first")
    else:
        raise DataError(
            "The shape of the array is not that of images.",
            found=shape,
            cause="Read are (items, rows, columns), with 1 or 3 channels last or first, and (items, values).",
            fix="Reshape the array.",
        )
    return np.ascontiguousarray(_to_bytes(images, understood))


def _to_bytes(images: np.ndarray, understood: list[str]) -> np.ndarray:
    if images.dtype == np.uint8 or not images.size:
        return images.astype(np.uint8, copy=False)
    if not np.isfinite(images).all():
        raise DataError(
            "Some pixels are not finite.",
            found=f"{int((~np.isfinite(images)).sum()):,} NaN or infinite values",
            fix="Replace them, or leave these images out.",
        )
    low, high = min(0.0, float(images.min())), float(images.max())
    if images.dtype.kind in "ui" and low >= 0 and 64 < high <= 255:
        return images.astype(np.uint8)
    understood.append(f"pixel values {low:g} to {high:g} scaled to 0 to 255")
    scale = 255 / (high - low) if high > low else 0.0
    return np.rint((images - low) * scale).astype(np.uint8)


def is_array(path: Path) -> bool:
    """Whether a file, by its name, is .npy, .npz or IDX."""
    return path.suffix.lower() in SUFFIXES or bool(_IDX.fullmatch(bare_name(path)))


def rows_of_files(
    files: Sequence[Found], settings: Settings, understood: list[str]
) -> tuple[str, Sequence[Row], list[Quarantined]]:
    """Rows of .npy, .npz and IDX files, each file of labels joined with its file of images.

    Raises:
        DataError: a file is damaged or has no partner.
    """
    if len(files) == 1 and files[0].suffix in SUFFIXES:
        return rows_of_mapping(_load(files[0].path), files[0].name, settings, understood)
    refuse_columns(settings, "arrays")
    parts: list[tuple[Found, Arrays]] = []
    labels = {_partner(file.path): file for file in files if "label" in file.base.lower()}
    for file in [file for file in files if "label" not in file.base.lower()]:
        partner = labels.pop(_partner(file.path), None)
        is_idx = _IDX.fullmatch(bare_name(file.path))
        images = read_idx(file.path) if is_idx else np.asarray(_load(file.path).get("images"))
        parts.append((file, Arrays(images, read_idx(partner.path).tolist() if partner else None)))
        understood.append(
            f"{file.name}: {number(len(images), 'image')}, "
            + (f"labels in {partner.name}" if partner else "without labels")
        )
    if labels:
        lonely = next(iter(labels.values()))
        raise DataError(
            f"{lonely.name}: labels without images.",
            found="No file of images has a name that goes with it.",
            fix="Put the file of images beside it, or take the labels away.",
        )
    settled = settle_splits((_word(file.path) for file, _ in parts), understood)
    rows: list[Row] = []
    modality = ""
    for file, arrays in parts:
        split = settled[_word(file.path)]
        found, fresh = rows_of_arrays(arrays, file.name, understood if not rows else [])
        if modality not in ("", found):
            raise DataError(
                f"{file.name}: {found}s among {modality}s.",
                cause="One model reads one kind of data.",
                fix="Give the files of one kind alone.",
            )
        modality = found
        rows.extend(Row(row.key, row.raw, row.label, split) for row in fresh)
    return modality, rows, []


def _partner(path: Path) -> str:
    match = _IDX.fullmatch(bare_name(path))
    return re.sub("images?|labels?", "", match[1] if match else path.stem, flags=re.IGNORECASE).strip("-_.").lower()


def _word(path: Path) -> str | None:
    word = split_word(_partner(path))
    return "test" if _partner(path).startswith("t10k") else word


def _load(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as stream:  # numpy leaves a damaged .npz open
            stored = np.load(stream, allow_pickle=False)
            return {"images": stored} if isinstance(stored, np.ndarray) else dict(stored)
    except OSError as error:
        raise DataError(f"{path}: {reason_of(error)}", fix="Check the file and its permissions.") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        pickled = "pickle" in str(error).lower()
        cause = "Arrays of Python objects are pickles, which can run programs, and are never opened." if pickled else ""
        raise DataError(
            f"{path}: not a sound array file.",
            found=str(error).splitlines()[0][:200],
            cause=cause,
            fix="Save it again with numpy.save or numpy.savez, as numbers.",
        ) from error


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file of unsigned bytes.

    Raises:
        DataError: no IDX, of another type, cut off, or larger than its header says.

    Source: the file format section of MNIST's page (LeCun, Cortes, Burges).
    """
    held = bytearray()
    wanted = 4
    shape: tuple[int, ...] = ()
    try:
        for chunk in chunks(path):
            held += chunk
            if not shape and len(held) >= 4:
                shape = _idx_shape(bytes(held[:20]))
                wanted = 4 + 4 * len(shape) + math.prod(shape)
            if len(held) > wanted:
                raise Unreadable(f"more bytes than the {wanted:,} its header tells of")
    except Unreadable as error:
        raise DataError(f"{path}: {error}", fix="Fetch the file again, or give another.") from error
    if len(held) < wanted or not shape:
        raise DataError(
            f"{path}: cut off.",
            found=f"{len(held):,} bytes of {wanted:,}",
            cause="The file was probably not copied or downloaded to its end.",
            fix="Fetch it again.",
        )
    return np.frombuffer(held, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def _idx_shape(head: bytes) -> tuple[int, ...]:
    zero, kind, num_axes = struct.unpack(">HBB", head[:4])
    if zero or kind != 0x08 or not 1 <= num_axes <= 4 or len(head) < 4 + 4 * num_axes:
        raise Unreadable(f"no IDX file of unsigned bytes: it begins with {head[:4].hex(' ')}")
    shape = struct.unpack(f">{num_axes}I", head[4 : 4 + 4 * num_axes])
    if math.prod(shape) > MAX_ARRAY_BYTES:
        raise Unreadable(f"its header speaks of {' x '.join(map(str, shape))} bytes")
    return shape
