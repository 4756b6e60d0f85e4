"""The demonstration on scikit-learn's digits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seedbed.verbs.demo import digits
from tests.verbs.making import CHEAP_PROOF, QUICK, Shell


def test_its_data_have_a_test_set() -> None:
    data = digits()
    assert data["images"].shape == (1797, 8, 8) and data["images"].dtype == np.uint8 and data["images"].max() == 255
    assert len(set(data["label"].tolist())) == 10
    assert 0.25 < np.mean(data["split"] == "test") < 0.35


def test_looking_only(shell: Shell, tmp_path: Path) -> None:
    told = shell.ok("demo", "--dry-run", "--out", tmp_path / "r", "--json")
    assert told.json["summary"]["plan"]["seconds"] == 105 and not (tmp_path / "r").exists()


def test_steps_instead_of_minutes(shell: Shell, tmp_path: Path) -> None:
    told = shell.ok("demo", "--out", tmp_path, *QUICK, *CHEAP_PROOF)
    assert told.last.startswith("verdict: ") and "1,797 rows" in told.out


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_as_it_is_advertised(tmp_path: Path) -> None:
    program = "import sys; from seedbed.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, "demo", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=390, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("verdict: ")
    (run,) = tmp_path.glob("run-*")
    assert (run / "report.html").stat().st_size < 2_000_000
