"""What of a comparison was cut before pretraining takes place after all where pretraining left its time."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from seedbed.core.errors import BudgetError
from tests.verbs.making import reviews, run_of_reviews

seedbed: Any = importlib.import_module("seedbed")
verb: Any = importlib.import_module("seedbed.verbs.run")
comparison: Any = importlib.import_module("seedbed.verbs.proof")


def proven(out: Path, monkeypatch: pytest.MonkeyPatch, left_s: float) -> tuple[dict[str, Any], list[str], Path]:
    """A run whose comparison has 6 s in the plan, and so many when pretraining is done; all of it would take 18."""

    def price(contest: Any, _: float) -> list[Any]:
        cost = {"majority": 0.0, "tfidf": 4.0, "frozen+probe": 4.0, "lsa": 1.0}
        needed = ("majority", "frozen+probe")
        return [
            comparison.Price(name, dict.fromkeys(contest.labels, seconds / 2), required=name in needed)
            for name, seconds in cost.items()
        ]

    monkeypatch.setattr(verb, "price", price)
    monkeypatch.setattr(verb, "left_s", lambda *_: left_s)
    monkeypatch.setattr(verb, "PROVE_SHARE", 6.0 / 600)
    said: list[str] = []
    made = run_of_reviews(
        out,
        60,
        40,
        lambda event, **fields: said.extend(fields["lines"]) if event == "understood" else None,
        minutes=10.0,
        prove={"draws": 2, "labels": [10, 20], "arms": ["majority", "tfidf", "lsa", "frozen+probe"]},
    )
    proof = json.loads((made.folder / "eval" / "proof.json").read_text())
    return proof, said, made.folder


def test_time_that_is_left_brings_back_what_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof, said, folder = proven(tmp_path, monkeypatch, left_s=100.0)
    planned = json.loads((folder / "proof-plan.json").read_text())
    assert planned["arms"] == ["majority", "frozen+probe"] and planned["labels"] == [20]
    assert {arm["name"] for arm in proof["arms"]} == {"majority", "tfidf", "lsa", "frozen+probe"}
    assert proof["labels"] == [10, 20] and proof["reasons"] == []
    told = [line for line in said if line.startswith("pretraining left time")]
    assert told == ["pretraining left time, so there is a comparison of tfidf, lsa, 10 labels too"]


def test_without_any_the_plan_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof, said, folder = proven(tmp_path, monkeypatch, left_s=1.0)
    planned = json.loads((folder / "proof-plan.json").read_text())
    assert {arm["name"] for arm in proof["arms"]} == set(planned["arms"]) == {"majority", "frozen+probe"}
    assert proof["labels"] == planned["labels"] == [20]
    assert proof["reasons"] and not any(line.startswith("pretraining left") for line in said)


def test_what_cannot_fit_is_not_tried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of which a few steps say that a fit takes days is not fitted only to learn its price."""
    monkeypatch.setattr(importlib.import_module("seedbed.verbs.arms"), "expected_s", lambda *_: 1e5)
    rows = {"text": [text for text, _ in reviews(60)], "label": [label for _, label in reviews(60)]}
    with pytest.raises(BudgetError, match="even at its smallest"):
        seedbed.run(rows, out=tmp_path, label="label", minutes=5.0, size="nano", threads=1)
    (run,) = tmp_path.glob("run-*")
    made = {path.name.split("-")[0] for path in (run / "eval" / "cells").iterdir()}
    assert "tfidf" in made and "scratch" not in made
