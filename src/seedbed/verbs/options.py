"""The common flags as Python arguments, and how they become resolved settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, TypedDict

from seedbed.core.config import Layer, Resolved, load_toml, resolve
from seedbed.core.find import find
from seedbed.core.settings import Settings


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

    @property
    def report(self) -> Path | None:
        """The report's page, where the verb wrote one."""
        path = None if self.folder is None else self.folder / "report.html"
        return path if path is not None and path.is_file() else None

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, the figures, and where the report lies."""
        verdict = self.summary.get("verdict") or {}
        told = [f"<p><b>{escape(verdict['outcome'])}.</b> {escape(verdict['sentence'])}</p>"] if verdict else []
        rows = [(name, _cell(value)) for name, value in self.summary.items() if name != "verdict"]
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{cell}</td></tr>" for name, cell in rows if cell)
        told += [f"<table>{cells}</table>"] if cells else []
        told += [f'<p><a href="{escape(self.report.as_posix())}">report</a></p>'] if self.report else []
        return "".join(told) or "<p>done</p>"


def _cell(value: object) -> str:
    """A figure, or a flat table of figures; "" for what is deeper, which stays in the run folder."""
    if isinstance(value, Mapping):
        flat = [f"{name} {_cell(part)}" for name, part in value.items() if not isinstance(part, Mapping | list | tuple)]
        return ", ".join(flat) if len(flat) == len(value) else ""
    if value is None or isinstance(value, list | tuple):
        return ""
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def kind_of(settings: Settings) -> str:
    """What labels the task that was asked for learns; empty where that is left to the labels.

    Raises:
        UsageError: there is no such task.
    """
    return "" if settings.task == "auto" else find("tasks", settings.task).setup.label_kind


def resolve_options(options: Options, *planned: Layer) -> Resolved:
    """Settings from defaults < configuration file < flags, with what the planner fills in.

    Raises:
        UsageError: all problems at once.
    """
    flags = {key: value for key, value in options.items() if key != "config"}
    config = options.get("config")
    layers: list[Layer] = [] if config is None else [(f"file {Path(config).name}", load_toml(config))]
    return resolve([*layers, ("flag", flags), *planned])
