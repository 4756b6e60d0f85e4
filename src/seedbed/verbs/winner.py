"""The best arm of a comparison, whatever it is, trained once more on all labels: the model the run leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedbed.verbs.proof import Contest, Judged


def keep_winner(contest: Contest, judged: Judged, folder: Path) -> dict[str, Any]:
    """Train the best arm on every label that is not for scoring and write it as a model folder.

    Args:
        contest: the comparison.
        judged: what it found.
        folder: to write to.

    Returns: what model/ holds, for the summary.
    """
    rows = contest.prepared.rows(split=("train", "validation", "held"), labelled=True)
    judged.best.keep(rows, folder)
    return {"model": {"arm": judged.best.arm.name, "labels": len(rows)}}
