"""A RUN argument means a run folder, or the right one in a folder of runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from seedbed.core.errors import DataError, UsageError
from seedbed.core.locate import locate_run


def make(out: Path, name: str, status: str | None = "finished", age: int = 0) -> Path:
    folder = out / name
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    if status is not None:
        (folder / "run.json").write_text(json.dumps({"status": status, "verb": name.partition("-")[0]}))
        os.utime(folder / "run.json", (1_000_000 - age, 1_000_000 - age))
    return folder


def test_the_folder_itself(tmp_path: Path) -> None:
    run = make(tmp_path, "pretrain-plays-0a1b2c3d", status=None)
    assert locate_run(run) == run
    assert locate_run(str(run), verbs=("finetune",)) == run


def test_the_only_one_in_an_out_folder(tmp_path: Path) -> None:
    (tmp_path / "data" / "0123").mkdir(parents=True)
    run = make(tmp_path, "pretrain-plays-0a1b2c3d", status=None)
    assert locate_run(tmp_path) == run


def test_the_newest_finished_one(tmp_path: Path) -> None:
    make(tmp_path, "pretrain-a-1", age=30)
    newest = make(tmp_path, "pretrain-b-2", age=20)
    make(tmp_path, "pretrain-c-3", status="unfinished", age=10)
    assert locate_run(tmp_path) == newest


def test_only_runs_that_fit(tmp_path: Path) -> None:
    tuned = make(tmp_path, "finetune-a-1", age=30)
    make(tmp_path, "pretrain-b-2", age=20)
    assert locate_run(tmp_path, verbs=("finetune", "run")) == tuned
    with pytest.raises(UsageError, match="no run made by prove or run") as caught:
        locate_run(tmp_path, verbs=("prove", "run"))
    assert "finetune-a-1, pretrain-b-2" in caught.value.found


def test_none_finished(tmp_path: Path) -> None:
    make(tmp_path, "pretrain-a-1", status="unfinished")
    torn = make(tmp_path, "pretrain-b-2")
    (torn / "run.json").write_text('{"status": "fin')
    with pytest.raises(DataError, match="2 runs that fit, none of them finished"):
        locate_run(tmp_path)
    (torn / "run.json").write_text("[]")
    with pytest.raises(DataError, match="none of them finished"):
        locate_run(tmp_path)


def test_no_such_folder_offers_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="no such run folder") as caught:
        locate_run(tmp_path / "rnus")
    assert caught.value.cause == 'Did you mean "runs"?'
    with pytest.raises(UsageError, match="holds no run made by any verb"):
        locate_run(tmp_path / "runs")
