"""Rows to label next, from the command line and from Python, and what cannot be suggested from."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import pytest

from seedbed.verbs import suggest as verb
from tests.verbs.conftest import Kept
from tests.verbs.making import Shell, reviews, tree, write_csv

seedbed: Any = importlib.import_module("seedbed")


def test_a_file_of_rows_to_label(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    before = tree(texts.out)
    target = tmp_path / "next" / "rows.csv"
    told = shell.ok("suggest", texts.run("pretrain"), texts.data, "--count", "7", "--out", target, "--threads", "1")
    assert "suggested: 7" in told.out and str(target) in told.out
    with target.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["rank", "key", "preview", "score", "reason"]
    assert [line["rank"] for line in lines] == [str(rank) for rank in range(1, 8)]
    # Rows 2 to 81 of the file have labels.
    assert all(int(line["key"].rpartition(":")[2]) > 81 for line in lines) and len({line["key"] for line in lines}) == 7
    assert all("unsure" in line["reason"] and line["preview"] for line in lines)
    direct = seedbed.suggest(texts.out, texts.data, count=7, threads=1).summary["suggestions"]
    assert [line["key"] for line in direct] == [line["key"] for line in lines]
    assert tree(texts.out) == before


def test_without_any_label_and_for_images(shell: Shell, images: Kept, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    for path in images.data.rglob("*.png"):
        bare.mkdir(exist_ok=True)
        (bare / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    told = shell.ok("suggest", images.out, bare, "--count", "6", "--json", "--threads", "1").json["summary"]
    assert told["labelled"] == 0 and told["candidates"] == 60 and told["suggested"] == 6
    assert "8 x 8 pixels, 1 channel" in told["suggestions"][0]["preview"]
    assert len({Path(line["key"]).name[0] for line in told["suggestions"]}) == 3, "one of each digit at least"


def test_rows_set_aside_and_equal_rows_are_never_suggested(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    rows = [
        (text, label if at < 20 else "", "test" if at >= 40 else "train")
        for at, (text, label) in enumerate(reviews(60))
    ]
    rows += [(text.upper(), "", "train") for text, _, _ in rows[:10]]
    data = write_csv(tmp_path / "t.csv", rows, ("text", "label", "split"))
    told = shell.ok("suggest", texts.out, data, "--label", "label", "--count", "50", "--threads", "1", "--json").json
    assert told["summary"]["candidates"] == 20
    lines = {int(line["key"].rpartition(":")[2]) for line in told["summary"]["suggestions"]}
    assert lines <= set(range(22, 42))


def test_what_cannot_be_suggested_from(shell: Shell, texts: Kept, images: Kept, tmp_path: Path) -> None:
    full = write_csv(tmp_path / "full.csv", reviews(20))
    told = shell.refused(3, "suggest", texts.out, full, "--label", "label")
    assert "no unlabelled rows" in told and "20 labelled rows" in told
    assert "0 rows cannot be suggested" in shell.refused(2, "suggest", texts.out, texts.data, "--count", "0")
    assert 'Did you mean ".csv"?' in shell.refused(2, "suggest", texts.out, texts.data, "--out", tmp_path / "a.cvs")
    assert "reads text" in shell.refused(3, "suggest", texts.out, images.data)
    assert "no run" in shell.refused(2, "suggest", tmp_path, texts.data)


def test_of_very_many_rows_some_are_looked_at(shell: Shell, texts: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "MOST_CANDIDATES", 30)
    told = shell.ok("suggest", texts.out, texts.data, "--count", "5", "--threads", "1", "--json").json
    assert told["summary"]["candidates"] == 30 and "30 of 80 unlabelled rows" in told["warnings"][0]
