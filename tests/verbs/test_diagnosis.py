"""What went wrong is named, by real trainings; benchmarks/diagnosis.py counts ten seeds a case."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from diagnosis import CASES, diagnosed, rightly

from seedbed.report.page import write_report


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_each_case_is_named(name: str, tmp_path: Path) -> None:
    """A planted fault comes first, a healthy run has none."""
    findings = diagnosed(CASES[name], 0, tmp_path)
    assert rightly(CASES[name], findings), findings


def test_a_finding_stands_in_every_report_and_in_the_summary(tmp_path: Path) -> None:
    case = replace(CASES["learning rate too high"], steps=20)
    findings = diagnosed(case, 0, tmp_path)
    assert rightly(case, findings) and findings[0]["severity"] == "warning"
    (run,) = tmp_path.glob("finetune-*")
    summary = json.loads((run / "run.json").read_text())["summary"]
    assert summary["diagnosis"][0] == "learning rate too high"
    page = write_report(run).read_text()
    assert 'id="diagnosis"' in page and findings[0]["evidence"] in page
    told = json.loads((run / "report.json").read_text())["diagnosis"]
    assert told["findings"][0]["advice"] == findings[0]["advice"] and "labels" in told["looked_at"]
    assert "**learning rate too high** (warning)" in (run / "report.md").read_text()
