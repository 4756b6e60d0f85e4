"""Pretraining from the command line: what it leaves behind, that it repeats, and that its configuration is a recipe."""

from __future__ import annotations

import importlib
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.verbs.conftest import Kept
from tests.verbs.making import QUICK, Shell, reviews, tree, write_csv

seedbed: Any = importlib.import_module("seedbed")


def test_a_run_folder_holds_what_it_promises(texts: Kept) -> None:
    run = texts.run("pretrain")
    names = {path.name for path in run.iterdir()}
    promised = {"config.toml", "plan.json", "data.json", "metrics.jsonl", "checkpoints", "model", "run.json"}
    assert promised | {"report.html", "report.json", "report.md"} <= names
    told = json.loads((run / "run.json").read_text())
    assert told["status"] == "finished" and told["summary"]["steps"] == 20
    counts = json.loads((run / "data.json").read_text())["counts"]
    assert counts["total"] == 160 == sum(value for name, value in counts.items() if name != "total")


def test_the_same_command_shows_the_finished_run(shell: Shell, texts: Kept) -> None:
    before = tree(texts.out)
    told = shell.ok("pretrain", texts.data, "--out", texts.out, *QUICK)
    assert "finished before" in told.out and str(texts.run("pretrain")) in told.out
    assert "pretrain: 20 steps" not in told.out
    assert tree(texts.out) == before


def test_the_configuration_of_a_run_is_its_recipe(shell: Shell, texts: Kept) -> None:
    run = texts.run("pretrain")
    tomllib.loads((run / "config.toml").read_text())
    told = shell.ok("pretrain", texts.data, "--config", run / "config.toml", "--out", texts.out, "--json")
    assert Path(told.json["folder"]) == run
    assert len(list(texts.out.glob("pretrain-*"))) == 1


def test_python_gives_what_the_command_line_gives(texts: Kept, tmp_path: Path) -> None:
    options = {"pretrain": {"precision": "float32", "evaluations": 2}, "steps": 20, "size": "nano", "threads": 1}
    again = seedbed.pretrain(texts.data, out=tmp_path, **options)
    assert again.folder.name == texts.run("pretrain").name
    for name in ("model.safetensors", "tokenizer.json"):
        assert (again.folder / "model" / name).read_bytes() == (texts.run("pretrain") / "model" / name).read_bytes()


@pytest.mark.parametrize("verb", ["pretrain", "run", "plan", "check"])
def test_looking_only_writes_nothing(shell: Shell, texts: Kept, tmp_path: Path, verb: str) -> None:
    told = shell.ok(verb, texts.data, "--label", "label", "--out", tmp_path / "r", "--minutes", "5", "--dry-run")
    assert list(tmp_path.iterdir()) == [] and "folder:" not in told.out
    assert "steps 0" not in told.out


def test_json_is_one_object(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "d" / "t.csv", reviews(40))
    told = shell.ok("pretrain", data, "--out", tmp_path / "r", *QUICK, "--json", "--set", "pretrain.evaluations=1")
    assert told.out.count("\n") == 1
    assert told.json["verb"] == "pretrain" and told.json["exit_code"] == 0
    assert told.json["summary"]["objective"] == "skip_gram" and Path(told.json["report"]).is_file()


def test_runs_do_not_lie_among_their_data(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "d" / "t.csv", reviews(10)).parent
    told = shell.refused(2, "pretrain", data, "--out", data / "runs", *QUICK)
    assert "lies inside the data" in told and str(tmp_path / "runs") in told
    assert [path.name for path in data.iterdir()] == ["t.csv"]


def test_a_folder_and_arrays(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    pretrain = {"precision": "float32", "evaluations": 1}
    made = seedbed.pretrain(images, out=tmp_path, steps=5, size="nano", threads=1, pretrain=pretrain)
    assert made.summary["objective"] == "denoising" and made.summary["steps"] == 5
    encoder, facts, _ = seedbed.load(made.folder)
    assert facts.image_shape == (1, 8, 8) and encoder.width > 0
