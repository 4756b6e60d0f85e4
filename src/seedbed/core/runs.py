"""Run folders, and files that are either whole or not there.

JSON files carry the xxh3-128 of their own text with the hash set to zeros, so that any changed bit shows.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import IO, Any

import numpy as np
import xxhash

from seedbed.core.errors import DataError, MachineError

if sys.platform != "win32":
    import fcntl

HASH_KEY = "xxh3"
LOG = "metrics.jsonl"
RECORD = "run.json"
FULL = (errno.ENOSPC, errno.EDQUOT)

_ZEROS = "0" * 32
_TAIL = re.compile(rb'"xxh3": "([0-9a-f]{32})"\n}\n\Z')
_PACKAGES = ("torch", "numpy", "pyarrow", "tokenizers", "safetensors", "pillow", "scikit-learn", "xxhash", "seedbed")


@dataclass(frozen=True)
class Run:
    """A run folder; `open_run` makes and locks it, `Run(folder)` is for reading one.

    Attributes:
        folder: where everything of the run lies.
        lock: the open lock file that keeps other processes out; closing it lets them in.
    """

    folder: Path
    lock: IO[str] | None = None

    def status(self) -> str:
        """Whether the run is "new", "unfinished" or "finished"."""
        if not (self.folder / RECORD).exists():
            return "new"
        return "finished" if self.read_json(RECORD).get("status") == "finished" else "unfinished"

    def record(self, **fields: object) -> None:
        """Set fields of run.json, keeping the others; until `finish` its status is "unfinished"."""
        before = self.read_json(RECORD) if (self.folder / RECORD).exists() else {"status": "unfinished"}
        self.write_json(RECORD, {**before, **fields})

    def finish(self, summary: Mapping[str, object]) -> None:
        """Mark the run finished, with what came out."""
        self.record(status="finished", summary=dict(summary))

    def log(self, event: Mapping[str, object]) -> None:
        """Append one line to metrics.jsonl; what is not finite becomes null, since JSON has no word for it."""
        path = self.folder / LOG
        line = json.dumps(_plain(event), ensure_ascii=False, allow_nan=False) + "\n"
        with friendly(path), path.open("ab") as file:
            size = file.tell()
            try:
                file.write(line.encode())
                file.flush()
            except OSError:
                # Half a line would spoil the next one.
                os.ftruncate(file.fileno(), size)
                raise

    def events(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl, without a last one that was cut off when the process died.

        Raises:
            DataError: another line cannot be read.
        """
        path = self.folder / LOG
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")
        return [_event(path, number, line) for number, line in enumerate(lines[:-1], 1)]

    def truncate_log(self, step: int, stage: str | None = None) -> None:
        """Drop the lines after a step (of one stage, or of all): a resumed run writes them again."""

        def stays(event: dict[str, Any]) -> bool:
            other_stage = stage is not None and event.get("stage") != stage
            return other_stage or event.get("step", step) <= step

        events = self.events()
        kept = [event for event in events if stays(event)]
        if len(kept) < len(events):
            text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in kept)
            write_atomic(self.folder / LOG, text.encode())

    def write_json(self, name: str, obj: Mapping[str, object]) -> None:
        """Write a JSON file of the run, whole or not at all."""
        write_json(self.folder / name, obj)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the run after verifying it."""
        return read_json(self.folder / name)

    def close(self) -> None:
        """Let another process have the run."""
        if self.lock is not None:
            self.lock.close()


def open_run(out: Path | str, verb: str, name: str, key: Mapping[str, object]) -> Run:
    """The run folder of a command: the same verb and key find the same folder again. Locked until closed or dead.

    Args:
        out: folder of all runs.
        verb: first part of the folder's name.
        name: of the source, the readable part.
        key: what tells this command from others: resolved paths, options.

    Raises:
        MachineError: another process works in it, or it cannot be made or written. (Windows has no such lock.)
    """
    readable = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:40] or "data"
    folder = Path(out) / f"{verb}-{readable}-{fingerprint({'verb': verb, **key})[:8]}"
    with friendly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+", encoding="utf-8")
    _acquire(folder, lock)
    run = Run(folder, lock)
    _drop_torn_line(folder / LOG)
    return run


def _acquire(folder: Path, lock: IO[str]) -> None:
    try:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        pid = lock.read().strip() or "unknown"
        lock.close()
        raise MachineError(
            f"{folder} is in use by another process.",
            found=f"process {pid} holds {folder / 'lock'}",
            cause="The same command is still running.",
            fix=f"Wait for it, stop it (kill {pid}), or give another --out.",
        ) from error
    except OSError as error:
        lock.close()
        raise machine_error(folder / "lock", error) from error
    with friendly(folder / "lock"):
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()


def is_locked(folder: Path) -> bool:
    """Whether a process works in a run folder now; never on Windows, which has no such lock."""
    path = folder / "lock"
    if sys.platform == "win32" or not path.exists():
        return False
    with friendly(path), path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _drop_torn_line(path: Path) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        when = path.stat()
        with friendly(path):
            os.truncate(path, whole)
            # When it was last written tells how long the process lived that died over the line.
            os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))


def _event(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise _damaged(path, f"line {number} is not JSON") from error
    if not isinstance(event, dict):
        raise _damaged(path, f"line {number} is no object")
    return event


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there, also after a crash or a power cut.

    Raises:
        MachineError: no room, no permission, or the disk fails; the former file is intact.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    with friendly(path):
        try:
            write_synced(temporary, lambda file: file.write(content))
            temporary.replace(path)
            sync_folder(path.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def write_synced(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a new file and wait until the disk has it."""
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder: a file's own sync does not cover them."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_bytes(obj: Mapping[str, object]) -> bytes:
    """An object as readable JSON that ends in the hash of its own text; what is not finite becomes null."""
    if HASH_KEY in obj:
        obj = {name: value for name, value in obj.items() if name != HASH_KEY}
    text = json.dumps({**_plain(obj), HASH_KEY: _ZEROS}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    digest = xxhash.xxh3_128_hexdigest(text.encode())
    return (text.removesuffix(f'{_ZEROS}"\n}}\n') + f'{digest}"\n}}\n').encode()


def write_json(path: Path, obj: Mapping[str, object]) -> None:
    """Write an object as JSON with a hash of itself, whole or not at all."""
    write_atomic(path, json_bytes(obj))


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote, without the hash.

    Raises:
        DataError: the file is missing, damaged, or was edited.
        MachineError: it cannot be read.
    """
    try:
        with friendly(path):
            content = path.read_bytes()
    except FileNotFoundError as error:
        raise _damaged(path, "it is missing") from error
    stated = _TAIL.search(content)
    if stated is None:
        raise _damaged(path, "it does not end in its hash")
    zeroed = content[: stated.start(1)] + _ZEROS.encode() + content[stated.end(1) :]
    if xxhash.xxh3_128_hexdigest(zeroed).encode() != stated.group(1):
        raise _damaged(path, "its content does not match its hash")
    obj: dict[str, Any] = json.loads(content)
    del obj[HASH_KEY]
    return obj


def fingerprint(obj: object) -> str:
    """The xxh3-128 of an object's canonical JSON, as 32 hexadecimal digits; the order of keys does not matter."""
    text = json.dumps(_plain(obj), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return xxhash.xxh3_128_hexdigest(text.encode())


def environment() -> dict[str, Any]:
    """Versions and machine, as far as they decide what a run computes."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = ""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "versions": versions,
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of a source checkout, "+" appended where files differ from it; empty for an installed package."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


@contextmanager
def friendly(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a MachineError that names the path; a missing file passes."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise machine_error(path, error) from error


def machine_error(path: Path, error: OSError) -> MachineError:
    """What to tell of a failed read or write."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in FULL:
        cause, fix = "The disk or the quota is full.", "Make room or give another --out, then repeat the command."
    elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
        cause, fix = "No permission to use it.", "Give another --out, or change the permissions."
    elif isinstance(error, (FileExistsError, NotADirectoryError)):
        cause, fix = "A file stands where a folder is needed.", "Give another --out, or move that file away."
    else:
        cause, fix = "The disk or the connection to it failed.", "Give another --out, then repeat the command."
    return MachineError(f"{path} cannot be used.", found=reason, cause=cause, fix=fix)


def is_alive(process: int) -> bool:
    """Whether a process of this machine still runs; True where that cannot be asked."""
    if sys.platform == "win32":  # there, asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is damaged: {why}.",
        cause="It was edited by hand, or the disk changed it.",
        fix="Restore it from a copy, or remove its folder and repeat the command that made it.",
    )


def _plain(value: object) -> Any:
    """JSON's own types, from mappings, sequences, paths and NumPy values."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
