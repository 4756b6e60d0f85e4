"""From what was asked for to files with names: folders are walked, archives unpacked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from seedbed.data.archives import archive_ending, unpack
from seedbed.data.files import Found, list_files, shown
from seedbed.data.rows import Quarantined, Unreadable


def gather(paths: Sequence[Path]) -> tuple[list[Found], list[Quarantined]]:
    """All files of some paths in a stable order, each once.

    Args:
        paths: files, folders and archives; names are relative to the only folder, else to the folder all are in.

    Returns:
        files, and what could not be listed, is no file, or cannot be unpacked.
    """
    listed: list[Found] = []
    broken: list[Quarantined] = []
    for path in dict.fromkeys(paths):
        if path.is_dir():
            found, refused = list_files(path, "" if len(paths) == 1 else f"{_name(path, paths)}/")
            listed += found
            broken += refused
        else:
            listed.append(Found(path, _name(path, paths)))
    once = {file.path.absolute(): file for file in listed}
    files: list[Found] = []
    for file in once.values():
        if not archive_ending(file.base):
            files.append(file)
            continue
        try:
            found, refused = _unpacked(file)
        except Unreadable as error:
            broken.append(Quarantined(file.name, str(error)))
            continue
        files += found
        broken += refused
    return files, broken


def _name(path: Path, paths: Sequence[Path]) -> str:
    if len(paths) == 1:
        return shown(Path(path.name))
    root = Path(os.path.commonpath([one.absolute() for one in paths]))
    root = root if root.is_dir() else root.parent
    return shown(path.absolute().relative_to(root))


def _unpacked(archive: Found) -> tuple[list[Found], list[Quarantined]]:
    folder, refused = unpack(archive.path)
    found, broken = list_files(folder, f"{archive.name}/")
    broken += [Quarantined(f"{archive.name}/{entry.key}", entry.reason) for entry in refused]
    nested = [file for file in found if archive_ending(file.base)]
    broken += [Quarantined(file.name, "an archive inside an archive is not opened") for file in nested]
    return [file for file in found if not archive_ending(file.base)], broken
