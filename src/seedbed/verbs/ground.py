"""What every verb stands on: resolved settings, understood and cleaned data, a machine, a run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from seedbed.core.config import Layer, Resolved, dump_toml
from seedbed.core.device import Machine, configure, detect
from seedbed.core.errors import UsageError
from seedbed.core.find import content_of_own
from seedbed.core.memory import give_back_freed
from seedbed.core.runs import RECORD, Run, environment, fingerprint, open_run, write_atomic
from seedbed.core.settings import Settings
from seedbed.core.types import Say
from seedbed.data.clean import Cleaned, clean
from seedbed.data.labels import label_kind
from seedbed.data.removed import removed_ids
from seedbed.data.source import Source, open_source
from seedbed.data.store import Prepared, changes, load, prepare
from seedbed.data.tokenizer import Tokenizer
from seedbed.plan.advise import allowed
from seedbed.report.page import write_report
from seedbed.verbs.check import not_used
from seedbed.verbs.options import Options, Result, kind_of, resolve_options

SHOWN_QUARANTINED = 20
SPENT_SHARE = 0.85  # of the time; the rest is for what no estimate saw, the model that is kept and the report
WIDENED_SHARE = 0.75  # what of a comparison is brought back leaves a fifth for the model that is kept
KEPT_SHARE = 0.95  # after which the model should be kept; looking for faults and the report take seconds


@dataclass(frozen=True)
class Ground:
    """Settings, cleaned data and a machine, before anything is decided.

    Attributes:
        out: folder of runs and prepared data.
        started: time.monotonic() when the command began; its minutes count from here.
    """

    resolved: Resolved
    source: Source
    cleaned: Cleaned
    machine: Machine
    out: Path
    say: Say
    started: float

    @property
    def settings(self) -> Settings:
        """The resolved settings."""
        return self.resolved.settings

    def seconds(self, share: float = 1.0) -> float:
        """This share of the minutes; infinite where only --steps was given."""
        minutes = self.settings.minutes
        seconds = allowed(self.settings)[0] if minutes is None else 60.0 * minutes
        return math.inf if seconds is None else seconds * share

    def deadline(self, share: float = 1.0) -> float | None:
        """time.monotonic() when this share of the minutes is over; None where only --steps was given."""
        seconds = self.seconds(share)
        return None if math.isinf(seconds) else self.started + seconds


def stand(data: Any, out: str | Path, say: Say, options: Options, *planned: Layer) -> Ground:
    """Resolve the options, understand and clean the data, look at the machine.

    Args:
        data: path, glob, arrays or rows.
        out: folder of runs and prepared data.
        say: listener to events.
        options: see `Options`.
        planned: settings for what the user left open.

    Raises:
        UsageError, DataError: what the user can mend.
    """
    started = time.monotonic()
    resolved = resolve_options(options, *planned)
    settings = resolved.settings
    if settings.minutes is not None and settings.steps is not None and "flag" in resolved.origins["steps"]:
        say("warning", text="Both --minutes and --steps: the steps are exact, the minutes bound everything else.")
    source = open_source(data, settings)
    _keep_apart(source, Path(out))
    cleaned = clean(source, settings, Path(out) / "data", kind_of(settings), removed_ids(Path(out) / "data"))
    if settings.task == "auto":
        task = label_kind(cleaned.label_kind).TASK
        resolved = resolve_options(options, *planned, ("planner: by the labels", {"task": task}))
    if cleaned.work is not None:
        give_back_freed()
    say("understood", lines=list(cleaned.understood))
    say("counts", **cleaned.counts)
    machine = detect(settings)
    configure(machine)
    return Ground(resolved, source, cleaned, machine, Path(out), say, started)


def _keep_apart(source: Source, out: Path) -> None:
    """Refuse to write among the data: the next command would read its own results as rows."""
    around = [path for path in source.paths if path.is_dir() and out.resolve().is_relative_to(path.resolve())]
    if around:
        raise UsageError(
            f"The folder for runs, {out}, lies inside the data, {around[0]}.",
            cause="The next command would read the results of this one as data.",
            fix=f"Give an --out elsewhere, such as --out {around[0].resolve().parent / 'runs'}.",
        )


def prepare_for(ground: Ground, tokenizer_kind: str, tokenizer: Tokenizer | None = None) -> Prepared:
    """Prepared data for a kind of tokenizer, or for the very tokenizer of an earlier run."""
    return prepare(ground.cleaned, ground.settings, tokenizer_kind, ground.out, ground.say, tokenizer=tokenizer)


@contextmanager
def working(verb: str, ground: Ground, **also: Any) -> Iterator[Run]:
    """The folder in which this very command began, or a new one, locked while the command works in it.

    The seconds of a process add up with those before, also when it fails or is interrupted. One that was killed could
    not say when; it counts up to the last file it wrote.

    Raises:
        MachineError: another process works in it, or it cannot be written.
        DataError: what an earlier run of the same command was made of is damaged.
    """
    run = _open(verb, ground, **also)
    try:
        if run.status() != "finished":
            _begin(run, ground, verb)
        yield run
        # Whoever leaves without an error has concluded; an error leaves the run unfinished, and its time counts.
    except BaseException:
        if run.status() == "unfinished":
            run.record(seconds=spent(run, ground), since=None)
        raise
    finally:
        run.close()


def _begin(run: Run, ground: Ground, verb: str) -> None:
    """Say what runs here; a process that died here before is given the seconds up to its last sign of life."""
    told = run.read_json(RECORD) if run.status() == "unfinished" else {}
    seconds = float(told.get("seconds", 0.0))
    if told.get("since") is not None:
        seconds += max(_last_sign(run.folder) - float(told["since"]), 0.0)
    new = {
        "verb": verb,
        "seed": ground.settings.seed,
        "environment": environment(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    run.record(**({} if told else new), seconds=seconds, since=time.time() - (time.monotonic() - ground.started))


def _last_sign(folder: Path) -> float:
    """When a file of a run was last written, seconds since 1970; the lock was taken anew just now."""
    return max(path.stat().st_mtime for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def left_s(run: Run, ground: Ground, share: float) -> float:
    """Seconds until this share of the command's time is over; infinite where it has no limit."""
    return ground.seconds(share) - spent(run, ground)


