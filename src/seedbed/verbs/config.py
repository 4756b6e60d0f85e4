"""The configuration: as a file to begin with, as it resolves with the origin of each value, and as a JSON schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Unpack

from seedbed.core.config import commented_toml, dump_toml
from seedbed.core.errors import MachineError, UsageError, nearest
from seedbed.core.find import find
from seedbed.core.runs import write_atomic
from seedbed.core.settings import Section, Settings
from seedbed.core.types import Say, silent
from seedbed.verbs.options import Options, Result, resolve_options

ACTIONS = ("show", "init", "schema")


def config(
    action: str = "show", /, *, to: str | Path | None = None, say: Say = silent, **options: Unpack[Options]
) -> Result:
    """Show the resolved options, or write a file of all of them to begin with, or their JSON schema.

    Args:
        action: "show" what the given options resolve to, each value with its origin; "init" gives every option with its
            default and its meaning as a comment, with those of the objective and task named; "schema" is the JSON
            schema by which editors check such files.
        to: file to write to; it must not exist. Without it the text is said.
        say: listener to events.
        options: see `Options`.

    Raises:
        UsageError: an unknown action, unknown options or bad values.
        MachineError: the file exists or cannot be written.
    """
    if action not in ACTIONS:
        raise UsageError(
            f'There is no action "{action}".',
            found=f"Actions: {', '.join(ACTIONS)}.",
            cause=nearest(action, ACTIONS),
            fix="seedbed config show",
        )
    resolved = resolve_options(options)
    made = {
        "show": lambda: dump_toml(resolved),
        "init": lambda: commented_toml(Settings, _options(resolved.settings)),
        "schema": lambda: json.dumps(Settings.model_json_schema(), indent=1) + "\n",
    }
    text = made[action]()
    summary: dict[str, Any] = {"settings": resolved.settings.model_dump(mode="json")} if action == "show" else {}
    if to is None:
        say("text", text=text)
        return Result(None, {"text": text, **summary})
    path = Path(to)
    if path.exists():
        raise MachineError(
            f"{path} exists already.", cause="A file of yours is never written over.", fix="Give another name to --to."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
    return Result(None, {"written": str(path), **summary})


def _options(settings: Settings) -> dict[str, type[Section]]:
    """The Config of the task and of the objective, where one is named."""
    named = {"task_options": ("tasks", settings.task), "objective_options": ("objectives", settings.objective)}
    return {table: find(*learner).config_class for table, learner in named.items() if learner[1] != "auto"}
