"""The last line of every benchmark: one JSON object with its figures, the machine and the commit."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from seedbed.core.device import Machine, detect
from seedbed.core.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def commit() -> str:
    """The commit that was measured, with a mark when files differ from it; "unknown" outside a repository."""
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"


def machine(threads: int, device: str = "auto") -> Machine:
    """This machine with the threads asked for (0: all cores)."""
    return detect(Settings(threads=threads, device=device))


def spread(values: list[float]) -> list[float]:
    """Median, least and greatest; for 5 values the range covers the true median in 94 of 100 cases."""
    return [median(values), min(values), max(values)]


def conclude(
    name: str,
    *,
    holds: bool,
    seconds: float,
    figures: Mapping[str, object],
    intervals: Mapping[str, list[float]],
    on: Machine,
) -> None:
    """Print the outcome as the last line.

    Args:
        name: of the benchmark.
        holds: whether what it was to show is so.
        seconds: it took.
        figures: what was measured, by key.
        intervals: key -> [low, high] of some of the figures.
        on: the machine it ran on.
    """
    outcome = {
        "name": name,
        **figures,
        "intervals": intervals,
        "seconds": round(seconds, 1),
        "holds": holds,
        "commit": commit(),
        "machine": {
            "processor": on.processor,
            "cores": on.cores,
            "threads": on.threads,
            "precision": on.precision,
        },
    }
    print(json.dumps(outcome), flush=True)
