"""Answers of a run's model for new files or texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from seedbed.core.device import configure, detect
from seedbed.core.errors import DataError
from seedbed.core.locate import locate_run
from seedbed.core.settings import Settings
from seedbed.core.types import Facts, Say, silent
from seedbed.data import arrays, decode_image, decode_text, table_files
from seedbed.data.archives import archive_ending
from seedbed.data.files import suffix_of
from seedbed.data.rows import Row
from seedbed.data.source import open_source
from seedbed.evaluate.scoring import scoring
from seedbed.verbs.accepts import ANSWERING
from seedbed.verbs.answer import answer_rows, load_answerer
from seedbed.verbs.options import Options, Result, resolve_options
from seedbed.verbs.written import target_of, write_rows

FILES = table_files.SUFFIXES | decode_text.SUFFIXES | decode_image.SUFFIXES | arrays.SUFFIXES


def predict(
    run: str | Path,
    inputs: Any,
    /,
    *,
    to: str | Path | None = None,
    say: Say = silent,
    **options: Unpack[Options],
) -> Result:
    """Answer for new files or texts with the model of a run.

    Args:
        run: a run folder with a model that answers, or an --out folder.
        inputs: paths, texts (for a text model), an array of images, or a list of dictionaries.
        to: file to write to, .csv, .jsonl or .parquet.
        say: listener to events.
        options: how the inputs are read, such as data={"text": "body"}.

    Returns: no folder; `predictions` in the summary has, per row, key, label (a class, a list of names, or a number),
        confidence, probabilities, and the reason where a row could not be read.

    Raises:
        DataError: the run's model cannot answer, or the inputs are of another modality.
    """
    target = target_of(to)
    settings = resolve_options(options).settings
    machine = detect(settings)
    configure(machine)
    folder = locate_run(run, ANSWERING) / "model"
    model = load_answerer(folder, machine)
    rows = _rows(model.facts.modality, inputs, settings)
    answers_IC, reasons = answer_rows(model, rows, settings)
    told = [
        _told(row, answer_C, reason, model.facts)
        for row, answer_C, reason in zip(rows, answers_IC, reasons, strict=True)
    ]
    unread = sum(bool(reason) for reason in reasons)
    if unread:
        say("warning", text=f"{unread:,} of {len(rows):,} rows could not be read; their reasons are in the answers.")
    if target is not None:
        write_rows(target, told, [_flat(line, model.facts.classes) for line in told])
    summary: dict[str, Any] = {"rows": len(rows), "answered": len(rows) - unread}
    return Result(None, summary | ({"written": str(target)} if target else {"predictions": told}))


def _rows(modality: str, inputs: Any, settings: Settings) -> list[Row]:
    """Rows of paths or arrays; words that are no paths are texts themselves."""
    if isinstance(inputs, str | Path):
        inputs = [inputs]
    is_words = isinstance(inputs, Sequence) and all(isinstance(item, str) for item in inputs)
    if modality == "text" and is_words and not any(_is_path(item) for item in inputs):
        return [Row(f"text {number}", text) for number, text in enumerate(inputs, 1)]
    source = open_source(inputs, settings)
    if source.modality != modality:
        raise DataError(
            f"The model answers for {modality}, these inputs are {source.modality}.",
            found="; ".join(source.understood),
            fix="Give inputs of the kind the model was trained on.",
        )
    return list(source.rows)


def _is_path(word: str) -> bool:
    """What exists, or can only have been meant as a path: a file that is missing must not be answered for as a text."""
    is_file = suffix_of(Path(word)) in FILES or archive_ending(word)
    meant = word.startswith(("/", "./", "../")) or bool(is_file)
    try:
        return meant or Path(word).exists() or (any(mark in word for mark in "*?[") and " " not in word)
    except OSError:  # too long for a name
        return False


def _told(row: Row, answer_C: np.ndarray, reason: str, facts: Facts) -> dict[str, Any]:
    if reason:
        return {"key": row.key, "label": None, "confidence": None, "probabilities": None, "reason": reason}
    return {"key": row.key, **scoring(facts.label_kind).told(answer_C, facts.classes)._asdict(), "reason": None}


def _flat(line: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """An answer in single values: a column for each class."""
    probs = line["probabilities"] or dict.fromkeys(classes)
    flat = {name: line[name] for name in ("key", "label", "confidence")}
    return flat | {f"p_{name}": probs[name] for name in classes} | {"reason": line["reason"]}
