"""Folders that `Dataset.save_to_disk` of Hugging Face wrote: which of their files are data."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from seedbed.core.errors import DataError
from seedbed.data.features import INFO, MAX_INFO_BYTES
from seedbed.data.files import Found, damage_of
from seedbed.data.rows import listed

STATE, SPLITS = "state.json", "dataset_dict.json"
_INDICES = ("_indices_data_files", "_indices_files")
_SHARDS = (".arrow", ".parquet")


def data_files(files: Sequence[Found], understood: list[str]) -> list[Found]:
    """The files that hold data; where none was saved by that library, all of them.

    Args:
        files: all there are.
        understood: receives which folders were read so.

    Raises:
        DataError: a file or split that the folder speaks of is missing.
    """
    folders: dict[tuple[str, ...], dict[str, Found]] = defaultdict(dict)
    for file in files:
        folders[file.folders][file.base] = file
    kept: list[Found] = []
    for folder, inside in folders.items():
        shards = [file for file in inside.values() if file.suffix in _SHARDS]
        where = "/".join(folder) or "the folder"
        if STATE in inside and shards:
            names = _shards(inside[STATE])
            _require(names, inside, where)
            kept += [inside[name] for name in names]
            understood.append(f"{where}: saved by Hugging Face datasets, {len(names):,} of its files hold data")
        else:
            kept += [file for name, file in inside.items() if not (name == INFO and shards)]
        if SPLITS in inside:
            splits = _json(inside[SPLITS]).get("splits")
            splits = [str(split) for split in splits] if isinstance(splits, list) else []
            below = {path[len(folder)] for path in folders if len(path) > len(folder) and path[: len(folder)] == folder}
            _require(splits, below, where)
            kept = [file for file in kept if file is not inside[SPLITS]]
    places = {file.path: at for at, file in enumerate(files)}
    return sorted(kept, key=lambda file: places[file.path])


def _require(names: Sequence[str], inside: dict[str, Found] | set[str], where: str) -> None:
    missing = [name for name in names if name not in inside]
    if missing:
        raise DataError(
            f"{where}: not whole.",
            found=f"missing: {listed(missing)}",
            cause="It was saved by Hugging Face datasets and probably not copied to its end.",
            fix="Copy the whole folder again.",
        )


def _shards(state: Found) -> list[str]:
    told = _json(state)
    if any(told.get(key) for key in _INDICES):
        raise DataError(
            f"{state.name}: the rows are chosen by a separate list of indices.",
            found=f"{', '.join(key for key in _INDICES if told.get(key))} in {state.name}",
            cause="It was saved by an old version of Hugging Face datasets after a filter or a shuffle.",
            fix="Load it there and save it again after dataset.flatten_indices().",
        )
    entries = told.get("_data_files")
    names = [entry.get("filename") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    if not names or not all(isinstance(name, str) and "/" not in name for name in names):
        raise DataError(
            f"{state.name}: it names no data.",
            found=f"_data_files: {str(entries)[:100]}",
            fix="Save the data set again, or give its .arrow files alone.",
        )
    return [str(name) for name in names]


def _json(file: Found) -> dict[str, object]:
    try:
        if file.path.stat().st_size > MAX_INFO_BYTES:
            raise ValueError(f"more than {MAX_INFO_BYTES >> 20} MiB")
        told = json.loads(file.path.read_bytes())
        if not isinstance(told, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{file.name}: cannot be read.",
            found=damage_of(error),
            cause="It was saved by Hugging Face datasets and is damaged.",
            fix="Copy the folder again, or give its .arrow files alone.",
        ) from error
    return told
