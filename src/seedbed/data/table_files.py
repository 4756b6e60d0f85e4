"""Any file that is a table, opened by its kind."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.parquet as pq

from seedbed.data import arrow, features, json_lists, tables
from seedbed.data.files import Found
from seedbed.data.rows import Quarantined, Unreadable
from seedbed.data.tables import Table

SUFFIXES = tables.SUFFIXES | arrow.SUFFIXES


def open_table_file(file: Found, room: int) -> Table:
    """Look at a table, whatever it is stored as; a file of another ending is read as tab-separated.

    Args:
        file: the table.
        room: bytes that may be held of it.

    Raises:
        Unreadable: the whole file cannot be used.
    """
    folder = file.path.parent
    if file.suffix in arrow.SUFFIXES:
        table, schema = arrow.open_arrow(file.path, file.name, room)
        return features.declared(table, schema, folder)
    if file.suffix == ".parquet":
        return features.declared(tables.open_table(file.path, file.name, room), pq.read_schema(file.path), folder)
    if file.suffix in json_lists.SUFFIXES:
        return json_lists.open_json(file.path, file.name, room)
    if file.suffix in tables.SUFFIXES:
        return tables.open_table(file.path, file.name, room)
    return tables.open_delimited(file.path, file.name, room)


def open_table_files(files: Sequence[Found], understood: list[str]) -> tuple[list[Table], list[Quarantined]]:
    """Look at several tables.

    Returns:
        those with rows, and what cannot be used of the others.
    """
    opened: list[Table] = []
    broken: list[Quarantined] = []
    for file in files:
        room = max(tables.HELD_BYTES - sum(table.num_bytes for table in opened), 0)
        try:
            table = open_table_file(file, room)
        except Unreadable as error:
            broken.append(Quarantined(file.name, str(error)))
            continue
        if table.num_rows:
            opened.append(table)
        elif table.broken:
            broken += table.broken
        else:
            understood.append(f"{file.name}: no rows")
    return opened, broken
