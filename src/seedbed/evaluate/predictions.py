"""Every answer of every arm, kept, so that each number of a comparison can be computed again from one file.

    write_predictions(path, answers, items, confidence)
    told = recompute(path)                                # equals summary(answers, items, confidence)

One row per arm, label count, draw and item: arm, n_labels, draw, key, truth, and answer: class probabilities, a
probability for each name, or one number. What belongs to an arm as a whole (kind, side, selection score) and to the
comparison (names, metric, confidence of the intervals) is in the file's metadata, as JSON.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seedbed.core.errors import DataError
from seedbed.core.runs import write_atomic
from seedbed.data.labels import label_kind
from seedbed.evaluate.breakeven import Rung, break_even
from seedbed.evaluate.resample import with_bounds
from seedbed.evaluate.scoring import Metric, scoring
from seedbed.evaluate.slices import parts_of, remark, sliced
from seedbed.evaluate.stats import Scale, mean_interval
from seedbed.evaluate.verdict import Arm, Contestant, Verdict, decide

METADATA = b"seedbed"
ABOUT = "about:"
WORST = 12


@dataclass(frozen=True)
class Items:
    """What was scored.

    Attributes:
        keys: origin of each item.
        truth: targets of each, of the kind `kind`.
        classes: label names in index order, none for numbers.
        metric: the main one.
        about: what parts of the items are told apart by: a length or a name of each, by way; see `slices`.
        ways: ways to tell parts apart.
    """

    keys: tuple[str, ...]
    truth: np.ndarray
    classes: tuple[str, ...]
    kind: str
    metric: Metric
    about: Mapping[str, np.ndarray] = field(default_factory=dict)
    ways: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """What one arm answered at one label count.

    Attributes:
        answers_SIC: of every draw and item, float32, as they will be read back; see `scoring`.
        selection: the mean score estimated on training labels alone, mean over the draws.
        pool_share: see `stats.difference`.
    """

    arm: Arm
    n_labels: int
    answers_SIC: np.ndarray
    selection: float
    pool_share: float = 0.0

    def scores(self, items: Items) -> np.ndarray:
        """How good each answer is, float64 (S, I)."""
        return scoring(items.kind).scores(self.answers_SIC, items.truth)


def summary(answers: Sequence[Answers], items: Items, confidence: float) -> dict[str, Any]:
    """Scores with intervals, differences, the verdict, and the errors of the better chosen arm, as JSON-able values.

    Returns:
        confidence, metric, labels, arms, differences (a verdict for each label count), verdict (that at the most
        labels), break_even (None with one label count), detail (what its better arm answered over all draws, by kind of
        label), worst (the worst answers of its first draw), slices (how the two arms of the verdict do on parts of the
        items).
    """
    metric = items.metric
    counts = sorted({answer.n_labels for answer in answers})
    arms = {answer.arm.name: {**asdict(answer.arm), "scores": {}} for answer in answers}
    verdicts, rungs = {}, []
    for n_labels in counts:
        here = [answer for answer in answers if answer.n_labels == n_labels]
        contestants = [Contestant(found.arm, found.scores(items), found.selection) for found in here]
        for answer, contestant in zip(here, contestants, strict=True):
            arms[answer.arm.name]["scores"][str(n_labels)] = _score(answer, contestant.scores_SI, items, confidence)
        judged = decide(contestants, n_labels, confidence, here[0].pool_share, metric=metric)
        verdicts[n_labels] = judged
        scores = {one.arm: one.scores_SI.astype(np.float64) for one in contestants}
        gain_SI = scores[judged.best_pretrained] - scores[judged.best_other]
        rungs.append(Rung(n_labels, gain_SI, here[0].pool_share, metric.unit))
    verdict = verdicts[counts[-1]]
    turn = break_even(rungs, confidence)
    better = verdict.best_pretrained if verdict.interval.value > 0 else verdict.best_other
    shown = next(answer for answer in answers if answer.n_labels == counts[-1] and answer.arm == better)
    return {
        "confidence": confidence,
        "metric": asdict(metric),
        "labels": counts,
        "arms": list(arms.values()),
        "differences": {str(n_labels): found.to_json() for n_labels, found in verdicts.items()},
        "verdict": verdict.to_json() | ({"sentence": f"{verdict.sentence} {turn.sentence}"} if turn else {}),
        "break_even": asdict(turn) if turn else None,
        **_errors(shown, items),
        "slices": _slices(verdict, [answer for answer in answers if answer.n_labels == counts[-1]], items, confidence),
    }


def _slices(verdict: Verdict, answers: Sequence[Answers], items: Items, confidence: float) -> dict[str, Any]:
    parts, left_out = parts_of(items.ways, items.kind, items.truth, items.classes, items.about)
    scores = {answer.arm.name: answer.scores(items) for answer in answers}
    arms = (verdict.best_pretrained.name, verdict.best_other.name)
    rows = sliced(parts, scores[arms[0]], scores[arms[1]], items.metric, confidence)
    return {"arms": list(arms), "rows": rows, "remark": remark(rows, confidence), "left_out": left_out}


def _score(answer: Answers, scores_SI: np.ndarray, items: Items, confidence: float) -> dict[str, Any]:
    metric = items.metric
    interval = mean_interval(scores_SI, confidence, answer.pool_share, scale=Scale(metric.unit, metric.bounded))
    low, high = sorted((metric.shown(interval.low), metric.shown(interval.high)))
    kind = scoring(items.kind)
    losses_SI = kind.losses(answer.answers_SIC, items.truth)
    measured = with_bounds(kind.measure, answer.answers_SIC, items.truth, confidence)
    return {
        "mean": metric.shown(interval.value),
        "low": low,
        "high": high,
        "draws": [metric.shown(score) for score in scores_SI.mean(axis=1).tolist()],
        "selection": metric.shown(answer.selection),
        "loss": float(losses_SI.mean()),
        "metrics": {name: found._asdict() for name, found in measured.items()},
    }


def _errors(answer: Answers, items: Items) -> dict[str, Any]:
    kind = scoring(items.kind)
    worst = kind.worst(answer.answers_SIC[0], items.truth, items.classes, WORST)
    detail = kind.detail(answer.answers_SIC, items.truth, items.classes)
    return {
        "detail": {"arm": answer.arm.name, **detail},
        "worst": [{"key": items.keys[wrong.pop("at")], **wrong} for wrong in worst],
    }


def write_predictions(path: Path, answers: Sequence[Answers], items: Items, confidence: float) -> None:
    """Keep all answers in one Parquet file; it is whole or not there."""
    told = {
        "kind": items.kind,
        "classes": list(items.classes),
        "ways": list(items.ways),
        "metric": asdict(items.metric),
        "confidence": confidence,
        "cells": [
            {
                "arm": asdict(answer.arm),
                "n_labels": answer.n_labels,
                "draws": len(answer.answers_SIC),
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
    num_draws, num_items, width = answer.answers_SIC.shape
    total = num_draws * num_items
    keys = pa.DictionaryArray.from_arrays(np.tile(np.arange(num_items, dtype=np.int32), num_draws), list(items.keys))
    arm = pa.DictionaryArray.from_arrays(np.zeros(total, dtype=np.int32), [answer.arm.name])
    truth = np.concatenate([items.truth] * num_draws)
    flat = pa.array(np.ascontiguousarray(answer.answers_SIC, dtype=np.float32).reshape(-1))
    columns = {
        "arm": arm.cast(pa.string()),
        "n_labels": np.full(total, answer.n_labels, dtype=np.int32),
        "draw": np.repeat(np.arange(num_draws, dtype=np.int32), num_items),
        "key": keys.cast(pa.string()),
        "truth": label_kind(items.kind).pack(truth),
        "answer": pa.FixedSizeListArray.from_arrays(flat, width),
        **{ABOUT + way: pa.array(np.tile(values, num_draws).tolist()) for way, values in items.about.items()},
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
    names = table["arm"]
    width = table["answer"].type.list_size
    flat = table["answer"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    answers, start = [], 0
    num_items = table.num_rows // sum(cell["draws"] for cell in told["cells"])
    for cell in told["cells"]:
        size = cell["draws"] * num_items
        if names[start].as_py() != cell["arm"]["name"]:
            raise ValueError(f"row {start} is not of the arm {cell['arm']['name']}")
        answers_SIC = flat[start * width : (start + size) * width].reshape(cell["draws"], num_items, width)
        answers.append(
            Answers(Arm(**cell["arm"]), cell["n_labels"], answers_SIC, cell["selection"], cell["pool_share"])
        )
        start += size
    keys = tuple(table["key"][:num_items].to_pylist())
    truth = label_kind(told["kind"]).unpack(table["truth"].slice(0, num_items))
    about = {
        name.removeprefix(ABOUT): np.array(table[name].slice(0, num_items).to_pylist())
        for name in table.column_names
        if name.startswith(ABOUT)
    }
    metric, ways = Metric(**told["metric"]), tuple(told["ways"])
    return answers, Items(keys, truth, tuple(told["classes"]), told["kind"], metric, about, ways)


def recompute(path: Path) -> dict[str, Any]:
    """`summary` from the file alone: every interval and the verdict, computed again."""
    answers, items, confidence = read_predictions(path)
    return summary(answers, items, confidence)
