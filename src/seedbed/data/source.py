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
from seedbed.data.arrow import ArrowStream, table_of_stream
from seedbed.data.features import declared
from seedbed.data.files import stem_of
from seedbed.data.gather import gather
from seedbed.data.items import Items, holds_images, rows_of_items
from seedbed.data.layout import rows_of_files, rows_of_some_tables
from seedbed.data.rows import Quarantined, Row, Source, Unreadable, listed, nothing_left
from seedbed.data.tables import from_records

__all__ = ["Quarantined", "Row", "Source", "Unreadable", "open_source"]

Data = (
    str | Path | Sequence[str | Path] | Sequence[Mapping[str, object]] | np.ndarray | tuple[np.ndarray, np.ndarray]
    | Mapping[str, object] | ArrowStream | Items
)  # fmt: skip


def open_source(data: Data, settings: Settings) -> Source:
    """Find out what the data are and cut them into rows; images are decoded later, by cleaning.

    Args:
        data: a file, folder, pattern, or several; an array of images, (images, labels), a dictionary of columns
            (`images`, `labels`, `split`; or `text`, ...), a list of dictionaries, a frame of pandas or polars, or a
            data set with a length that gives its items by their numbers.
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
        if holds_images(data[0]):
            return _in_memory(*rows_of_items(data, settings, understood), understood)
        if all(isinstance(item, Mapping) for item in data):
            table = from_records(cast("Sequence[Mapping[str, object]]", data), "rows")
            return _in_memory(*rows_of_some_tables([table], settings, understood), understood)
        if len(data) == 2 and all(isinstance(item, np.ndarray | list) for item in data):
            first = np.asarray(data[0])
            name = "text" if first.dtype.kind in "OUS" else "images"
            pair = {name: first, "label": np.asarray(data[1], object)}
            return _in_memory(*arrays.rows_of_mapping(pair, "arrays", settings, understood), understood)
    if isinstance(data, ArrowStream):
        table, schema = table_of_stream(data, "frame", understood)
        return _in_memory(*rows_of_some_tables([declared(table, schema, Path())], settings, understood), understood)
    if isinstance(data, Items) and len(data):
        return _in_memory(*rows_of_items(data, settings, understood), understood)
    raise UsageError(
        "These are no data.",
        found=f"{type(data).__name__}, empty" if isinstance(data, Sequence) and not data else type(data).__name__,
        cause="Read are paths, arrays, (inputs, labels), columns, lists of dictionaries, frames, data sets by index.",
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
    modality, rows, fresh = rows_of_files(files, broken, where, settings, understood, asked=asked)
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
