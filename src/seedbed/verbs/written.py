"""Tables that verbs leave as files: CSV, JSON lines or Parquet, by the ending of the name."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from seedbed.core.errors import UsageError, nearest
from seedbed.core.runs import friendly, write_atomic

SUFFIXES = (".csv", ".jsonl", ".parquet")


def target_of(to: str | Path | None) -> Path | None:
    """The file that was asked for, its folder made, before any work is done; None where none was.

    Raises:
        UsageError: its ending is none of a table.
        MachineError: its folder cannot be made.
    """
    if to is None:
        return None
    target = Path(to)
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f'"{target.name}" has no known ending.',
            found=f"Known: {', '.join(SUFFIXES)}.",
            cause=nearest(target.suffix, SUFFIXES),
            fix=f"Write {target.stem}.csv.",
        )
    with friendly(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    return target


def write_rows(target: Path, lines: Sequence[dict[str, Any]], flat: Sequence[dict[str, Any]] | None = None) -> None:
    """Write lines as a table; it is whole or not there.

    Args:
        lines: one dictionary a row, all with the same keys.
        flat: the same with single values only, for CSV and Parquet, where `lines` are nested.
    """
    if target.suffix.lower() == ".jsonl":
        write_atomic(target, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        return
    rows, sink = list(lines if flat is None else flat), io.BytesIO()
    if target.suffix.lower() == ".csv":  # which has no lists
        rows = [{name: "|".join(v) if isinstance(v, list) else v for name, v in row.items()} for row in rows]
    table = pa.Table.from_pylist(rows)
    if target.suffix.lower() == ".csv":
        pyarrow.csv.write_csv(table, sink)
    else:
        pyarrow.parquet.write_table(table, sink)
    write_atomic(target, sink.getvalue())
