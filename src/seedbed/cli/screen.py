"""Draws what verbs say: a live bar on a terminal, sparse lines elsewhere, one JSON object at the end with --json."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from statistics import fmean
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from seedbed.core.errors import SeedbedError

FIRST_GAP_S = 1.0
LONGEST_GAP_S = 60.0
MAX_PARTS = 20
SAID = ("text", "findings")  # of a summary: said line by line while it was made
FINDING_STYLE = {"note": "yellow", "problem": "bold red"}
VERDICT_STYLE = {"paid": "bold green", "did not pay": "bold red", "cannot tell": "bold yellow"}
PLAN_FIRST = ("objective", "trunk", "size", "steps", "batch_size", "precision", "threads")


class Screen:
    """A listener for verbs (`Say`). Events it does not know are shown by name, so that nothing said is lost.

    Args:
        json_mode: everything for people goes to stderr; stdout gets one JSON object.
        verbose: tell every checkpoint; show tracebacks.
        live: draw a moving bar; by default if the output is a terminal.
        clock: seconds, for the sparse lines.
    """

    def __init__(
        self,
        *,
        json_mode: bool = False,
        verbose: bool = False,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.json_mode, self.verbose, self.clock = json_mode, verbose, clock
        self.people = Console(stderr=json_mode, markup=False, emoji=False, highlight=False, soft_wrap=True)
        self.errors = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
        self.live = self.people.is_terminal if live is None else live
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.next_line, self.gap = 0.0, FIRST_GAP_S
        self.arms: dict[tuple[int, str], dict[int, list[float]]] = {}
        self.falling = False
        self.counts: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.report = ""
        self.verdict: dict[str, str] = {}
        self.shown: dict[str, Callable[..., None]] = {
            "understood": self._understood,
            "counts": self._counts,
            "plan": self._plan,
            "stage": self._stage,
            "step": self._step,
            "evaluation": lambda **fields: self.line(evaluation_line(fields), style="cyan"),
            "saved": self._saved,
            "resumed": lambda step, stage="run", **_: self.line(f"resumed {stage} at step {step:,}"),
            "damaged": lambda path, why, **_: self._warn(f"damaged: {path}: {why}"),
            "warning": lambda text, **_: self._warn(f"warning: {text}"),
            "finished": lambda folder, **_: self.line(f"finished before, nothing is done again: {folder}"),
            "arm": self._arm,
            "text": lambda text, **_: self.line(text.rstrip("\n")),
            "finding": self._finding,
            "rungs": self._rungs,
            "report": self._report,
            "verdict": self._verdict,
        }

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_stage()

    def __call__(self, event: str, **fields: Any) -> None:
        """Show one event."""
        if event in self.shown:
            self.shown[event](**fields)
        else:
            self.line(f"{event}: " + ", ".join(f"{name} {short(value)}" for name, value in fields.items()))

    def line(self, text: str, style: str | None = None) -> None:
        """One line for people."""
        self.people.print(text, style=style)

    def finish(self, verb: str, result: Any) -> None:
        """What a verb ended with: figures, folder, report, the verdict as the last line; or one JSON object."""
        summary: Mapping[str, Any] = result.summary
        if not self.verdict:
            untold = {
                name: value
                for name, value in summary.items()
                if value not in (self.counts, self.report) and name not in SAID
            }
            for text in summary_lines(untold):
                self.line(text)
        if result.folder is not None:
            self.line(f"folder: {result.folder}")
        if self.report:
            self.line(f"report: {self.report}")
        if self.verdict:
            outcome, sentence = self.verdict["outcome"], self.verdict["sentence"]
            self.line(f"verdict: {outcome}. {sentence}".rstrip(), style=VERDICT_STYLE.get(outcome, "bold"))
        if self.json_mode:
            told = {"verb": verb, "exit_code": 0, "folder": result.folder, "summary": summary}
            extra = {"report": self.report, "verdict": self.verdict, "warnings": self.warnings}
            _json_line(told | {name: value for name, value in extra.items() if value})

    def error(self, error: SeedbedError, exit_code: int, details: str = "") -> None:
        """Four lines on stderr: what was wrong, what was found, the cause, what mends it."""
        self._end_stage()
        self.errors.print(f"error: {error.what}", style="bold red")
        for part in (error.found, error.cause, error.fix):
            if part:
                self.errors.print(part)
        if details and self.verbose:
            self.errors.print(details, style="dim")
        if self.json_mode:
            parts = {"what": error.what, "found": error.found, "cause": error.cause, "fix": error.fix}
            _json_line({"exit_code": exit_code, "error": parts})

    def _understood(self, lines: list[str], **_: Any) -> None:
        for sentence in lines:
            self.line(sentence)

    def _counts(self, **counts: Any) -> None:
        self.counts = counts
        self.line(counts_line(counts))

    def _finding(self, what: str, state: str, found: str, fix: str = "") -> None:
        self.line(f"{state:8} {what}: {found}" + (f"  -> {fix}" if fix else ""), style=FINDING_STYLE.get(state))

    def _saved(self, step: int, **_: Any) -> None:
        if self.verbose:
            self.line(f"saved at step {step:,}", style="dim")

    def _report(self, path: object, **_: Any) -> None:
        self.report = str(path)

    def _rungs(self, rungs: list[Mapping[str, Any]], **_: Any) -> None:
        self._end_stage()
        for rung in rungs:
            arms = f"{rung['best_pretrained']} against {rung['best_other']}"
            self.line(f"  {rung['n_labels']:>7,} labels  {rung['difference']}  {rung['outcome']}: {arms}")

    def _verdict(self, outcome: str, sentence: str = "", **_: Any) -> None:
        self._end_stage()
        self.verdict = {"outcome": outcome, "sentence": sentence}

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.line(text, style="yellow")

    def _plan(self, plan: Mapping[str, Any], reasons: list[str], **_: Any) -> None:
        shown = [f"{name} {short(plan[name])}" for name in PLAN_FIRST if plan.get(name)]
        if shown:
            self.line("plan: " + ", ".join(shown), style="bold")
        for reason in reasons:
            self.line(f"  - {reason}")

    def _stage(self, steps: int | None = None, done: int = 0, **named: Any) -> None:
        self._end_stage()
        name = str(named.get("stage", named.get("name", "")))
        self.next_line, self.gap = self.clock(), FIRST_GAP_S
        if not self.live:
            self.line(f"{name}: {steps:,} steps" if steps else name, style="bold")
            return
        columns = [
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[told]}", markup=False),
        ]
        self.bar = Progress(*columns, console=self.people)
        self.bar.start()
        self.task = self.bar.add_task(name, total=steps or None, completed=done, told="")

    def _step(self, **fields: Any) -> None:
        if self.bar is not None:
            step, steps = fields["step"], fields["steps"]
            self.bar.update(self.task, completed=step, total=steps, told=step_line(fields))
            return
        now, last = self.clock(), fields["step"] >= fields["steps"]
        if now >= self.next_line or last:
            self.line("  " + step_line(fields))
            self.next_line, self.gap = now + self.gap, min(self.gap * 2, LONGEST_GAP_S)

    def _arm(self, name: str, n_labels: int, draw: int, score: float, **more: Any) -> None:
        self.arms.setdefault((n_labels, name), {}).setdefault(draw, []).append(score)
        self.falling = bool(more.get("falling"))
        told = f"{name}, {n_labels:,} labels, draw {draw}: {more.get('metric', 'score')} {score:.3f}"
        if self.live:
            if self.bar is None:
                self._stage(stage="prove")
            assert self.bar is not None
            self.bar.update(self.task, told=told)
        elif self.clock() >= self.next_line:
            self.line("  " + told)
            self.next_line, self.gap = self.clock() + self.gap, min(self.gap * 2, LONGEST_GAP_S)

    def _end_stage(self) -> None:
        """Leave the bar as it stands, and the table of arms if any ran."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        arms, self.arms = self.arms, {}
        means = {key: fmean(fmean(parts) for parts in draws.values()) for key, draws in arms.items()}
        turn = 1 if self.falling else -1  # the best first
        for count, name in sorted(means, key=lambda key: (key[0], turn * means[key])):
            self.line(f"  {count:>7,} labels  {means[count, name]:.3f}  {name} ({len(arms[count, name])} draws)")


