"""What lies in a folder of runs: listed, shown, compared, and cleared of what nothing needs any more."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed.core.config import leaves
from seedbed.core.errors import DataError, MachineError, UsageError, nearest
from seedbed.core.locate import is_run, locate_run
from seedbed.core.runs import Run, friendly, is_locked, read_json
from seedbed.core.types import Say, silent
from seedbed.data.write import MANIFEST
from seedbed.verbs.options import Result

ACTIONS = ("list", "show", "diff", "gc")
DATA = "data"  # prepared data lie in this folder beside the runs


def runs(
    action: str = "list",
    places: Sequence[str | Path] = (),
    /,
    *,
    out: str | Path = "runs",
    say: Say = silent,
    dry_run: bool = False,
) -> Result:
    """List, show, compare or clear runs.

    Args:
        action: "list" the runs in `out`; "show" one; "diff" two; "gc": remove what no run needs to be read or used:
            checkpoints of finished runs, prepared data that no run names, leftovers of killed processes.
        places: run folders; one for "show", two for "diff", none otherwise.
        out: folder of runs.
        say: listener to events.
        dry_run: of "gc": tell what would be removed, and remove nothing.

    Returns: what was asked for, sizes in bytes.

    Raises:
        UsageError: an unknown action, or too few or many runs named.
        DataError: a run's record is damaged.
    """
    wanted = {"show": 1, "diff": 2}.get(action, 0)
    if action not in ACTIONS:
        raise UsageError(
            f'There is no action "{action}".',
            found=f"Actions: {', '.join(ACTIONS)}.",
            cause=nearest(action, ACTIONS),
            fix="seedbed runs list",
        )
    if len(places) != wanted:
        raise UsageError(
            f"runs {action} takes {wanted or 'no'} run{'s' if wanted != 1 else ''}, not {len(places)}.",
            cause="The folder of all runs is --out." if places else "",
            fix=f"seedbed runs {action}" + " RUN" * wanted,
        )
    folders = [locate_run(place) for place in places]
    if action == "show":
        return Result(folders[0], _shown(folders[0]))
    if action == "diff":
        return Result(None, _difference(*folders))
    inside = _runs_in(Path(out))
    if action == "list":
        return Result(None, {"out": str(out), "runs": [_line(folder) for folder in inside]})
    return Result(None, _cleared(Path(out), inside, dry_run, say))


def _runs_in(out: Path) -> list[Path]:
    if not out.is_dir():
        beside = [path.name for path in out.parent.iterdir() if path.is_dir()] if out.parent.is_dir() else []
        raise UsageError(
            f"{out}: there is no such folder of runs.",
            found=f"Folders beside it: {', '.join(sorted(beside)[:10]) or 'none'}.",
            cause=nearest(out.name, beside),
            fix="Give the folder that was given to --out.",
        )
    # A run that has only just begun holds its lock and nothing else.
    return sorted(folder for folder in out.iterdir() if is_run(folder) or (folder / "lock").is_file())


def _record(folder: Path) -> dict[str, Any]:
    """run.json, or what can be told of a run whose record is missing or damaged."""
    try:
        return Run(folder).read_json("run.json")
    except DataError as error:
        missing = not (folder / "run.json").exists()
        return {"status": "unfinished" if missing else "damaged", "verb": folder.name.partition("-")[0]} | (
            {} if missing else {"why": error.what}
        )


def _line(folder: Path) -> dict[str, Any]:
    told = _record(folder)
    summary = told.get("summary") or {}
    verdict = summary.get("verdict") or {}
    return {
        "run": folder.name,
        "status": "running" if is_locked(folder) else told["status"],
        "started": told.get("started"),
        "seconds": told.get("seconds"),
        "size_bytes": _size(folder),
        "objective": summary.get("objective"),
        "verdict": verdict.get("outcome"),
    }


def _shown(folder: Path) -> dict[str, Any]:
    told = _record(folder)
    parts = {path.name: _size(path) for path in sorted(folder.iterdir())}
    names = {name: value for name, value in told.items() if name not in ("summary", "environment")}
    figures = {name: value for name, value in (told.get("summary") or {}).items() if not isinstance(value, list)}
    environment = told.get("environment") or {}
    flat = {name: value for name, value in environment.items() if not isinstance(value, Mapping)}
    return names | figures | {"environment": flat, "versions": environment.get("versions"), "sizes_bytes": parts}


def _difference(first: Path, second: Path) -> dict[str, Any]:
    """What differs between two runs: settings, data, results, versions; name -> the two values."""
    one, other = _record(first), _record(second)
    told = {
        "settings": _changed(_settings(first), _settings(second)),
        "results": _changed(_flat(one.get("summary")), _flat(other.get("summary"))),
        "about": _changed(*({k: r.get(k) for k in ("verb", "status", "seed", "dataset_id")} for r in (one, other))),
        "environment": _changed(_flat(one.get("environment")), _flat(other.get("environment"))),
    }
    rows = [
        {"part": part, "name": name, first.name: pair[0], second.name: pair[1]}
        for part, changes in told.items()
        for name, pair in changes.items()
    ]
    return {"runs": f"{first.name} against {second.name}", "differences": len(rows), "differing": rows}


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "config.toml"
    if not path.exists():
        return {}
    try:
        with friendly(path):
            return _flat(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is damaged: {error}",
            cause="It was edited by hand, or the disk changed it.",
            fix="Restore it from a copy; the run itself does not read it.",
        ) from error


def _flat(table: Mapping[str, Any] | None) -> dict[str, Any]:
    return {".".join(place): value for place, value in leaves(table or {})}


def _changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*one, *other])
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


@dataclass(frozen=True)
class Litter:
    """Something that can go: a folder or file, and why nothing needs it."""

    path: Path
    why: str


def _cleared(out: Path, inside: list[Path], dry_run: bool, say: Say) -> dict[str, Any]:
    found = [(litter, _size(litter.path)) for litter in _litter(out, inside, say)]
    for litter, _ in () if dry_run else found:
        try:
            shutil.rmtree(litter.path) if litter.path.is_dir() else litter.path.unlink()
        except OSError as error:
            raise MachineError(
                f"{litter.path} cannot be removed.", found=str(error.strerror), fix="Change its permissions and repeat."
            ) from error
    rows = [{"path": str(litter.path), "size_bytes": size, "why": litter.why} for litter, size in found]
    word = "would_free_bytes" if dry_run else "freed_bytes"
    return {word: sum(size for _, size in found), "kept_bytes": _size(out) if not dry_run else None, "removed": rows}


def _litter(out: Path, inside: list[Path], say: Say) -> list[Litter]:
    found, named, certain = [], set(), True
    for folder in inside:
        if is_locked(folder):
            say("warning", text=f"{folder.name} is running: nothing of it is touched.")
        told = _record(folder)
        try:
            named.add(str(Run(folder).read_json("data.json")["folder"]))
        except DataError:
            # A run killed before it said which data it uses may still be continued.
            certain = certain and told["status"] == "finished"
        if is_locked(folder):
            continue
        if told["status"] == "finished" and (folder / "checkpoints").is_dir():
            found.append(Litter(folder / "checkpoints", "checkpoints of a finished run"))
        found += [Litter(path, "left by a killed process") for path in folder.rglob(".tmp-*")]
    if not certain:
        say("warning", text="An unfinished run does not say which data it uses: all prepared data stay.")
        return found
    return found + [Litter(path, "data that no run names") for path in _unnamed(out / DATA, named)]


def _unnamed(root: Path, named: set[str]) -> list[Path]:
    """Prepared data without a run; the newest generation of each lineage stays, which knows how all rows were split."""
    folders = [path for path in sorted(root.iterdir()) if (path / MANIFEST).is_file()] if root.is_dir() else []
    manifests = {path: read_json(path / MANIFEST) for path in folders}
    newest: dict[str, int] = {}
    for manifest in manifests.values():
        newest[manifest["lineage"]] = max(manifest["generation"], newest.get(manifest["lineage"], 0))
    old = [path for path, of in manifests.items() if of["generation"] < newest[of["lineage"]]]
    return [path for path in old if path.name not in named]


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum(each.lstat().st_size for each in path.rglob("*") if not each.is_dir())
