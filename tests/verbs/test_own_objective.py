"""An objective of the user's own: a file with the same things in it as one of ours, named by its path."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import seedbed.objectives.denoising as ours
from tests.verbs.making import QUICK, SAME, Shell, digit_folders


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Our own denoising, as somebody might copy it to change it."""
    assert ours.__file__ is not None
    return Path(shutil.copy(ours.__file__, tmp_path / "mine.py"))


def test_it_trains_and_a_changed_file_is_another_run(shell: Shell, own: Path, tmp_path: Path) -> None:
    data = digit_folders(tmp_path / "d", each=8)
    words = ("pretrain", data, "--objective", own, "--trunk", "mlp", "--out", tmp_path / "r", *QUICK, "--json")
    first = shell.ok(*words).json
    assert first["summary"]["objective"] == str(own) and first["summary"]["steps"] == 20
    assert "finished before" in shell.ok(*words).err
    same = shell.ok("pretrain", data, "--objective", "denoising", "--out", tmp_path / "r", *QUICK, "--json").json
    assert same["summary"]["loss"] == first["summary"]["loss"]
    own.write_text(own.read_text() + "\n# changed\n")
    assert shell.ok(*words).json["folder"] != first["folder"]
    assert shell.ok("finetune", first["folder"], data, "--out", tmp_path / "r", *SAME).code == 0


def test_files_that_cannot_be_used(shell: Shell, own: Path, tmp_path: Path) -> None:
    data = digit_folders(tmp_path / "d", each=4)
    words = ("plan", data, "--trunk", "mlp", "--steps", "5", "--objective")
    assert 'Did you mean "mine.py"?' in shell.refused(2, *words, tmp_path / "mind.py")
    text = own.read_text()
    own.write_text("def broken(:\n")
    told = shell.refused(2, *words, own)
    assert "mine.py:1: this file cannot be used" in told and "SyntaxError" in told
    own.write_text("x = 1\n\nimport no_such_module\n")
    told = shell.refused(2, *words, own)
    assert "mine.py:3" in told and "no_such_module" in told
    own.write_text("x = 1\n")
    assert "It lacks SETUP, Config, views" in shell.refused(2, *words, own)
    own.write_text(text + "\n\nclass Other:\n    pass\n")
    assert "holds 2 learners" in shell.refused(2, *words, own)
