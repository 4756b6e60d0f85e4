"""The report of a run, written again from what lies in its folder."""

from __future__ import annotations

from pathlib import Path

from seedbed.core.locate import locate_run
from seedbed.core.types import Say, silent
from seedbed.report.page import write_report
from seedbed.verbs.options import Result


def report(run: str | Path, /, *, say: Say = silent) -> Result:
    """Write report.html, report.json and report.md of a run.

    Args:
        run: a run folder, or an --out folder.
        say: listener to events.
    """
    folder = locate_run(run)
    path = write_report(folder)
    say("report", path=str(path))
    return Result(folder, {"report": str(path)})
