"""Arrow columns as Python objects, nothing in them believed unchecked."""

from __future__ import annotations

import pyarrow as pa

STRINGS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def flat_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns that hold one value a row."""
    return [field.name for field in schema if not pa.types.is_nested(_stored(field.type))]


def _stored(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def values_of(column: pa.Array) -> list[object]:
    """Values as Python objects, checked; strings as bytes, so that one that is not UTF-8 costs its row only.

    Values of a dictionary are shared by the rows that have them, however long they are.

    Raises:
        ArrowException: offsets or indices lead out of the array.
    """
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    if pa.types.is_dictionary(kind):
        column.indices.validate(full=True)
        words = values_of(column.dictionary)
        places = column.indices.to_pylist()
        if any(place is not None and not 0 <= place < len(words) for place in places):
            raise pa.ArrowInvalid("an index leads out of its dictionary")
        return [None if place is None else words[place] for place in places]
    if pa.types.is_string_view(kind):
        column = column.cast(pa.large_string())
    elif pa.types.is_binary_view(kind):
        column = column.cast(pa.large_binary())
    if pa.types.is_string(column.type):
        column = column.view(pa.binary())
    elif pa.types.is_large_string(column.type):
        column = column.view(pa.large_binary())
    column.validate(full=True)
    values: list[object] = column.to_pylist()
    return values
