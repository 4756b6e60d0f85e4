"""Plans: what would be done, with reasons, and the least time that would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verbs.conftest import Kept
from tests.verbs.making import Shell


def test_a_plan_has_reasons(shell: Shell, texts: Kept, images: Kept) -> None:
    for kept, objective in ((texts, "skip_gram"), (images, "denoising")):
        told = shell.ok("plan", kept.data, "--minutes", "5", "--json")
        plan = told.json["summary"]["plan"]
        assert plan["objective"] == objective and plan["seconds"] == 300 and len(plan["reasons"]) >= 3
        assert all(f"  - {reason}" in told.err for reason in plan["reasons"])


def test_flags_are_obeyed(shell: Shell, texts: Kept) -> None:
    words = (
        "--objective",
        "causal_lm",
        "--size",
        "micro",
        "--threads",
        "1",
        "--steps",
        "7",
        "--set",
        "pretrain.lr=1e-4",
    )
    plan = shell.ok("plan", texts.data, *words, "--json").json["summary"]["plan"]
    assert (plan["objective"], plan["trunk"], plan["size"]) == ("causal_lm", "transformer", "micro")
    assert plan["threads"] == 1 and plan["lr"] == 1e-4 and plan["seconds"] is None


@pytest.mark.parametrize("verb", ["plan", "pretrain", "run", "prove"])
def test_one_second_is_too_short(shell: Shell, texts: Kept, tmp_path: Path, verb: str) -> None:
    told = shell.refused(6, verb, texts.data, "--minutes", "0.0166", "--out", tmp_path / "r")
    assert "1.0 s for the whole command" in told
    least = told.split("--minutes ")[1].split(",")[0]
    assert 0.1 < float(least) < 0.5
    assert list(tmp_path.iterdir()) == []
    shell.ok("plan", texts.data, "--minutes", least, "--out", tmp_path / "r")
