"""The model a run leaves behind learns from all labels, or from as many as the time allows, which is said."""

from __future__ import annotations

import importlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.verbs.making import run_of_reviews

verb: Any = importlib.import_module("seedbed.verbs.run")


def kept(out: Path, monkeypatch: pytest.MonkeyPatch, left_s: float) -> tuple[Any, list[str]]:
    """A run of 100 labelled training rows, of which 20 are compared at, with so much time left for its winner."""
    monkeypatch.setattr(verb, "left_s", lambda *_: left_s)
    warned: list[str] = []
    made = run_of_reviews(
        out,
        100,
        30,
        lambda event, **fields: warned.append(fields["text"]) if event == "warning" else None,
        steps=5,
        prove={"draws": 2, "arms": ["majority", "frozen+probe"], "labels": [20]},
    )
    return made, warned


def test_it_learns_from_all_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, warned = kept(tmp_path, monkeypatch, math.inf)
    model = made.summary["model"]
    assert model["labels"] == model["of"] == 100 and warned == []
    # Every label was answered for without it.
    assert made.summary["trust"]["held"] == 100


def test_without_time_it_learns_from_as_many_as_were_compared_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, warned = kept(tmp_path, monkeypatch, 0.0)
    model = made.summary["model"]
    assert model["labels"] == 20 and model["of"] == 100
    assert len(warned) == 1 and "learns from 20 of 100 labels" in warned[0]
    assert json.loads((made.folder / "winner-plan.json").read_text())["labels"] == 20
    assert "20 of 100 labels" in (made.folder / "report.md").read_text()


def line(labels: int) -> float:
    return labels


def nothing(labels: int) -> float:
    return 0.0


def cube(labels: int) -> float:
    return (labels / 20) ** 3


@pytest.mark.parametrize(("fit_s", "grows", "labels"), [(20.0, line, 28), (20.0, nothing, 100), (1.0, cube, 57)])
def test_with_some_time_it_learns_from_what_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit_s: float, grows: Callable[[int], float], labels: int
) -> None:
    """A fit on 20 labels takes so long: because of the labels, or whatever it is of? It is tried out."""
    winner: Any = importlib.import_module("seedbed.verbs.winner")
    fitting, began, spent = winner._fitting, time.monotonic(), 0.0

    def slow(contest: Any, judged: Any, every: Any, deadline: float) -> Any:
        def answer(cell: Any) -> Any:
            nonlocal spent
            spent += grows(len(cell.train))
            return judged.best.answer(cell)

        found = replace(judged, best=replace(judged.best, answer=answer), fit_s=fit_s)
        return fitting(contest, found, every, began + 180.0)

    monkeypatch.setattr(winner, "_fitting", slow)
    monkeypatch.setattr(winner, "time", SimpleNamespace(monotonic=lambda: began + spent))
    made, _ = kept(tmp_path, monkeypatch, 180.0)
    # One fit for the model, five on four fifths to calibrate it. By a line 36 labels seem to fit, trying these leaves
    # 144 s; by a cube that looks like a line all seem to, trying 80 leaves 116 s, in which 23 s for each fit.
    assert labels - 1 <= made.summary["model"]["labels"] <= labels
