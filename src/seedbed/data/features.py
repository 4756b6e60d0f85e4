"""What a schema says of its columns beyond their types: names of classes, and which column holds image files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from seedbed.data.rows import Unreadable
from seedbed.data.tables import Block, Columns, Table

INFO = "dataset_info.json"
_KEY = b"huggingface"
_IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "png")
MAX_INFO_BYTES = 64 << 20
Values = Callable[[Sequence[object]], list[object]]


def declared(table: Table, schema: pa.Schema, folder: Path) -> Table:
    """A table whose columns of classes hold their names, and whose column of images, if any, holds their files.

    Args:
        table: as it was stored.
        schema: of it, with Hugging Face's own features where they were written.
        folder: it lies in; a `dataset_info.json` there counts for columns the schema says nothing of.

    Returns:
        the table; `image` names its column of images.
    """
    features = {**_features_beside(folder), **_features_of(schema)}
    changes: dict[str, Values] = {}
    for column in table.columns:
        feature = features.get(column)
        names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
        if isinstance(names, list) and names:
            changes[column] = _named(names)
    image = _image_column(schema, features)
    if image is not None:
        changes[image] = _bytes_of(folder)
    if not changes:
        return table

    def change(columns: Columns) -> Columns:
        return {key: changes[key](values) if key in changes else values for key, values in columns.items()}

    def blocks(wanted: list[str], first: int) -> Iterator[Block]:
        return (block._replace(columns=change(block.columns)) for block in table.blocks(wanted, first))

    sample = {key: values for key, values in change(table.sample).items() if key != image}
    # Files of images are held whatever they take: only texts are read again block by block.
    return replace(table, blocks=blocks, sample=sample, image=image, held=table.held or image is not None)


def _features_of(schema: pa.Schema) -> Mapping[str, object]:
    try:
        return _features(json.loads((schema.metadata or {}).get(_KEY, b"{}")).get("info"))
    except (ValueError, AttributeError, RecursionError):
        return {}  # somebody else's use of the key


def _features_beside(folder: Path) -> Mapping[str, object]:
    path = folder / INFO
    try:
        if path.stat().st_size > MAX_INFO_BYTES:
            return {}
        return _features(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}  # absent, or no JSON: the columns are taken as they are


def _features(info: object) -> Mapping[str, object]:
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def _named(names: Sequence[object]) -> Values:
    """Numbers as names of classes; -1 stands for no label, other numbers stay."""

    def name(value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            return None if value == -1 else str(names[value]) if value < len(names) else value
        return value

    return lambda values: [name(value) for value in values]


def _image_column(schema: pa.Schema, features: Mapping[str, object]) -> str | None:
    """The column of image files: declared as one, or by its name and the type of its values."""
    for name, feature in features.items():
        if isinstance(feature, dict) and feature.get("_type") == "Image" and name in schema.names:
            return name
    for field in schema:
        kind = field.type
        held = pa.types.is_struct(kind) and any(inner.name == "bytes" for inner in kind)
        if held or (_is_binary(kind) and field.name.lower() in _IMAGE_NAMES):
            return field.name
    return None


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _bytes_of(folder: Path) -> Values:
    """Bytes of image files, from where they are stored or where their path leads; b"" where there is neither."""

    def read(value: object) -> object:
        if isinstance(value, dict):
            if value.get("bytes") is None and isinstance(value.get("path"), str):
                return _read(folder / value["path"])
            return value.get("bytes") or b""
        return value if isinstance(value, bytes) else b""

    return lambda values: [read(value) for value in values]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
