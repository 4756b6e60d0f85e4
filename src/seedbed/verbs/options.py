"""The common flags as Python arguments, and how they become resolved settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from seedbed.core.config import Layer, Resolved, load_toml, resolve


class Options(TypedDict, total=False):
    """Arguments every verb understands; the same words are flags and TOML keys. None means not given.

    The tables (data, pretrain, finetune, prove, ...) are nested as in the configuration file; `config` is such a file.
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
    memory: float | None
    device: str | None
    allow_download: bool | None
    data: Mapping[str, Any]
    pretrain: Mapping[str, Any]
    finetune: Mapping[str, Any]
    prove: Mapping[str, Any]
    objective_options: Mapping[str, Any]
    task_options: Mapping[str, Any]
    config: str | Path | None


@dataclass(frozen=True)
class Result:
    """What a verb leaves behind.

    Attributes:
        folder: the run folder, everything is in it; None for verbs that leave none.
        summary: its main figures, the same as in run.json.
    """

    folder: Path | None
    summary: dict[str, Any]


def resolve_options(options: Options, *planned: Layer) -> Resolved:
    """Settings from defaults < configuration file < flags, with what the planner fills in.

    Raises:
        UsageError: all problems at once.
    """
    flags = {key: value for key, value in options.items() if key != "config"}
    config = options.get("config")
    layers: list[Layer] = [] if config is None else [(f"file {Path(config).name}", load_toml(config))]
    return resolve([*layers, ("flag", flags), *planned])