def counts_line(counts: Mapping[str, Any]) -> str:
    """Rows by their fate, adding up: "1,000 rows = 900 used + 100 duplicate"; what is none is left out."""
    parts = [f"{value:,} {name}" for name, value in counts.items() if name != "total" and value]
    total = counts.get("total")
    return f"{total:,} rows = {' + '.join(parts)}" if isinstance(total, int) else ", ".join(parts)


def step_line(fields: Mapping[str, Any]) -> str:
    """Step, loss against chance, rate and time left."""
    parts = [f"step {fields['step']:,}/{fields['steps']:,}"]
    losses: Mapping[str, float] = fields.get("losses") or {}
    if len(losses) > 1:
        parts += [f"{player} {short(loss)}" for player, loss in losses.items()]
    else:
        parts.append(_against_chance(fields.get("loss"), fields.get("chance")))
    if fields.get("rate"):
        parts.append(f"{short_count(fields['rate'])} {fields.get('unit') or 'examples'}/s")
    if fields.get("eta_s") is not None:
        parts.append(f"{clock_time(fields['eta_s'])} left")
    return ", ".join(parts)


def evaluation_line(fields: Mapping[str, Any]) -> str:
    """What the validation rows say."""
    metrics = "".join(f", {name} {short(value)}" for name, value in (fields.get("metrics") or {}).items())
    where = f"  validation at step {fields['step']:,}: "
    return where + _against_chance(fields.get("loss"), fields.get("chance")) + metrics


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """A result's values as "name: value", its tables one row a line; deeper figures stay in the run folder."""
    lines = []
    for name, value in summary.items():
        if isinstance(value, Mapping):
            if value and not any(isinstance(part, Mapping | list | tuple) for part in value.values()):
                parts = [f"{key} {short(part)}" for key, part in list(value.items())[:MAX_PARTS]]
                more = [f"and {len(value) - MAX_PARTS:,} more"] if len(value) > MAX_PARTS else []
                lines.append(f"{name}: {', '.join(parts + more)}")
        elif value is not None and not isinstance(value, list | tuple):
            lines.append(f"{name}: {short(value)}")
    for value in summary.values():
        if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            lines += ["  ".join(_cell(cell) for cell in row.values() if cell is not None) for row in value]
    return lines


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {short(part)}" for name, part in value.items())
    return short(value)


def short(value: object) -> str:
    """A value in a few characters."""
    if isinstance(value, bool) or not isinstance(value, float | int):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def short_count(value: float) -> str:
    """A rate with three digits: 950, 12.3k, 4.56M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def clock_time(seconds: float) -> str:
    """Seconds as 1:05 or 2:03:04."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _against_chance(loss: float | None, chance: float | None) -> str:
    text = "loss ?" if loss is None else f"loss {loss:.3f}"
    return text if chance is None else f"{text} (chance {chance:.3f})"


def _json_line(told: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(_strict(told), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _strict(value: Any) -> Any:
    """What JSON has: not-a-number becomes null, paths become strings."""
    if isinstance(value, Mapping):
        return {str(name): _strict(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return str(value)
