"""Answers of a run's model for new files or texts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from seedbed.core.device import configure, detect
from seedbed.core.errors import DataError, UsageError
from seedbed.core.locate import locate_run
from seedbed.core.settings import Settings
from seedbed.core.types import Say, silent
from seedbed.data import arrays, decode_image, decode_text, table_files
from seedbed.data.archives import archive_ending
from seedbed.data.files import suffix_of
from seedbed.data.rows import Row
from seedbed.data.source import open_source
from seedbed.evaluate.scoring import scoring
from seedbed.verbs.accepts import ANSWERING
from seedbed.verbs.answer import Answerer, Read, load_answerer, read_rows
from seedbed.verbs.options import Options, Result, resolve_options
from seedbed.verbs.written import target_of, write_rows

FILES = table_files.SUFFIXES | decode_text.SUFFIXES | decode_image.SUFFIXES | arrays.SUFFIXES


def predict(
    run: str | Path,
    inputs: Any,
    /,
    *,
    to: str | Path | None = None,
    abstain: float | None = None,
    say: Say = silent,
    **options: Unpack[Options],
) -> Result:
    """Answer for new files or texts with the model of a run.

    Args:
        run: a run folder with a model that answers, or an --out folder.
        inputs: paths, texts (for a text model), "-" for the lines of standard input, an array of images, or a list of
            dictionaries.
        to: file to write to, .csv, .jsonl or .parquet.
        abstain: no label is given where the confidence is below this; the reason says so.
        say: listener to events.
        options: how the inputs are read, such as data={"text": "body"}.

    Returns: no folder; `predictions` in the summary has, per row, key, label (a class, a list of names, or a number),
        confidence, probabilities, and the reason where a row could not be read.

    Raises:
        DataError: the run's model cannot answer, or the inputs are of another modality.
    """
    target = target_of(to)
    if abstain is not None and not 0.0 < abstain <= 1.0:
        raise UsageError(
            f"--abstain {abstain:g} is no probability.", found="Allowed: above 0, up to 1.", fix="Try --abstain 0.8."
        )
    settings = resolve_options(options).settings
    machine = detect(settings)
    configure(machine)
    model = load_answerer(locate_run(run, ANSWERING) / "model", machine)
    rows = rows_of(model.facts.modality, inputs, settings)
    read = read_rows(model.facts, model.images, rows, settings)
    answers_IC, unlike_I = _answered(model, read)
    told = [
        _told(row, answer_C, reason, model) | {"unlike": None if reason or model.trust is None else bool(unlike)}
        for row, answer_C, unlike, reason in zip(rows, answers_IC, unlike_I, read.reasons, strict=True)
    ]
    abstained = [_abstain(line, abstain) for line in told] if abstain is not None else []
    _warn(told, read, say)
    summary: dict[str, Any] = {"rows": len(rows), "answered": sum(line["reason"] is None for line in told)}
    if abstain is not None:
        summary["abstained"] = sum(abstained)
    if target is not None:
        write_rows(target, told, [_flat(line, model) for line in told])
        return Result(None, summary | {"written": str(target)})
    return Result(None, summary | {"predictions": told})


def _answered(model: Answerer, read: Read) -> tuple[np.ndarray, np.ndarray]:
    """Answers (I, C), and whether rows are unlike the training data (I,); nan for rows that cannot be read."""
    if not read.contents:
        return read.spread(np.empty((0, model.facts.num_outputs))), read.spread(np.empty(0))
    answers_IC = model.answer(read.contents)
    unlike_I = model.trust.unlike(model.features(read.contents)) if model.trust else np.zeros(len(answers_IC))
    return read.spread(answers_IC), read.spread(unlike_I)


def _abstain(line: dict[str, Any], least: float) -> bool:
    """Take an answer back where it is less sure than was asked for."""
    unsure = line["reason"] is None and line["confidence"] is not None and line["confidence"] < least
    if unsure:
        line["reason"] = f"abstained: confidence {line['confidence']:.3f} is below {least:g}"
        line["label"] = None
    return unsure


def _warn(told: list[dict[str, Any]], read: Read, say: Say) -> None:
    read.warn(say)
    unlike = sum(line["unlike"] is True for line in told)
    # One row in a hundred of the training data themselves lies as far out.
    if unlike > max(1, 0.02 * len(told)):
        say("warning", text=f"{unlike:,} of {len(told):,} rows are unlike the training data: trust their answers less.")


def rows_of(modality: str, inputs: Any, settings: Settings) -> list[Row]:
    """Rows of paths or arrays; words that are no paths are texts themselves, and "-" is standard input.

    Raises:
        DataError: there is nothing, or it is of another modality.
    """
    if isinstance(inputs, str | Path):
        inputs = [inputs]
    if isinstance(inputs, Sequence) and len(inputs) == 1 and isinstance(inputs[0], str) and inputs[0] == "-":
        return _piped(modality)
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


def _piped(modality: str) -> list[Row]:
    """Lines of standard input: texts, or for other data the paths of files. Empty lines are no rows."""
    rows = []
    for number, line in enumerate(sys.stdin.buffer, 1):
        content = line.rstrip(b"\r\n")
        if content.strip():
            raw = content if modality == "text" else Path(os.fsdecode(content))
            rows.append(Row(f"line {number}", raw))
    if not rows:
        raise DataError(
            "Standard input is empty.",
            cause='"-" reads one text or path a line from it.',
            fix="Pipe something in: seedbed predict RUN - < texts.txt",
        )
    return rows


def _is_path(word: str) -> bool:
    """What exists, or can only have been meant as a path: a file that is missing must not be answered for as a text."""
    is_file = suffix_of(Path(word)) in FILES or archive_ending(word)
    meant = word.startswith(("/", "./", "../")) or bool(is_file)
    try:
        return meant or Path(word).exists() or (any(mark in word for mark in "*?[") and " " not in word)
    except OSError:  # too long for a name
        return False


def _told(row: Row, answer_C: np.ndarray, reason: str, model: Answerer) -> dict[str, Any]:
    line: dict[str, Any] = {"key": row.key, "label": None, "confidence": None, "probabilities": None}
    margin = 0.0 if model.trust is None else model.trust.margin
    if margin:
        line |= {"low": None, "high": None}
    if reason:
        return line | {"reason": reason}
    line |= scoring(model.facts.label_kind).told(answer_C, model.facts.classes)._asdict()
    if margin:
        line |= {"low": line["label"] - margin, "high": line["label"] + margin}
    return line | {"reason": None}


def _flat(line: dict[str, Any], model: Answerer) -> dict[str, Any]:
    """An answer in single values: a column for each class, why there is none last."""
    probs = line["probabilities"] or dict.fromkeys(model.facts.classes)
    flat = {name: value for name, value in line.items() if name not in ("probabilities", "reason")}
    return flat | {f"p_{name}": probs[name] for name in model.facts.classes} | {"reason": line["reason"]}
