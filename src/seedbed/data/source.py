"""From whatever the user points at to rows: what it is, is found out and said, never guessed in silence."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from seedbed.core.errors import DataError, MachineError, UsageError, nearest
from seedbed.core.settings import Settings
from seedbed.data import arrays, decode_image, decode_text, folders, tables
from seedbed.data.columns import rows_of_tables
from seedbed.data.files import key_of, list_files
from seedbed.data.rows import Quarantined, Row, Source, Unreadable, listed, nothing_left, number

__all__ = ["Quarantined", "Row", "Source", "Unreadable", "open_source"]

Data = (
    str | Path | Sequence[str | Path] | Sequence[Mapping[str, object]] | np.ndarray | tuple[np.ndarray, np.ndarray]
    | Mapping[str, object]
)  # fmt: skip

_BESIDE = ("readme", "license", "licence", "classes", "class", "labels", "changelog", "notice", "original_readme")
_KINDS = "Parquet, CSV, TSV, JSON Lines, .txt and .md, images, IDX, .npy and .npz"
_ARCHIVES = (".zip", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")


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
            table = tables.from_records(cast("Sequence[Mapping[str, object]]", data), "rows")
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
    broken: list[Quarantined] = []
    files: list[Path] = []
    for path in dict.fromkeys(paths):
        if path.is_dir():
            found, refused = list_files(path)
            files += found
            broken += refused
        else:
            files.append(path)
    root = paths[0] if len(paths) == 1 else Path(os.path.commonpath([path.absolute() for path in paths]))
    files = list(dict.fromkeys(files if len(paths) == 1 else [path.absolute() for path in files]))
    where = str(paths[0]) if len(paths) == 1 else f"{len(paths)} paths"
    kind, chosen = _choose_kind(files, where, understood, broken, asked=not root.is_dir())
    modality, rows, fresh = _rows(kind, chosen, root, settings, understood)
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
    name = root.resolve().name or "data"
    name = tables.stem_of(root) if root.is_file() else name
    return Source(modality, name, paths, rows, broken, understood)


def _kind(path: Path) -> str:
    if arrays.is_array(path):
        return "arrays"
    if tables.suffix_of(path) in tables.SUFFIXES:
        return "tables"
    if decode_image.sniff(path):
        return "images"
    return "texts" if decode_text.sniff(path) else ""


def _choose_kind(
    files: list[Path], where: str, understood: list[str], broken: list[Quarantined], *, asked: bool
) -> tuple[str, list[Path]]:
    """The kind most files are of, and these files; what is left aside is said."""
    kinds: dict[str, list[Path]] = {}
    for path in files:
        beside = not asked and path.name.lower().split(".")[0] in _BESIDE
        kinds.setdefault("" if beside else _kind(path), []).append(path)
    known = Counter({kind: len(found) for kind, found in kinds.items() if kind})
    if not known:
        raise _nothing_known(files, where, broken)
    kind = known.most_common(1)[0][0]
    if "arrays" in known:
        kind = "arrays"
    elif "tables" in known and known["texts"] <= 3 * known["tables"] and known["images"] <= known["tables"]:
        kind = "tables"
    left = [path for other, found in kinds.items() if other != kind for path in found]
    if left:
        understood.append(f"{number(len(left), 'file')} of other kinds not used: {listed(path.name for path in left)}")
    return kind, kinds[kind]


def _nothing_known(files: list[Path], where: str, broken: list[Quarantined]) -> DataError | MachineError:
    if broken and not files:
        return MachineError(f"{where} cannot be listed.", found=broken[0].reason, fix=f"chmod -R +rX {where}")
    suffixes = Counter(path.suffix.lower() or path.name for path in files)
    found = ", ".join(f"{number(count, 'file')} {suffix}" for suffix, count in suffixes.most_common(5))
    archive = next((p for p in files if p.suffix.lower() in _ARCHIVES or ".tar." in p.name), None)
    cause, fix = f"Read are {_KINDS}.", "Give a file of one of these kinds, or a folder with some."
    if archive is not None:
        command = f"unzip -d data '{archive}'" if archive.suffix.lower() == ".zip" else f"tar -xf '{archive}'"
        cause, fix = "Archives are not opened.", f"Unpack it first: {command}"
    elif any(suffix in _PICKLES for suffix in suffixes):
        cause = "Pickles can run programs when they are opened, so they never are. " + cause
    what = f"There are no data in {where}." if files else f"The folder {where} is empty."
    return DataError(what, found=found, cause=cause, fix=fix)


def _rows(
    kind: str, files: list[Path], root: Path, settings: Settings, understood: list[str]
) -> tuple[str, Sequence[Row], list[Quarantined]]:
    base = root if root.is_dir() else root.parent
    if kind == "arrays":
        return arrays.rows_of_files(files, base, settings, understood)
    if kind == "images":
        return "image", folders.image_rows(files, base, settings, understood), []
    if kind == "texts":
        tabbed = settings.data.unit == "auto" and all(folders.is_tabbed(path) for path in files)
        if not tabbed:
            return "text", *folders.text_rows(files, base, settings, understood)
        understood.append("every line has the same number of tabs: read as tables")
    return "text", *_rows_of_tables(files, base, settings, understood)


def _rows_of_tables(
    files: list[Path], base: Path, settings: Settings, understood: list[str]
) -> tuple[Sequence[Row], list[Quarantined]]:
    opened: list[tables.Table] = []
    broken: list[Quarantined] = []
    for path in files:
        key = key_of(path, base)
        try:
            is_text = tables.suffix_of(path) not in tables.SUFFIXES
            room = max(tables.HELD_BYTES - sum(table.num_bytes for table in opened), 0)
            table = tables.open_delimited(path, key, room) if is_text else tables.open_table(path, key, room)
        except Unreadable as error:
            broken.append(Quarantined(key, str(error)))
            continue
        if table.num_rows or table.broken:
            opened.append(table)
        else:
            understood.append(f"{key}: no rows")
    filled = [table for table in opened if table.num_rows]
    broken += [entry for table in opened if not table.num_rows for entry in table.broken]
    if not filled:
        return [], broken
    understood.append("; ".join(f"{table.name}: {number(table.num_rows, 'row')}" for table in filled[:9]))
    rows, fresh = rows_of_tables(filled, settings, understood)
    return rows, broken + fresh
