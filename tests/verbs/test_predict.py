"""Answers for new files and texts, in every form, and for inputs nobody can read."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.verbs.conftest import Kept
from tests.verbs.making import Shell, tree

seedbed: Any = importlib.import_module("seedbed")


def test_files_of_answers_agree(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    before = tree(texts.out)
    for suffix in ("csv", "jsonl", "parquet"):
        told = shell.ok("predict", texts.out, texts.more, "--to", tmp_path / "new folder" / f"p.{suffix}", "--json")
        assert told.json["summary"]["answered"] == 20
    folder = tmp_path / "new folder"
    table = pq.read_table(folder / "p.parquet").to_pylist()
    lines = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    with (folder / "p.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    direct = seedbed.predict(texts.out, texts.more).summary["predictions"]
    for answers in (table, lines, cells, direct):
        assert [answer["key"] for answer in answers] == [f"new.csv:{row}" for row in range(2, 22)]
        assert [answer["label"] for answer in answers] == [answer["label"] for answer in table]
    assert table[0]["p_bad"] + table[0]["p_good"] == pytest.approx(1.0)
    assert tree(texts.out) == before


def test_words_are_texts(shell: Shell, texts: Kept) -> None:
    told = shell.ok("predict", texts.out, "bright, warm / clever and charming?", "dull", "--threads", "1")
    lines = [line for line in told.out.splitlines() if line.startswith("text ")]
    assert len(lines) == 2 and "good" in lines[0] and "{" not in told.out


@pytest.mark.parametrize("word", ["nw.csv", "./nothing", "/nowhere/a.txt"])
def test_a_missing_file_is_not_answered_for_as_a_text(shell: Shell, texts: Kept, word: str) -> None:
    assert "There is no file or folder" in shell.refused(3, "predict", texts.out, word)


def test_a_row_that_cannot_be_read_is_told(shell: Shell, images: Kept, tmp_path: Path) -> None:
    good = next((images.more / "0").iterdir())
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:60])
    told = shell.ok("predict", images.out, tmp_path / "cut.png", good, "--json").json
    assert told["summary"]["rows"] == 2 and told["summary"]["answered"] == 1
    assert "1 of 2 rows could not be read" in told["warnings"][0]
    reasons = {Path(row["key"]).name: row["reason"] for row in told["summary"]["predictions"]}
    assert "cut off" in reasons["cut.png"] and reasons[good.name] is None
    told = shell.ok("predict", images.out, tmp_path / "cut.png", "--to", tmp_path / "p.csv", "--json").json
    assert told["summary"]["answered"] == 0 and "cut off" in (tmp_path / "p.csv").read_text()


def test_unknown_endings_and_targets(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    told = shell.refused(2, "predict", texts.out, texts.more, "--to", tmp_path / "p.cvs")
    assert 'Did you mean ".csv"?' in told
    (tmp_path / "file").write_text("x")
    shell.refused(4, "predict", texts.out, texts.more, "--to", tmp_path / "file" / "p.csv")
    (tmp_path / "dir.csv").mkdir()
    shell.refused(4, "predict", texts.out, texts.more, "--to", tmp_path / "dir.csv")


def test_another_modality(shell: Shell, texts: Kept, images: Kept) -> None:
    assert "answers for text" in shell.refused(3, "predict", texts.out, images.more)
    assert "answers for image" in shell.refused(3, "predict", images.out, texts.more)
    assert "There is no file" in shell.refused(3, "predict", images.out, "hello there")


def test_an_empty_folder_and_no_run(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is empty" in shell.refused(3, "predict", texts.out, tmp_path / "empty")
    assert "no run" in shell.refused(2, "predict", tmp_path / "empty", texts.more)