def spent(run: Run, ground: Ground) -> float:
    """Seconds of this command so far, those of processes that were interrupted included."""
    return float(run.read_json(RECORD)["seconds"]) + time.monotonic() - ground.started


def _open(verb: str, ground: Ground, **also: Any) -> Run:
    paths = [str(path.resolve()) for path in ground.source.paths] or [content_of(ground.cleaned)]
    key = {"verb": verb, "data": paths, "settings": ground.settings.model_dump(mode="json"), **also}
    own = content_of_own(ground.settings.objective)
    key |= {"objective_file": own} if own else {}
    run = open_run(ground.out, verb, ground.source.name, key)
    try:
        told = _changed(run, ground)
    except BaseException:
        run.close()
        raise
    if not told:
        return run
    run.close()
    ground.say("understood", lines=[f"{told} against {run.folder}: this is a new run, the other stays as it is"])
    return open_run(ground.out, verb, ground.source.name, {**key, "content": content_of(ground.cleaned)})


def write_start(run: Run, ground: Ground, prepared: Prepared, planned: dict[str, Any]) -> None:
    """Everything a run must say before its step 0: configuration with origins, plan, data."""
    write_atomic(run.folder / "config.toml", dump_toml(ground.resolved).encode())
    if not (run.folder / "plan.json").exists():
        run.write_json("plan.json", planned)
    facts = prepared.facts
    shares = label_kind(facts.label_kind).shares(prepared.labels[prepared.labelled], facts.classes)
    run.write_json(
        "data.json",
        {
            "name": ground.source.name,
            "dataset_id": prepared.dataset_id,
            "folder": prepared.folder.name,
            "content": content_of(ground.cleaned),
            "modality": prepared.modality,
            "understood": list(ground.cleaned.understood),
            "counts": dict(ground.cleaned.counts),
            "splits": {name: len(prepared.rows(split=name)) for name in ("train", "validation", "test", "held")},
            "label_kind": facts.label_kind,
            "labels": shares,
            "quarantined": not_used(ground.cleaned.ledger, SHOWN_QUARANTINED),
        },
    )
    run.record(dataset_id=prepared.dataset_id)


def conclude(run: Run, ground: Ground, summary: dict[str, Any]) -> Result:
    """Mark a run as done and write its report; its seconds add up over restarts."""
    run.record(seconds=spent(run, ground), since=None)
    run.finish(summary)
    return _told(run, ground.say)


def finished(run: Run, say: Say) -> Result:
    """The result of a run that was done before, with its report and its verdict said again."""
    say("finished", folder=str(run.folder))
    return _told(run, say)


def _told(run: Run, say: Say) -> Result:
    summary = dict(run.read_json("run.json")["summary"])
    path = run.folder / "report.html"
    if not path.exists():
        path = write_report(run.folder)
    say("report", path=str(path))
    if "verdict" in summary:
        say("rungs", rungs=summary.get("rungs", []))
        say("verdict", outcome=summary["verdict"]["outcome"], sentence=summary["verdict"]["sentence"])
    run.close()
    return Result(run.folder, summary)


def content_of(cleaned: Cleaned) -> str:
    """Fingerprint of the rows in use: content, label and split."""
    numbers: dict[str | None, int] = {}
    names = chain(cleaned.labels, cleaned.splits)
    codes = np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int64, 2 * len(cleaned))
    parts = [xxhash.xxh3_128_hexdigest(np.ascontiguousarray(values).data) for values in (cleaned.ids, codes)]
    return fingerprint([*parts, list(numbers)])


def _changed(run: Run, ground: Ground) -> str:
    """How the data differ from those this run began with; empty where they do not, or it has not begun."""
    if not (run.folder / "data.json").exists():
        return ""
    data = run.read_json("data.json")
    if data["content"] == content_of(ground.cleaned):
        return ""
    told = changes(load(ground.out / "data" / data["folder"]), ground.cleaned) or "other labels or splits"
    return told if run.status() == "finished" else f"{told} (put the data back to finish it)"
