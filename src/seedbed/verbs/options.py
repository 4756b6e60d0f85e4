"""The common flags as Python arguments, and how they become resolved settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from seedbed.core.config import Layer, Resolved, load_toml, parse_set, resolve


class Options(TypedDict, total=False):
    """Arguments every verb understands; the same words are flags and TOML keys. None means not given.

    `config` is a TOML file or a table, `set` is a list of "key=value" with dotted keys.
    """

    minutes: float | None
    steps: int | None
    seed: int | None
    size: str | None
    objective: str | None
    trunk: str | None
    label: str | None
    task: str | None
    threads: int | None
    device: str | None
    labels: Sequence[int] | None
    config: str | Path | None
    set: Sequence[str] | None


@dataclass(frozen=True)
class Result:
    """What a verb leaves behind.

    Attributes:
        folder: the run folder; everything is in it.
        summary: its main figures, the same as in run.json.
    """

    folder: Path
    summary: dict[str, Any]


def resolve_options(options: Options, *planned: Layer) -> Resolved:
    """Settings from defaults < configuration file < flags < --set, with what the planner fills in.

    Raises:
        UsageError: all problems at once.
    """
    flags = {key: value for key, value in options.items() if key not in ("config", "set", "labels")}
    labels = options.get("labels")
    if labels is not None:
        flags["prove"] = {"labels": tuple(labels)}
    config = options.get("config")
    layers: list[Layer] = [] if config is None else [(f"file {Path(config).name}", load_toml(config))]
    layers += [("flag", flags), ("flag --set", parse_set(options.get("set") or ())), *planned]
    return resolve(layers)
