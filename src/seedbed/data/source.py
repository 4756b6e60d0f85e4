"""From whatever the user points at to rows: what it is, is found out and said, never guessed in silence."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from seedbed.core.errors import DataError, MachineError, UsageError, nearest
from seedbed.core.settings import Settings
from seedbed.data import arrays
from seedbed.data.archives import archive_ending
from seedbed.data.columns import rows_of_tables
from seedbed.data.files import Found, stem_of
from seedbed.data.folders import image_rows, is_tabbed, place, refuse_columns, text_rows
from seedbed.data.gather import gather
from seedbed.data.kinds import ARRAYS, IMAGES, TABLES, TEXTS, by_kind, kind_of, likeliest, say_left
from seedbed.data.metadata import Naming, named_elsewhere, naming_tables, place_by_tables
from seedbed.data.rows import Quarantined, Row, Source, Unreadable, listed, nothing_left, number
from seedbed.data.table_files import open_table_files
from seedbed.data.tables import from_records

__all__ = ["Quarantined", "Row", "Source", "Unreadable", "open_source"]

Data = (
    str | Path | Sequence[str | Path] | Sequence[Mapping[str, object]] | np.ndarray | tuple[np.ndarray, np.ndarray]
    | Mapping[str, object]
)  # fmt: skip


def open_source(data: Data, settings: Settings) -> Source:
    """Find out what the data are and cut them into rows; images are decoded later, by cleaning.

    Args:
        data: a file, folder, pattern, or several; an array of images, (images, labels), a dictionary of columns
            (`images`, `labels`, `split`; or `text`, ...), or a list of dictionaries.
        settings: the columns and units the user named.

    Raises:
        DataError: nothing usable, or a named column does not exist; with what is there instead.
        UsageError: no data of a kind that can be read.
        MachineError: the files may not be read.
    """
    understood: list[str] = []
    if isinstance(data, str | Path):
        return _open_paths(_expand(str(data)), settings, understood)
    if isinstance(data, Mapping):
        return _in_memory(*arrays.rows_of_mapping(data, "arrays", settings, understood), understood)
    if isinstance(data, np.ndarray):
        name = "text" if data.dtype.kind in "OUS" else "images"
        return _in_memory(*arrays.rows_of_mapping({name: data}, "arrays", settings, understood), understood)
    if isinstance(data, Sequence) and data:
        if all(isinstance(item, str | Path) for item in data):
            return _open_paths([path for item in data for path in _expand(str(item))], settings, understood)
        if all(isinstance(item, Mapping) for item in data):
            table = from_records(cast("Sequence[Mapping[str, object]]", data), "rows")
            return _in_memory("text", *rows_of_tables([table], settings, understood), understood)
        if len(data) == 2 and all(isinstance(item, np.ndarray | list) for item in data):
            first = np.asarray(data[0])
            name = "text" if first.dtype.kind in "OUS" else "images"
            pair = {name: first, "label": np.asarray(data[1], object)}
            return _in_memory(*arrays.rows_of_mapping(pair, "arrays", settings, understood), understood)
    raise UsageError(
        "These are no data.",
        found=f"{type(data).__name__}, empty" if isinstance(data, Sequence) and not data else type(data).__name__,
        cause="Read are paths, an array of images, (images, labels), a dictionary of columns, a list of dictionaries.",
        fix="Pass one of these.",
    )


def _in_memory(modality: str, rows: Sequence[Row], broken: list[Quarantined], understood: list[str]) -> Source:
    if not rows:
        raise nothing_left("the arrays", broken)
    return Source(modality, "arrays", [], rows, broken, understood)


def _expand(data: str) -> list[Path]:
    """The paths a word stands for: itself if it exists, else what a pattern matches."""
    path = Path(data).expanduser()
    try:
        if path.exists() or os.path.lexists(path):
            return [path]
    except PermissionError as error:
        raise MachineError(
            f"{data} may not be read.", found=str(error.strerror), fix=f"chmod -R +rX '{data}'"
        ) from error
    except OSError as error:
        raise DataError(
            f"This cannot be a path: {data[:80]!r}",
            found=str(error)[:100],
            cause="A string is taken as the path of a file or folder, not as text itself.",
            fix='Write the text into a file, or pass {"text": [...]} in Python.',
        ) from error
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # a pattern may begin anywhere
    if matches:
        return [Path(match) for match in matches]
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    closest = nearest(path.name, beside)
    raise DataError(
        f"There is no file or folder {data}.",
        found=f"in {path.parent.absolute()}: {listed(sorted(beside)) or 'nothing'}",
        cause=closest,
        fix="Check the path; quote it if it holds spaces.",
    )


def _open_paths(paths: list[Path], settings: Settings, understood: list[str]) -> Source:
    where = str(paths[0]) if len(paths) == 1 else f"{len(paths)} paths"
    files, broken = gather(paths)
    asked = not any(path.is_dir() or archive_ending(path.name) for path in paths)
    kinds = by_kind(files, where, broken, asked=asked)
    modality, rows, fresh = _rows(kinds, settings, understood, asked=asked)
    broken += fresh
    if not rows:
        if broken and all("ermission denied" in entry.reason for entry in broken):
            raise MachineError(
                f"{where} may not be read.",
                found=broken[0].reason,
                cause=f"first: {broken[0].key}",
                fix=f"chmod -R +r {where}",
            )
        raise nothing_left(where, broken)
    return Source(modality, _name(paths), paths, rows, broken, understood)


def _name(paths: Sequence[Path]) -> str:
    """What a run about these data is called."""
    root = paths[0] if len(paths) == 1 else Path(os.path.commonpath([path.absolute() for path in paths]))
    ending = archive_ending(root.name)
    if root.is_file():
        return root.name[: -len(ending)] if ending else stem_of(root)
    return root.resolve().name or "data"


def _rows(
    kinds: Mapping[str, list[Found]], settings: Settings, understood: list[str], *, asked: bool
) -> tuple[str, Sequence[Row], list[Quarantined]]:
    """Rows of the files of one kind, and what cannot be used of them; files of other kinds are said."""
    if ARRAYS in kinds:
        say_left(kinds, (ARRAYS,), understood)
        return arrays.rows_of_files(kinds[ARRAYS], settings, understood)
    tables, broken = open_table_files(kinds.get(TABLES, []), understood)
    for kind in (IMAGES, TEXTS):
        if tables and kind in kinds and (naming := naming_tables(tables, kinds[kind], understood)):
            say_left(kinds, (kind, TABLES), understood)
            return _rows_of_files(kind, kinds[kind], naming, settings, understood)
    if asked and len(tables) == 1:
        beside, naming = named_elsewhere(tables[0], kinds[TABLES][0].path.parent, (IMAGES, TEXTS))
        if beside:
            return _rows_of_files(kind_of(beside[0]), beside, naming, settings, understood)
    kind = likeliest(kinds)
    say_left(kinds, (kind,), understood)
    if kind == TEXTS and settings.data.unit == "auto" and all(is_tabbed(file.path) for file in kinds[kind]):
        understood.append("every line has the same number of tabs: read as tables")
        tables, broken = open_table_files(kinds[kind], understood)
    elif kind != TABLES:
        return _rows_of_files(kind, kinds[kind], [], settings, understood)
    if not tables:
        return "text", [], broken
    understood.append("; ".join(f"{table.name}: {number(table.num_rows, 'row')}" for table in tables[:9]))
    rows, fresh = rows_of_tables(tables, settings, understood)
    return "text", rows, broken + fresh


def _rows_of_files(
    kind: str, files: list[Found], naming: list[Naming], settings: Settings, understood: list[str]
) -> tuple[str, Sequence[Row], list[Quarantined]]:
    """Rows of image or text files, labelled by tables that name them, else by their folders."""
    if not naming:
        refuse_columns(settings, "image files" if kind == IMAGES else "text files")
    placed = place(files, understood)
    broken: list[Quarantined] = []
    if naming:
        placed, broken = place_by_tables(placed, naming, settings, understood)
    if kind == IMAGES:
        return "image", image_rows(placed, understood), broken
    rows, fresh = text_rows(placed, settings, understood)
    return "text", rows, broken + fresh
