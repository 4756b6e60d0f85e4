"""Every answer of every arm, kept, so that each number of a comparison can be computed again from one file.

    write_predictions(path, answers, items, confidence)
    told = recompute(path)                                # equals summary(answers, items, confidence)

One row per arm, label count, draw and item: arm, n_labels, draw, key, truth, predicted, confidence (probability given
to the prediction) and truth_probability. What belongs to an arm as a whole (kind, side, selection score) and to the
comparison (classes, confidence of the intervals) is in the file's metadata, as JSON.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seedbed.core.errors import DataError
from seedbed.core.runs import write_atomic
from seedbed.evaluate.metrics import confusion
from seedbed.evaluate.stats import mean_interval
from seedbed.evaluate.verdict import Arm, Contestant, decide

METADATA = b"seedbed"
WORST = 12


@dataclass(frozen=True)
class Items:
    """What was scored.

    Attributes:
        keys: origin of each item.
        truth_I: class index of each.
        classes: label names in index order.
    """

    keys: tuple[str, ...]
    truth_I: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """What one arm answered at one label count.

    Attributes:
        predicted_SI: class indices.
        confidence_SI: probability given to the prediction.
        truth_probs_SI: probability given to the truth.
        selection: accuracy estimated on training labels alone, mean over the draws.
        pool_share: see `stats.difference`.
    """

    arm: Arm
    n_labels: int
    predicted_SI: np.ndarray
    confidence_SI: np.ndarray
    truth_probs_SI: np.ndarray
    selection: float
    pool_share: float = 0.0


def answers_of(
    arm: Arm, n_labels: int, probs_SIC: np.ndarray, truth_I: np.ndarray, selection: float, pool_share: float = 0.0
) -> Answers:
    """Answers from class probabilities, as they will be read back."""
    predicted_SI = probs_SIC.argmax(axis=2)
    truth_probs_SI = np.take_along_axis(probs_SIC, np.asarray(truth_I)[None, :, None], axis=2)[:, :, 0]
    confidence_SI = probs_SIC.max(axis=2)
    single = np.float32
    return Answers(
        arm, n_labels, predicted_SI, confidence_SI.astype(single), truth_probs_SI.astype(single), selection, pool_share
    )


def summary(answers: Sequence[Answers], items: Items, confidence: float) -> dict[str, Any]:
    """Scores with intervals, differences, the verdict, and the errors of the better chosen arm, as JSON-able values.

    Returns:
        confidence, labels, arms, differences, verdict (that at the most labels), confusion (its better arm's answers
        over all draws), worst (the surest wrong ones of its first draw).
    """
    counts = sorted({answer.n_labels for answer in answers})
    arms = {answer.arm.name: {**asdict(answer.arm), "scores": {}} for answer in answers}
    verdicts = {}
    for n_labels in counts:
        here = [answer for answer in answers if answer.n_labels == n_labels]
        for answer in here:
            arms[answer.arm.name]["scores"][str(n_labels)] = _score(answer, items, confidence)
        contestants = [Contestant(found.arm, found.predicted_SI == items.truth_I, found.selection) for found in here]
        verdicts[n_labels] = decide(contestants, n_labels, confidence, here[0].pool_share)
    verdict = verdicts[counts[-1]]
    better = verdict.best_pretrained if verdict.interval.value > 0 else verdict.best_other
    shown = next(answer for answer in answers if answer.n_labels == counts[-1] and answer.arm == better)
    return {
        "confidence": confidence,
        "labels": counts,
        "arms": list(arms.values()),
        "differences": {str(n_labels): found.to_json() for n_labels, found in verdicts.items()},
        "verdict": verdict.to_json(),
        **_errors(shown, items),
    }


def _score(answer: Answers, items: Items, confidence: float) -> dict[str, Any]:
    correct_SI = answer.predicted_SI == items.truth_I
    interval = mean_interval(correct_SI, confidence, answer.pool_share)
    return {
        "mean": interval.value,
        "low": interval.low,
        "high": interval.high,
        "draws": correct_SI.mean(axis=1).tolist(),
        "selection": answer.selection,
        "log_loss": float(-np.log(np.clip(answer.truth_probs_SI.astype(np.float64), 1e-6, 1.0)).mean()),
    }


def _errors(answer: Answers, items: Items) -> dict[str, Any]:
    num_draws, num_classes = len(answer.predicted_SI), len(items.classes)
    counts = confusion(np.tile(items.truth_I, num_draws), answer.predicted_SI.ravel(), num_classes)
    wrong = np.flatnonzero(answer.predicted_SI[0] != items.truth_I)
    surest = wrong[np.argsort(-answer.confidence_SI[0, wrong], kind="stable")][:WORST]
    worst = [
        {
            "key": items.keys[index],
            "truth": items.classes[items.truth_I[index]],
            "predicted": items.classes[answer.predicted_SI[0, index]],
            "confidence": float(answer.confidence_SI[0, index]),
        }
        for index in surest.tolist()
    ]
    classes = list(items.classes)
    return {"confusion": {"arm": answer.arm.name, "classes": classes, "counts": counts.tolist()}, "worst": worst}


def write_predictions(path: Path, answers: Sequence[Answers], items: Items, confidence: float) -> None:
    """Keep all answers in one Parquet file; it is whole or not there."""
    told = {
        "classes": list(items.classes),
        "confidence": confidence,
        "cells": [
            {
                "arm": asdict(answer.arm),
                "n_labels": answer.n_labels,
                "draws": len(answer.predicted_SI),
                "selection": answer.selection,
                "pool_share": answer.pool_share,
            }
            for answer in answers
        ],
    }
    table = pa.concat_tables(_table(answer, items) for answer in answers)
    table = table.replace_schema_metadata({METADATA: json.dumps(told).encode()})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, sink.getvalue())


def _table(answer: Answers, items: Items) -> pa.Table:
    num_draws, num_items = answer.predicted_SI.shape
    total = num_draws * num_items
    keys = pa.DictionaryArray.from_arrays(np.tile(np.arange(num_items, dtype=np.int32), num_draws), list(items.keys))
    arm = pa.DictionaryArray.from_arrays(np.zeros(total, dtype=np.int32), [answer.arm.name])
    columns = {
        "arm": arm.cast(pa.string()),
        "n_labels": np.full(total, answer.n_labels, dtype=np.int32),
        "draw": np.repeat(np.arange(num_draws, dtype=np.int32), num_items),
        "key": keys.cast(pa.string()),
        "truth": np.tile(items.truth_I, num_draws).astype(np.int32),
        "predicted": answer.predicted_SI.ravel().astype(np.int32),
        "confidence": answer.confidence_SI.ravel(),
        "truth_probability": answer.truth_probs_SI.ravel(),
    }
    return pa.table(columns)


def read_predictions(path: Path) -> tuple[list[Answers], Items, float]:
    """What `write_predictions` was given.

    Raises:
        DataError: the file is damaged or not one of these.
    """
    try:
        table = pq.read_table(path)
        told = json.loads((table.schema.metadata or {})[METADATA])
        answers, items = _parsed(table, told)
    except (pa.ArrowInvalid, OSError, KeyError, ValueError, IndexError) as error:
        raise DataError(
            f"{path}: it does not hold the answers of a comparison.",
            found=f"{type(error).__name__}: {error}",
            cause="It is damaged, or was written by another program.",
            fix="Give the `seedbed prove` command again.",
        ) from error
    return answers, items, float(told["confidence"])


def _parsed(table: pa.Table, told: dict[str, Any]) -> tuple[list[Answers], Items]:
    columns = {name: table[name].to_numpy() for name in table.column_names if name not in ("arm", "key")}
    names = table["arm"]
    answers, start = [], 0
    num_items = table.num_rows // sum(cell["draws"] for cell in told["cells"])
    for cell in told["cells"]:
        shape = (cell["draws"], num_items)
        part = slice(start, start + shape[0] * shape[1])
        start = part.stop
        if names[part.start].as_py() != cell["arm"]["name"]:
            raise ValueError(f"row {part.start} is not of the arm {cell['arm']['name']}")
        predicted_SI, sure_SI, truth_probs_SI = (
            columns[name][part].reshape(shape) for name in ("predicted", "confidence", "truth_probability")
        )
        arm, rest = Arm(**cell["arm"]), (cell["selection"], cell["pool_share"])
        answers.append(Answers(arm, cell["n_labels"], predicted_SI, sure_SI, truth_probs_SI, *rest))
    keys = tuple(table["key"][:num_items].to_pylist())
    return answers, Items(keys, columns["truth"][:num_items].astype(np.int64), tuple(told["classes"]))


def recompute(path: Path) -> dict[str, Any]:
    """`summary` from the file alone: every interval and the verdict, computed again."""
    answers, items, confidence = read_predictions(path)
    return summary(answers, items, confidence)
