"""Scores of a run's model on labelled rows, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import numpy as np
from scipy.stats import binomtest

from seedbed.core.device import configure, detect
from seedbed.core.errors import DataError
from seedbed.core.locate import locate_run
from seedbed.core.runs import Run
from seedbed.core.types import Say, silent
from seedbed.data.rows import Row
from seedbed.data.source import open_source
from seedbed.evaluate.metrics import score
from seedbed.verbs.accepts import ANSWERING
from seedbed.verbs.answer import answer_rows, load_answerer
from seedbed.verbs.options import Options, Result, resolve_options


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

    Returns: no folder; accuracy with its 95 % interval, macro F1, log-loss, and how many rows were scored.

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
    rows = [row for row in source.rows if row.label is not None]
    test = [row for row in rows if row.split == "test"]
    rows = test or rows
    _check_labels(rows, model.facts.classes, source.understood)
    probs_IC, reasons = answer_rows(model, rows, settings)
    read = np.array([not reason for reason in reasons])
    truth_I = np.array([model.facts.classes.index(str(row.label)) for row in rows])[read]
    if not len(truth_I):
        raise DataError("None of the labelled rows can be read.", found=reasons[0], fix="Run `seedbed check` on them.")
    scores = score(probs_IC[read], truth_I)
    low, high = binomtest(round(scores.accuracy * len(truth_I)), len(truth_I)).proportion_ci(0.95, "wilson")
    summary = {
        **scores._asdict(),
        "accuracy_low": low,
        "accuracy_high": high,
        "rows": int(read.sum()),
        "unreadable": int((~read).sum()),
        "split": "test" if test else "all",
    }
    return Result(None, summary)


def _scored_before(where: Path) -> Result:
    told = Run(where).read_json("run.json").get("summary", {})
    known = {name: told[name] for name in ("accuracy", "test", "test_rows", "verdict") if name in told}
    if not known:
        raise DataError(
            f"{where} has scored nothing itself.",
            cause="Its data had no labelled test rows.",
            fix="Give labelled rows to score: seedbed evaluate RUN DATA --label COLUMN.",
        )
    return Result(None, known)


def _check_labels(rows: list[Row], classes: tuple[str, ...], understood: list[str]) -> None:
    if not rows:
        raise DataError(
            "There are no labelled rows to score.",
            found="; ".join(understood),
            fix="Name the column of the labels: --label COLUMN.",
        )
    unknown = sorted({str(row.label) for row in rows} - set(classes))
    if unknown:
        raise DataError(
            f"The model does not know the label {unknown[0]!r}.",
            found=f"It knows: {', '.join(classes[:12])}. Unknown here: {', '.join(unknown[:12])}.",
            fix="Give data with the labels the model was trained on, or fine-tune it on these.",
        )
