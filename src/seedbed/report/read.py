"""A run folder as the report sees it: files read, verified and given types; what is missing is empty."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed.core.errors import DataError
from seedbed.core.runs import Run
from seedbed.evaluate.score_class import ACCURACY
from seedbed.evaluate.scoring import Metric

DIAGNOSIS = "eval/diagnosis.json"

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Score:
    """Main metric of an arm at a label count: mean over draws, interval, draws, score on training labels, the others.

    Attributes:
        metrics: every metric by name, with its bounds.
    """

    mean: float
    low: float
    high: float
    draws: tuple[float, ...]
    selection: float | None
    metrics: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Arm:
    """One side of the comparison, with its scores by label count."""

    name: str
    kind: str
    pretrained: bool
    scores: Mapping[int, Score]


@dataclass(frozen=True)
class Difference:
    """How much better the best pretrained arm is than the best other one at one label count, in the metric's unit."""

    n_labels: int
    best_pretrained: str
    best_other: str
    value: float
    low: float
    high: float
    num_draws: int
    num_items: int
    outcome: str = ""


@dataclass(frozen=True)
class Proof:
    """The comparison, from eval/proof.json."""

    confidence: float
    metric: Metric
    labels: tuple[int, ...]
    arms: tuple[Arm, ...]
    differences: tuple[Difference, ...]
    verdict: Mapping[str, Any]
    detail: Mapping[str, Any]
    slices: Mapping[str, Any]
    worst: Sequence[Mapping[str, Any]]
    seconds: Mapping[str, float]
    break_even: Mapping[str, Any]

    def decisive(self) -> Difference | None:
        """The difference the verdict rests on."""
        wanted = self.verdict.get("n_labels")
        return next((d for d in self.differences if d.n_labels == wanted), None)


@dataclass(frozen=True)
class Curve:
    """How one stage went.

    Attributes:
        train: player -> (step, loss); one player unless the learner has several.
        validation: (step, loss); step 0 is the untrained network.
        chance: loss of the best predictor that ignores its input.
        watched: measure -> (step, value).
        floor: the probe on the untrained network.
        metrics: of the last evaluation.
        kept_best: whether the weights of the best validation loss are the ones in use.
    """

    stage: str
    train: Mapping[str, Points]
    validation: Points
    chance: float | None
    watched: Mapping[str, Points]
    floor: float | None
    metrics: Mapping[str, float]
    skipped: int
    seconds: float | None
    kept_best: bool = False

    def first_train(self) -> Points:
        """Losses of the first player."""
        return next(iter(self.train.values()), [])


@dataclass(frozen=True)
class Files:
    """Everything the report is made of."""

    folder: Path
    run: Mapping[str, Any]
    plan: Mapping[str, Any]
    data: Mapping[str, Any]
    config: str
    curves: tuple[Curve, ...]
    proof: Proof | None
    diagnosis: Mapping[str, Any]


def read_files(folder: Path) -> Files:
    """Read what a run folder holds.

    Raises:
        DataError: a file is damaged, or the folder holds nothing to report.
    """
    run = Run(folder)
    tables = {name: _json(run, f"{name}.json") for name in ("run", "plan", "data", "eval/proof")}
    diagnosis = _json(run, DIAGNOSIS)
    events = run.events()
    if not events and not any(tables.values()):
        raise DataError(
            f"{folder}: there is nothing to report.",
            found="None of run.json, plan.json, data.json, metrics.jsonl, eval/proof.json is there.",
            fix="Give the folder that a run printed last.",
        )
    config = folder / "config.toml"
    stages = dict.fromkeys(str(event["stage"]) for event in events if "stage" in event)
    proof = tables["eval/proof"]
    return Files(
        folder,
        tables["run"],
        tables["plan"],
        tables["data"],
        config.read_text(encoding="utf-8") if config.is_file() else "",
        tuple(_curve(stage, [event for event in events if event.get("stage") == stage]) for stage in stages),
        _proof(folder / "eval" / "proof.json", proof) if proof else None,
        diagnosis,
    )


