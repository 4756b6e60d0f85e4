"""Weight files of strangers: safetensors that are verified before a byte of them becomes a number.

A safetensors file is its header's length (8 bytes, little-endian), the header (JSON: name -> dtype, shape, offsets) and
the data. A renamed pickle, a cut download or a made-up header is told here in plain words, by place; no file is ever
unpickled.

Source: the format as published with the safetensors library.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from seedbed.core.errors import DataError
from seedbed.core.runs import friendly

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack")
MAX_HEADER_BYTES = 100_000_000
MAX_JSON_BYTES = 100_000_000
# Bits of one number; sub-byte and float8 types hold quantised weights, which cannot be trained further.
BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8}


def read_json_file(path: Path, what: str) -> dict[str, Any]:
    """A JSON object somebody else wrote.

    Args:
        path: the file.
        what: it is needed for, for the message when it is missing.

    Raises:
        DataError: it is missing, too large, or no JSON object.
    """
    try:
        with friendly(path):
            size = path.stat().st_size
            content = path.read_bytes() if size <= MAX_JSON_BYTES else b""
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing.", cause=f"Without it {what}.", fix="Copy the checkpoint again, all of its files."
        ) from error
    if size > MAX_JSON_BYTES:
        raise _bad(path, f"it has {size:,} bytes; at most {MAX_JSON_BYTES:,} are read")
    try:
        obj = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"it is no JSON: {error}") from error
    if not isinstance(obj, dict):
        raise _bad(path, "it is no JSON object")
    return obj


def load_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint in one file or several, each file verified first.

    Args:
        folder: holds model.safetensors, or model.safetensors.index.json and the files it names.

    Raises:
        DataError: there are none, they are pickles, one is damaged, or a name occurs twice.
    """
    tensors: dict[str, Tensor] = {}
    for path in _files(folder):
        verify(path)
        with friendly(path):
            found = safetensors.torch.load_file(path)
        tensors |= found
    return tensors


def _files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        placed = read_json_file(folder / INDEX, "nobody knows which file holds which weight").get("weight_map")
        if not isinstance(placed, dict) or not placed:
            raise _bad(folder / INDEX, "it has no weight_map")
        names = sorted({str(name) for name in placed.values()})
        outside = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
        if outside:
            raise _bad(folder / INDEX, f"it names {outside[0]!r}, which is no safetensors file of this folder")
        absent = [name for name in names if not (folder / name).is_file()]
        if absent:
            raise DataError(
                f"{folder / absent[0]} is missing.",
                found=f"{INDEX} names {len(names)} files, {len(absent)} of them are not there.",
                fix="Copy the checkpoint again, all of its files.",
            )
        return [folder / name for name in names]
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise DataError(
            f"{folder} holds its weights as a pickle, {pickles[0]}, and no safetensors.",
            found=", ".join(pickles[:5]),
            cause="Loading a pickle runs whatever program is in it, so seedbed never does.",
            fix="Where you trust the file, convert it once with transformers: "
            "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER).",
        )
    raise DataError(
        f"{folder} holds no weights.",
        found=f"There is neither {WEIGHTS} nor {INDEX}.",
        fix="Copy the checkpoint again, all of its files.",
    )


def verify(path: Path) -> None:
    """Refuse a safetensors file whose header does not describe exactly the bytes that follow.

    Raises:
        DataError: with what is wrong.
    """
    with friendly(path), path.open("rb") as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise _bad(path, f"its header should have {length:,} bytes, the whole file has {size:,}")
        if length > MAX_HEADER_BYTES:
            raise _bad(path, f"its header has {length:,} bytes; at most {MAX_HEADER_BYTES:,} are read")
        content = file.read(length)
    try:
        header = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"its header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise _bad(path, "its header is no JSON object")
    header.pop("__metadata__", None)
    end = 0
    for low, high, name in sorted(_span(path, name, entry) for name, entry in header.items()):
        if low != end:
            what = "overlaps another" if low < end else "leaves a hole before it"
            raise _bad(path, f"tensor {name!r} {what}: it begins at byte {low:,} where {end:,} is next")
        end = high
    if end != size - 8 - length:
        raise _bad(path, f"its tensors need {end:,} bytes, {size - 8 - length:,} are there")


def _span(path: Path, name: str, entry: object) -> tuple[int, int, str]:
    """Where a tensor begins and ends, by an entry that makes sense."""
    if not isinstance(entry, dict):
        raise _bad(path, f"tensor {name!r} is not described")
    dtype, shape, offsets = entry.get("dtype"), _counts(entry.get("shape")), _counts(entry.get("data_offsets"))
    if dtype not in BITS:
        raise _bad(path, f"tensor {name!r} has the type {dtype!r}; known are {', '.join(BITS)}")
    if shape is None or offsets is None or len(offsets) != 2:
        raise _bad(path, f"tensor {name!r} has no shape and offsets that make sense: {entry!r:.100}")
    needed = math.prod(shape) * BITS[dtype] // 8
    low, high = offsets
    if high - low != needed:
        raise _bad(path, f"tensor {name!r} of {shape} needs {needed:,} bytes, its offsets give {high - low:,}")
    return low, high, name


def _counts(values: object) -> list[int] | None:
    """The values, where they are a list of numbers from 0 on."""
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        return None
    return values


def _bad(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} cannot be used: {why}.",
        cause="It is damaged, cut off, or something else under this name.",
        fix="Copy the checkpoint again from where it came from.",
    )
