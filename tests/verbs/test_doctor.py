"""What the doctor sees, and what it says when something is wrong."""

from __future__ import annotations

import errno
import importlib.metadata
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from seedbed.verbs import doctor
from tests.verbs.making import Shell


def test_a_sound_machine(shell: Shell, tmp_path: Path) -> None:
    told = shell.ok("doctor", "--out", tmp_path / "not" / "there", "--json")
    findings = {finding["what"]: finding for finding in told.json["summary"]["findings"]}
    assert {"python", "torch", "numpy", "[hub]", "[export]", "device", "threads", "memory"} <= set(findings)
    assert all(finding["state"] in ("ok", "note") for finding in findings.values())
    assert str(tmp_path) in findings["folder for runs"]["found"] and "GiB free" in findings["folder for runs"]["found"]
    assert told.json["summary"]["environment"]["versions"]["torch"]
    assert not (tmp_path / "not").exists()


def test_a_missing_package_stops_and_says_how_to_install_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    before = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("rich", "onnx"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "numpy" else before(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    told = shell("doctor")
    assert told.code == 4
    assert "problem  rich: not installed  -> pip install 'rich>=" in told.out
    assert "problem  numpy: 0.1, wanted >=" in told.out
    assert "note     [export]: missing: onnx  -> pip install 'seedbed[export]'" in told.out
    assert "2 of " in told.err


def test_a_torchvision_of_another_torch(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    before = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.20.0" if name == "torchvision" else before(name))

    def broken(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert words[-1] == "import torchvision"
        return subprocess.CompletedProcess(words, 1, "", "Traceback\nRuntimeError: operator torchvision::nms")

    monkeypatch.setattr(subprocess, "run", broken)
    found = list(doctor._vision())
    assert [finding.state for finding in found] == ["problem"]
    assert "torchvision::nms" in found[0].found and "pip uninstall torchvision" in found[0].fix


def test_no_permission_and_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 1 << 60)
    (small,) = doctor._place(tmp_path)
    assert small.state == "note" and "seedbed runs gc" in small.fix

    def refuse(**_: Any) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    (shut,) = doctor._place(tmp_path)
    assert shut.state == "problem" and "Permission denied" in shut.found