def _json(run: Run, name: str) -> dict[str, Any]:
    return run.read_json(name) if (run.folder / name).is_file() else {}


def _proof(path: Path, raw: Mapping[str, Any]) -> Proof:
    try:
        return Proof(
            confidence=float(raw["confidence"]),
            metric=Metric(**raw["metric"]) if "metric" in raw else ACCURACY,
            labels=tuple(int(n) for n in raw["labels"]),
            arms=tuple(_arm(arm) for arm in raw["arms"]),
            differences=tuple(_difference(int(n), d) for n, d in sorted(raw["differences"].items(), key=_by_count)),
            verdict=dict(raw["verdict"]),
            # Comparisons of classes written before there were other labels hold the matrix beside the rest.
            detail=raw.get("detail") or {"confusion": raw.get("confusion")},
            slices=raw.get("slices") or {},
            worst=raw.get("worst") or [],
            seconds=raw.get("seconds") or {},
            break_even=raw.get("break_even") or {},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: it does not hold a comparison.",
            found=f"{type(error).__name__}: {error}",
            cause="It was written by another version, or by hand.",
            fix="Give the `seedbed prove` command again.",
        ) from error


def _by_count(item: tuple[str, Any]) -> int:
    return int(item[0])


def _arm(raw: Mapping[str, Any]) -> Arm:
    scores = {int(n): _score(score) for n, score in raw["scores"].items()}
    return Arm(str(raw["name"]), str(raw["kind"]), bool(raw["pretrained"]), scores)


def _score(raw: Mapping[str, Any]) -> Score:
    selection = raw.get("selection")
    draws = tuple(float(draw) for draw in raw["draws"])
    return Score(
        float(raw["mean"]),
        float(raw["low"]),
        float(raw["high"]),
        draws,
        None if selection is None else float(selection),
        {str(name): (m["value"], m["low"], m["high"]) for name, m in (raw.get("metrics") or {}).items()},
    )


def _difference(n_labels: int, raw: Mapping[str, Any]) -> Difference:
    return Difference(
        n_labels,
        str(raw["best_pretrained"]),
        str(raw["best_other"]),
        float(raw["value"]),
        float(raw["low"]),
        float(raw["high"]),
        int(raw["num_draws"]),
        int(raw["num_items"]),
        str(raw.get("outcome", "")),
    )


def _curve(stage: str, events: Sequence[Mapping[str, Any]]) -> Curve:
    train: dict[str, Points] = {}
    validation: Points = []
    watched: dict[str, Points] = {}
    chance, floor, seconds, skipped = None, None, None, 0
    metrics: Mapping[str, float] = {}
    kept_best = False
    for event in events:
        step, kind = float(event.get("step", 0)), event.get("event")
        if event.get("chance") is not None:
            chance = float(event["chance"])
        if event.get("untrained_floor") is not None:
            floor = float(event["untrained_floor"])
        if event.get("seconds") is not None:
            seconds = float(event["seconds"])
        if kind == "step":
            losses = event.get("losses") or {"model": event.get("loss")}
            skipped += int(event.get("skipped") or 0)
            for player, loss in losses.items():
                if loss is not None:
                    train.setdefault(player, []).append((step, float(loss)))
            continue
        if event.get("loss") is not None:
            validation.append((step, float(event["loss"])))
            kept_best = bool(event.get("keeps_best", False))
            metrics = event.get("metrics") or metrics
        for name in ("probe", "feature_std", "effective_rank"):
            if event.get(name) is not None:
                watched.setdefault(name, []).append((step, float(event[name])))
    name = re.sub(r"\W+", "-", stage)
    return Curve(name, train, validation, chance, watched, floor, dict(metrics), skipped, seconds, kept_best)
