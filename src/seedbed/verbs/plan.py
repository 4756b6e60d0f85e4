"""Planning without doing: what would be trained, how long, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from seedbed.core.types import Say, silent
from seedbed.plan.advise import advise
from seedbed.verbs.ground import stand
from seedbed.verbs.options import Options, Result
from seedbed.verbs.pretrain import profile_of


def plan(
    data: Any, /, *, out: str | Path = "runs", say: Say = silent, dry_run: bool = False, **options: Unpack[Options]
) -> Result:
    """Say what `pretrain` and `run` would choose for these data and this machine; nothing is written.

    Returns: no folder; the plan, with a reason for each choice. Steps are counted when a run begins, by timing some.

    Raises:
        BudgetError: the time is too short for anything.
    """
    ground = stand(data, out, say, options)
    made = advise(profile_of(ground), ground.settings, ground.machine)
    say("plan", plan=made.to_json(), reasons=list(made.reasons))
    return Result(None, {"plan": made.to_json()})
