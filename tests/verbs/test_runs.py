"""Runs listed, shown, compared and cleared: nothing goes that a command could still need."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from seedbed.cli.app import execute
from seedbed.core.runs import open_run, read_json, write_json
from tests.verbs.conftest import Kept
from tests.verbs.making import QUICK, Shell, tree


@pytest.fixture
def out(texts: Kept, tmp_path: Path) -> Path:
    """A copy of a folder with a pretraining and a fine-tuning."""
    return shutil.copytree(texts.out, tmp_path / "runs")


def test_list(shell: Shell, out: Path) -> None:
    told = shell.ok("runs", "list", "--out", out, "--json")
    lines = {line["run"]: line for line in told.json["summary"]["runs"]}
    assert len(lines) == 2 and {line["status"] for line in lines.values()} == {"finished"}
    (pretrained,) = (line for name, line in lines.items() if name.startswith("pretrain-"))
    folder = out / pretrained["run"]
    assert pretrained["size_bytes"] == sum(len(content) for content in tree(folder).values())
    assert pretrained["objective"] == "skip_gram" and pretrained["seconds"] > 0
    assert all(name in shell.ok("runs", "--out", out).out for name in lines)


def test_a_running_and_a_damaged_run_are_told_apart(shell: Shell, out: Path) -> None:
    folder = next(out.glob("finetune-*"))
    (folder / "run.json").write_text((folder / "run.json").read_text().replace("finished", "finishad"))
    run = open_run(out, "pretrain", "other", {"a": 1})
    run.record(verb="pretrain")
    status = {line["run"]: line["status"] for line in shell.ok("runs", "--out", out, "--json").json["summary"]["runs"]}
    assert status[folder.name] == "damaged" and status[run.folder.name] == "running"
    assert "does not match its hash" in shell.ok("runs", "show", folder, "--json").json["summary"]["why"]
    run.close()
    status = {line["run"]: line["status"] for line in shell.ok("runs", "--out", out, "--json").json["summary"]["runs"]}
    assert status[run.folder.name] == "unfinished"


def test_show(shell: Shell, out: Path) -> None:
    folder = next(out.glob("pretrain-*"))
    summary = shell.ok("runs", "show", folder, "--json").json["summary"]
    assert summary["verb"] == "pretrain" and summary["steps"] == 20 and summary["versions"]["torch"]
    assert set(summary["sizes_bytes"]) == {path.name for path in folder.iterdir()}


def test_diff_names_what_differs_and_nothing_else(shell: Shell, texts: Kept, out: Path) -> None:
    first = next(out.glob("pretrain-*"))
    assert execute(["pretrain", str(texts.data), "--out", str(out), *QUICK, "--seed", "3"]) == 0
    (second,) = set(out.glob("pretrain-*")) - {first}
    summary = shell.ok("runs", "diff", first, second, "--json").json["summary"]
    rows = {(row["part"], row["name"]): row for row in summary["differing"]}
    assert rows["settings", "seed"][first.name] == 0 and rows["settings", "seed"][second.name] == 3
    assert ("results", "loss") in rows and not any(part == "environment" and name != "commit" for part, name in rows)
    assert [name for part, name in rows if part == "settings"] == ["seed"]
    same = shell.ok("runs", "diff", first, first, "--json").json["summary"]
    assert same["differences"] == 0 and same["differing"] == []


def test_a_damaged_configuration_is_named(shell: Shell, out: Path) -> None:
    first, second = next(out.glob("pretrain-*")), next(out.glob("finetune-*"))
    (first / "config.toml").write_bytes(b"seed = \xff")
    assert "config.toml is damaged" in shell.refused(3, "runs", "diff", first, second)


def test_gc_takes_what_nothing_needs(shell: Shell, texts: Kept, out: Path) -> None:
    finished = next(out.glob("finetune-*"))
    (finished / "eval").mkdir(exist_ok=True)
    (finished / "eval" / ".tmp-1").write_bytes(b"x" * 10)
    kept = [path for path in (out / "data").iterdir() if path.is_dir()]
    copy = shutil.copytree(kept[0], out / "data" / "elder")
    write_json(copy / "manifest.json", {**read_json(copy / "manifest.json"), "generation": 0})
    running = open_run(out, "pretrain", "other", {"a": 1})
    (running.folder / "checkpoints").mkdir()
    (running.folder / ".tmp-run.json").write_bytes(b"x")
    before = tree(out)
    dry = shell.ok("runs", "gc", "--out", out, "--dry-run", "--json").json["summary"]
    assert tree(out) == before and dry["would_free_bytes"] > 10
    # The running one has not said which data it uses, so all of them stay.
    told = shell.ok("runs", "gc", "--out", out, "--json")
    assert copy.is_dir() and any("all prepared data stay" in text for text in told.json["warnings"])
    assert not (finished / "checkpoints").exists() and not (finished / "eval" / ".tmp-1").exists()
    assert (running.folder / "checkpoints").is_dir() and (running.folder / ".tmp-run.json").exists()
    assert told.json["summary"]["freed_bytes"] == dry["would_free_bytes"]
    running.close()
    shutil.rmtree(running.folder)
    told = shell.ok("runs", "gc", "--out", out, "--json")
    assert [row["path"] for row in told.json["summary"]["removed"]] == [str(copy)]
    assert all(path.is_dir() for path in kept) and not copy.exists()
    # What is left still answers.
    assert shell.ok("predict", finished, "a warm and lively film", "--json").json["summary"]["answered"] == 1


def test_gc_says_what_it_may_not_remove(shell: Shell, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("seedbed.verbs.runs.shutil.rmtree", refuse)
    assert "cannot be removed" in shell.refused(4, "runs", "gc", "--out", out)


def test_misuse(shell: Shell, out: Path, tmp_path: Path) -> None:
    assert 'Did you mean "list"?' in shell.refused(2, "runs", "lst", "--out", out)
    assert "takes 2 runs, not 1" in shell.refused(2, "runs", "diff", next(out.glob("pretrain-*")))
    assert "takes no runs, not 1" in shell.refused(2, "runs", "list", out)
    assert 'Did you mean "runs"?' in shell.refused(2, "runs", "list", "--out", tmp_path / "rums")
