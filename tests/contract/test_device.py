"""Whatever trains on the processor trains on another device: nothing is left behind, and the draws are the same."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.contract.followed import CONTROL, SUBJECTS, num_steps, told
from tests.contract.subjects import Subject
from tests.structure.sources import ROOT


@pytest.fixture(scope="session")
def abroad() -> dict[str, list[float]]:
    command = [sys.executable, "-m", "tests.contract.followed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_learners_follow_the_device(subject: Subject, abroad: dict[str, list[float]]) -> None:
    assert len(abroad) - 1 == len(SUBJECTS) == 43
    # Attention takes another route there, which rounds in another order.
    assert abroad[str(subject)] == pytest.approx(told(subject, num_steps(subject)), rel=1e-3, abs=1e-5)


def test_what_is_left_behind_is_refused(abroad: dict[str, list[float]]) -> None:
    """A tensor there and one here: the control, without which agreement would say nothing."""
    assert abroad[CONTROL] == [6.0, 1.0]
