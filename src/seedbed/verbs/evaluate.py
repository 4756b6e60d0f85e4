"""Scores of a run's model on labelled rows, with intervals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from scipy.stats import binomtest

from seedbed.core.device import configure, detect
from seedbed.core.errors import DataError
from seedbed.core.locate import locate_run
from seedbed.core.runs import Run
from seedbed.core.types import Facts, Say, silent
from seedbed.data.labels import label_kind, read_labels
from seedbed.data.rows import Row
from seedbed.data.source import open_source
from seedbed.evaluate.resample import Bounded, with_bounds
from seedbed.evaluate.scoring import scoring
from seedbed.verbs.accepts import ANSWERING
from seedbed.verbs.answer import answer_rows, load_answerer
from seedbed.verbs.options import Options, Result, resolve_options

# What a run says of scores in its summary.
SCORED = ("accuracy", "F1_of_sets", "mean_absolute_error", "test", "test_rows", "intervals", "verdict")


def evaluate(
    run: str | Path,
    data: Any = None,
    /,
    *,
    out: str | Path = "runs",
    say: Say = silent,
    dry_run: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Score the model of a run.

    Args:
        run: a run folder with a model that answers, or an --out folder.
        data: labelled rows; its test rows where it has some, else all of it. Without data, what the run scored itself.
        out, dry_run: of no effect here; nothing is written.
        say: listener to events.
        options: how the data are read, such as label="topic".

    Returns: no folder; every metric of the labels' kind with its 95 % interval, and how many rows were scored.

    Raises:
        DataError: the model cannot answer, the data have no labels, or labels it does not know.
    """
    where = locate_run(run, ANSWERING)
    if data is None:
        return _scored_before(where)
    settings = resolve_options(options).settings
    machine = detect(settings)
    configure(machine)
    model = load_answerer(where / "model", machine)
    source = open_source(data, settings)
    say("understood", lines=list(source.understood))
    kind = label_kind(model.facts.label_kind)
    every = list(source.rows)
    labels, unread = read_labels((row.label for row in every), kind)
    if unread:
        place, reason = next(iter(unread.items()))
        say("warning", text=f"{len(unread):,} rows {reason}, first in {every[place].key}.")
    rows = [replace(row, label=label) for row, label in zip(every, labels, strict=True) if label is not None]
    test = [row for row in rows if row.split == "test"]
    rows = test or rows
    _check_labels(rows, model.facts, source.understood)
    answers_IC, reasons = answer_rows(model, rows, settings)
    read = np.array([not reason for reason in reasons])
    truth = kind.encode([row.label for row in rows], model.facts.classes)[read]
    if not len(truth):
        raise DataError("None of the labelled rows can be read.", found=reasons[0], fix="Run `seedbed check` on them.")
    measured = with_bounds(scoring(model.facts.label_kind).measure, answers_IC[read][None], truth)
    if "accuracy" in measured:
        # Of a share a closed form is better than resamples: it holds near 0 and 1.
        right = round(measured["accuracy"].value * len(truth))
        low, high = binomtest(right, len(truth)).proportion_ci(0.95, "wilson")
        measured["accuracy"] = Bounded(measured["accuracy"].value, low, high)
    summary: dict[str, Any] = {}
    for name, found in measured.items():
        summary |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    about = {"rows": int(read.sum()), "unreadable": int((~read).sum()), "split": "test" if test else "all"}
    return Result(None, summary | about)


def _scored_before(where: Path) -> Result:
    told = Run(where).read_json("run.json").get("summary", {})
    known = {name: told[name] for name in SCORED if name in told}
    if not known:
        raise DataError(
            f"{where} has scored nothing itself.",
            cause="Its data had no labelled test rows.",
            fix="Give labelled rows to score: seedbed evaluate RUN DATA --label COLUMN.",
        )
    return Result(None, known)


def _check_labels(rows: list[Row], facts: Facts, understood: list[str]) -> None:
    if not rows:
        raise DataError(
            "There are no labelled rows to score.",
            found="; ".join(understood),
            fix="Name the column of the labels: --label COLUMN.",
        )
    classes, found = facts.classes, label_kind(facts.label_kind).names(row.label for row in rows)
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise DataError(
            f"The model does not know the label {unknown[0]!r}.",
            found=f"It knows: {', '.join(classes[:12])}. Unknown here: {', '.join(unknown[:12])}.",
            fix="Give data with the labels the model was trained on, or fine-tune it on these.",
        )
