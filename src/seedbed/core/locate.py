"""Which run folder a RUN argument means: the folder itself, or the one that fits in an `--out` folder of runs."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from seedbed.core.errors import DataError, UsageError, nearest

RUN_FILES = ("run.json", "plan.json", "config.toml", "metrics.jsonl")
# Before the name of a checkpoint that would have to be downloaded.
HUB = "hf:"
KERAS = (".h5", ".hdf5", ".keras")


@dataclass(frozen=True)
class Found:
    """A run folder seen from outside: its verb, whether it is finished, and since when."""

    folder: Path
    verb: str
    finished: bool
    when: float


def locate_run(where: str | Path, verbs: Collection[str] = ()) -> Path:
    """The run folder meant by `where`: itself, or in a folder of runs the only one that fits, else the newest finished.

    Args:
        where: a run folder, or the folder that was given to `--out`.
        verbs: only runs of these verbs fit, when looking into a folder of runs; empty: all.

    Raises:
        UsageError: there is no such folder, or nothing in it fits.
        DataError: several fit, but none is finished.
    """
    where = Path(where)
    if is_run(where):
        return where
    if not where.is_dir():
        beside = [p.name for p in where.parent.iterdir()] if where.parent.is_dir() else []
        raise UsageError(
            f"{where}: there is no such run folder.",
            found=f"Folders beside it: {', '.join(sorted(beside)[:10]) or 'none'}.",
            cause=nearest(where.name, beside),
            fix="Give the folder that a run printed last, or the folder given to --out.",
        )
    runs = [_look(folder) for folder in sorted(where.iterdir()) if is_run(folder)]
    fitting = [run for run in runs if not verbs or run.verb in verbs]
    finished = [run for run in fitting if run.finished]
    if len(fitting) == 1:
        return fitting[0].folder
    if finished:
        return max(finished, key=lambda run: (run.when, run.folder.name)).folder
    names = ", ".join(run.folder.name for run in runs[:10]) or "no runs"
    if fitting:
        raise DataError(
            f"{where}: holds {len(fitting)} runs that fit, none of them finished.",
            found=f"It holds: {names}.",
            fix="Name the run folder itself, or give the command that made it again: it continues.",
        )
    raise UsageError(
        f"{where}: holds no run made by {' or '.join(verbs) or 'any verb'}.",
        found=f"It holds: {names}.",
        fix="Give the folder that a run printed last, or the folder given to --out.",
    )


def is_foreign(where: str | Path) -> bool:
    """Whether a RUN argument means weights of another library: a name on the hub, a checkpoint folder, a Keras file."""
    path = Path(where)
    named = str(where).startswith(HUB) or path.suffix.lower() in KERAS
    return named or ((path / "config.json").is_file() and not is_run(path))


def is_run(folder: Path) -> bool:
    """Whether a folder holds one of the files that every run has."""
    return any((folder / name).is_file() for name in RUN_FILES)


def _look(folder: Path) -> Found:
    """A damaged or missing run.json is an unfinished run; the folder's name begins with its verb."""
    path = folder / "run.json"
    verb = folder.name.partition("-")[0]
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        when = path.stat().st_mtime
    except (OSError, ValueError):
        return Found(folder, verb, finished=False, when=0.0)
    if not isinstance(told, dict):
        return Found(folder, verb, finished=False, when=when)
    return Found(folder, str(told.get("verb", verb)), told.get("status") == "finished", when)
