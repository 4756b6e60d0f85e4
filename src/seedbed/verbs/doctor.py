"""What the machine and the installation can do, what is wrong with them, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from packaging.requirements import Requirement

from seedbed.core.device import bfloat16_speedup, detect
from seedbed.core.errors import MachineError
from seedbed.core.runs import environment
from seedbed.core.settings import Settings
from seedbed.core.types import Say, silent
from seedbed.verbs.options import Result

LEAST_FREE_BYTES = 2 << 30
LEAST_MEMORY_BYTES = 2 << 30
IMPORT_S = 120
OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it is ("ok", "note", "problem"), and what mends it."""

    what: str
    state: str
    found: str
    fix: str = ""


def doctor(*, out: str | Path = "runs", say: Say = silent) -> Result:
    """Look at versions, devices, memory, disk and extras; print a block for a bug report.

    Args:
        out: folder that runs would be written to.
        say: listener to events.

    Returns: no folder; the findings and the environment.

    Raises:
        MachineError: something is wrong that will stop a command; all findings are said before.
    """
    findings = [*_versions(), *_extras(), *_vision(), *_machine(), *_place(Path(out))]
    for finding in findings:
        say("finding", **asdict(finding))
    problems = [finding for finding in findings if finding.state == PROBLEM]
    if problems:
        raise MachineError(
            f"{len(problems)} of {len(findings)} things looked at will stop a command.",
            found="; ".join(f"{finding.what}: {finding.found}" for finding in problems),
            fix=problems[0].fix,
        )
    about = environment()
    return Result(None, {"findings": [asdict(finding) for finding in findings], "environment": about})


def _requirements() -> Iterator[tuple[Requirement, str]]:
    """What the installed package asks for, and the extra that asks; "" for none."""
    for line in importlib.metadata.requires("seedbed") or ():
        requirement = Requirement(line)
        extra = str(requirement.marker).partition("extra == ")[2].strip("\"')") if requirement.marker else ""
        yield requirement, extra


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _versions() -> Iterator[Finding]:
    yield Finding("python", OK, f"{platform.python_version()} on {platform.platform()}")
    for requirement, extra in _requirements():
        if extra:
            continue
        version = _installed(requirement.name)
        if version and requirement.specifier.contains(version, prereleases=True):
            yield Finding(requirement.name, OK, version)
        else:
            found = f"{version}, wanted {requirement.specifier}" if version else "not installed"
            yield Finding(requirement.name, PROBLEM, found, f"pip install '{requirement.name}{requirement.specifier}'")


def _extras() -> Iterator[Finding]:
    wanted: dict[str, list[str]] = {}
    for requirement, extra in _requirements():
        if extra and extra != "dev":
            wanted.setdefault(extra, []).append(requirement.name)
    for extra, names in wanted.items():
        missing = [name for name in names if not _installed(name)]
        if missing:
            yield Finding(f"[{extra}]", NOTE, f"missing: {', '.join(missing)}", f"pip install 'seedbed[{extra}]'")
        else:
            yield Finding(f"[{extra}]", OK, ", ".join(f"{name} {_installed(name)}" for name in names))


def _vision() -> Iterator[Finding]:
    """A torchvision of another torch breaks transformers too; seedbed itself needs none."""
    version = _installed("torchvision")
    if not version:
        return
    done = subprocess.run(
        [sys.executable, "-c", "import torchvision"], capture_output=True, text=True, timeout=IMPORT_S, check=False
    )
    why = (done.stderr.strip().splitlines() or [""])[-1][:200]
    works = done.returncode == 0
    fix = "" if works else "pip uninstall torchvision, or install the one built for this torch."
    yield Finding("torchvision", OK if works else PROBLEM, version if works else f"{version}: {why}", fix)


def _machine() -> Iterator[Finding]:
    machine = detect(Settings())
    build = f"torch {torch.__version__}, " + (f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA")
    unused = torch.version.cuda is None and shutil.which("nvidia-smi") is not None
    fix = "Install a torch built for CUDA: https://pytorch.org/get-started/locally" if unused else ""
    yield Finding("device", NOTE if unused else OK, f"{machine.device}: {machine.processor}; {build}", fix)
    yield Finding("threads", OK, f"{machine.threads} of {machine.cores} cores")
    if machine.device == "cpu":
        yield Finding("precision", OK, f"{machine.precision}; bfloat16 is {bfloat16_speedup():.1f} times as fast")
    small = 0 < machine.memory_bytes < LEAST_MEMORY_BYTES
    found = f"{machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else "unknown"
    yield Finding("memory", NOTE if small else OK, found, "Choose --size nano." if small else "")


def _place(out: Path) -> Iterator[Finding]:
    """Whether runs can be written, in the folder itself or the nearest one that exists."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    try:
        with tempfile.NamedTemporaryFile(dir=there) as file:
            file.write(b"seedbed")
            file.flush()
    except OSError as error:
        fix = "Give another --out, or change the permissions."
        yield Finding("folder for runs", PROBLEM, f"{there}: {error.strerror}", fix)
        return
    free = shutil.disk_usage(there).free
    small = free < LEAST_FREE_BYTES
    fix = "Make room, give another --out, or clear old runs: seedbed runs gc." if small else ""
    yield Finding("folder for runs", NOTE if small else OK, f"{there}: {free / 2**30:.1f} GiB free", fix)
