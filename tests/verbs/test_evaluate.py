"""Scores of a run's model, and what cannot be scored."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from tests.verbs.conftest import Kept
from tests.verbs.making import Shell, reviews, tree, write_csv

seedbed: Any = importlib.import_module("seedbed")


def test_scores_with_their_interval(shell: Shell, texts: Kept) -> None:
    before = tree(texts.out)
    summary = shell.ok("evaluate", texts.out, texts.more, "--label", "label", "--threads", "1", "--json").json[
        "summary"
    ]
    assert summary["rows"] == 20 and summary["unreadable"] == 0
    assert summary["accuracy_low"] <= summary["accuracy"] <= summary["accuracy_high"]
    assert summary["accuracy"] > 0.8
    assert seedbed.evaluate(texts.out, texts.more, label="label", threads=1).summary == summary
    assert tree(texts.out) == before


def test_what_the_run_scored_itself(shell: Shell, texts: Kept, images: Kept) -> None:
    summary = shell.ok("evaluate", images.out, "--json").json["summary"]
    assert summary["test_rows"] > 5 and summary["test"]["accuracy"] > 0.7
    assert "has scored nothing itself" in shell.refused(3, "evaluate", texts.out)


def test_labels_the_model_does_not_know(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    rows = reviews(10)
    strange = write_csv(tmp_path / "strange.csv", [*rows, ("a text of another kind", "middling")])
    told = shell.refused(3, "evaluate", texts.out, strange)
    assert "does not know the label 'middling'" in told and "bad, good" in told
    bare = write_csv(tmp_path / "bare.csv", [(text,) for text, _ in rows], ("text",))
    assert "no labelled rows" in shell.refused(3, "evaluate", texts.out, bare)
    assert 'Did you mean "label"?' in shell.refused(3, "evaluate", texts.out, texts.more, "--label", "labl")


def test_rows_that_cannot_be_read_are_counted(shell: Shell, images: Kept, tmp_path: Path) -> None:
    for label in "012":
        (tmp_path / label).mkdir()
        for path in (images.more / label).iterdir():
            (tmp_path / label / path.name).write_bytes(path.read_bytes())
    (tmp_path / "0" / "cut.png").write_bytes(next((images.more / "0").iterdir()).read_bytes()[:60])
    summary = shell.ok("evaluate", images.out, tmp_path, "--json").json["summary"]
    assert summary["rows"] == 18 and summary["unreadable"] == 1


def test_an_encoder_alone_cannot_answer(shell: Shell, texts: Kept) -> None:
    for verb in ("evaluate", "predict"):
        told = shell.refused(3, verb, texts.run("pretrain"), texts.more)
        assert "holds an encoder, which cannot answer yet" in told and "seedbed finetune" in told


def test_another_modality(shell: Shell, texts: Kept, images: Kept) -> None:
    shell.refused(3, "evaluate", texts.out, images.more)
    shell.refused(3, "evaluate", images.out, texts.more, "--label", "label")
