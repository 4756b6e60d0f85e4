"""Fine-tuning a run's encoder: idempotent, honest about what does not fit."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seedbed.core.errors import BudgetError
from seedbed.verbs import drive
from tests.verbs.conftest import Kept
from tests.verbs.making import SAME, Shell, reviews, tree, write_csv


def test_the_same_command_finds_its_own_run(shell: Shell, texts: Kept) -> None:
    before = tree(texts.out)
    told = shell.ok("finetune", texts.out, texts.data, "--label", "label", "--out", texts.out, *SAME)
    assert "finished before" in told.out
    assert tree(texts.out) == before


def test_it_is_scored_on_test_rows_once(images: Kept) -> None:
    summary = json.loads((images.run("finetune") / "run.json").read_text())["summary"]
    # Too few labels to stop by some: networks trained without a part each answer for it instead.
    assert summary["trust"]["held"] == summary["labels"] < 200 and summary["trust"]["temperature"] != 1.0
    assert summary["labels"] + summary["test_rows"] == 60
    assert summary["test"]["accuracy"] > 0.7


def test_looking_only_writes_nothing(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    told = shell.ok("finetune", texts.out, texts.data, "--label", "label", "--out", tmp_path / "r", "--dry-run")
    assert list(tmp_path.iterdir()) == []
    assert "bad 40, good 40" in told.out


def test_another_modality(shell: Shell, texts: Kept, images: Kept, tmp_path: Path) -> None:
    told = shell.refused(3, "finetune", texts.out, images.data, "--out", tmp_path)
    assert "reads text, these data are image" in told
    told = shell.refused(3, "finetune", images.out, texts.data, "--label", "label", "--out", tmp_path)
    assert "reads image, these data are text" in told
    assert list(tmp_path.iterdir()) == []


def test_images_of_another_shape(shell: Shell, images: Kept, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for row in range(12):
        folder = tmp_path / "d" / "ab"[row % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (12, 12), np.uint8)).save(folder / f"{row}.png")
    words = ("finetune", images.out, tmp_path / "d", "--out", tmp_path / "r", "--dry-run")
    assert "8 x 8 pixels in 1 channel, these are 12 x 12" in (told := shell.refused(3, *words))
    assert "--set data.image_size=8" in told
    shell.ok(*words, "--set", "data.image_size=8")


def test_labels_that_teach_nothing(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    one = write_csv(tmp_path / "one.csv", [(text, "same") for text, _ in reviews(20)])
    none = write_csv(tmp_path / "none.csv", [(text,) for text, _ in reviews(20)], ("text",))
    assert 'only one class, "same" (20 rows)' in shell.refused(3, "finetune", texts.out, one, "--out", tmp_path / "r")
    assert "no row has a label" in shell.refused(3, "finetune", texts.out, none, "--out", tmp_path / "r")
    told = shell.refused(3, "finetune", texts.out, one, "--label", "lable", "--out", tmp_path / "r")
    assert 'Did you mean "label"?' in told and "one.csv" in told


def test_no_such_run(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    told = shell.refused(2, "finetune", texts.out.parent / "rr", texts.data, "--label", "label", "--out", tmp_path)
    assert 'Did you mean "r"?' in told


def tuned(texts: Kept, out: Path, monkeypatch: pytest.MonkeyPatch, step_s: float) -> Any:
    """Fine-tuning in three minutes on a machine on which a step takes so long."""
    verb: Any = importlib.import_module("seedbed.verbs.finetune")
    monkeypatch.setattr(verb, "timed_step", lambda *_: step_s)
    options = {"label": "label", "minutes": 3.0, "threads": 1, "pretrain": {"precision": "float32"}}
    return verb.finetune(texts.out, texts.data, out=out, **options)


def test_minutes_bound_the_steps(texts: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tuned(texts, tmp_path, monkeypatch, 0.5)
    steps = made.summary["steps"]
    # 171 s for ten networks: at two rates without each of two parts, once on all rows, without each of five parts.
    assert 28 <= steps <= 34
    told = json.loads((made.folder / "plan.json").read_text())["reasons"]
    assert any(f"{steps} of 150 steps: 10 networks of 0.5 s a step in 3 minutes" in reason for reason in told)
    assert tuned(texts, tmp_path, monkeypatch, 0.1).folder == made.folder


def test_too_few_minutes_are_refused_with_what_would_do(
    texts: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BudgetError, match="10 networks, of 5 s a step") as caught:
        tuned(texts, tmp_path, monkeypatch, 5.0)
    # 10 steps of 5 s, of 10 networks, and half as much again because short fits are noisy.
    assert re.search(r"--minutes 1[5-8], or leave --minutes out", str(caught.value))


def test_without_minutes_nothing_bounds_the_steps(texts: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the half hour either that a whole run takes by itself: a large network may need longer."""
    verb: Any = importlib.import_module("seedbed.verbs.finetune")
    deadlines: list[float | None] = []

    def driven(job: Any, say: Any) -> Any:
        deadlines.append(job.deadline)
        return drive.drive(job, say)

    monkeypatch.setattr(verb, "drive", driven)
    options = {"label": "label", "threads": 1, "pretrain": {"precision": "float32"}, "finetune": {"ensemble": 2}}
    made = verb.finetune(texts.out, texts.data, out=tmp_path, **options)
    assert deadlines == [None, None] and made.summary["steps"] == 150
