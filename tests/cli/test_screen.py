"""What people see: sparse lines without a terminal, a bar on one, loss against chance, the verdict last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from seedbed.cli.screen import Screen, clock_time, counts_line, short_count, step_line

STEP = {
    "step": 40,
    "steps": 120,
    "loss": 5.25,
    "chance": 6.9,
    "rate": 12345.0,
    "unit": "tokens",
    "eta_s": 65.0,
    "lr": 1,
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_step_line_shows_loss_against_chance_rate_and_time_left() -> None:
    assert step_line(STEP) == "step 40/120, loss 5.250 (chance 6.900), 12.3k tokens/s, 1:05 left"
    two = {"step": 1, "steps": 2, "losses": {"discriminator": 0.5, "generator": 1.25}}
    assert step_line(two) == "step 1/2, discriminator 0.5, generator 1.25"
    assert step_line({"step": 1, "steps": 2, "loss": None}) == "step 1/2, loss ?"


def test_formats() -> None:
    assert [short_count(v) for v in (12, 950, 12345, 4_560_000, 2e9)] == ["12", "950", "12.3k", "4.56M", "2G"]
    assert [clock_time(v) for v in (5, 65, 7384, float("inf"))] == ["0:05", "1:05", "2:03:04", "?"]
    assert counts_line({"used": 1900, "duplicate": 100, "total": 2000}) == "2,000 rows = 1,900 used + 100 duplicate"


def test_lines_are_sparse_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    screen = Screen(live=False, clock=clock)
    with screen:
        screen("stage", stage="pretrain", steps=1000, done=0)
        for step in range(1, 1001):
            clock.now += 0.3
            screen("step", **{**STEP, "step": step, "steps": 1000})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pretrain: 1,000 steps"
    assert lines[1].startswith("  step 1/1,000,")
    assert lines[-1].startswith("  step 1,000/1,000,")
    assert 8 <= len(lines) <= 14


def test_every_kind_of_event_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(live=False, clock=Clock())
    with screen:
        screen("understood", lines=["A CSV of 2,000 rows.", 'Column "text" [bold] is the text.'])
        screen("counts", used=1900, duplicate=100, total=2000)
        screen("plan", plan={"objective": "skip_gram", "steps": 5, "trunk": None}, reasons=["little time"])
        screen("evaluation", stage="pretrain", step=100, loss=3.2, chance=6.2, metrics={"accuracy": 0.41234})
        screen("saved", step=5)
        screen("resumed", stage="pretrain", step=1200)
        screen("damaged", path="r/checkpoints/step-5", why="a bit flipped")
        screen("warning", text="only one label of class x")
        screen("horizon", stage="pretrain", step=5, steps=80, before=100)
        screen("arm", name="lsa", n_labels=50, draw=0, score=0.7, metric="accuracy")
        screen("arm", name="lsa", n_labels=50, draw=1, part=0, score=0.7, metric="accuracy")
        screen("arm", name="lsa", n_labels=50, draw=1, part=1, score=0.9, metric="accuracy")
        screen("arm", name="majority", n_labels=50, draw=0, score=0.5, metric="accuracy")
        screen("report", path=Path("r/report.html"))
        screen("verdict", outcome="did not pay", sentence="Scratch was as good.")
    screen.finish("run", SimpleNamespace(folder=Path("r"), summary={"arms": 3}))
    told = capsys.readouterr().out
    for part in (
        "A CSV of 2,000 rows.\n",
        'Column "text" [bold] is the text.\n',
        "2,000 rows = 1,900 used + 100 duplicate\n",
        "plan: objective skip_gram, steps 5\n  - little time\n",
        "  validation at step 100: loss 3.200 (chance 6.200), accuracy 0.4123\n",
        "resumed pretrain at step 1,200\n",
        "damaged: r/checkpoints/step-5: a bit flipped\n",
        "warning: only one label of class x\n",
        "horizon: stage pretrain, step 5, steps 80, before 100\n",
        "  lsa, 50 labels, draw 0: accuracy 0.700\n",
        "       50 labels  0.750  lsa (2 draws)\n       50 labels  0.500  majority (1 draws)\n",
        "folder: r\nreport: r/report.html\n",
    ):
        assert part in told
    assert "saved" not in told
    assert told.splitlines()[-1] == "verdict: did not pay. Scratch was as good."


def test_saves_are_told_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(live=False, verbose=True)("saved", step=5)
    assert capsys.readouterr().out == "saved at step 5\n"


def test_a_result_without_verdict_shows_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"input": "a.png", "label": "cat", "confidence": 0.91},
        {"input": "b.png", "label": "dog", "confidence": 0.5},
    ]
    summary = {
        "accuracy": 0.81234,
        "rows": 1234,
        "deep": {"x": [1]},
        "labels": {"cat": 5, "dog": 1200},
        "predictions": rows,
    }
    Screen(live=False).finish("predict", SimpleNamespace(folder=Path("r"), summary=summary))
    assert capsys.readouterr().out.splitlines() == [
        "accuracy: 0.8123", "rows: 1,234", "labels: cat 5, dog 1,200",
        "a.png  cat  0.91", "b.png  dog  0.5", "folder: r",
    ]  # fmt: skip


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(live=True)
    screen.people = Console(force_terminal=True, width=120, record=True, markup=False)
    events: list[tuple[str, dict[str, Any]]] = [
        ("stage", {"stage": "pretrain", "steps": 120, "done": 0}),
        ("step", dict(STEP)),
        ("warning", {"text": "in between"}),
        ("step", {**STEP, "step": 120, "eta_s": 0.0}),
        ("stage", {"stage": "finetune", "steps": 10, "done": 5}),
        ("arm", {"name": "lsa", "n_labels": 50, "draw": 1, "score": 0.7, "metric": "accuracy"}),
    ]
    with screen:
        for event, fields in events:
            screen(event, **fields)
    told = screen.people.export_text()
    assert "step 120/120, loss 5.250 (chance 6.900), 12.3k tokens/s, 0:00 left" in told
    assert "warning: in between" in told
    assert "lsa, 50 labels, draw 1: accuracy 0.700" in told
    assert screen.bar is None


def test_checking_shows_labels_once_and_has_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(live=False)
    counts = {"used": 3, "total": 3}
    screen("counts", **counts)
    many = {f"c{i}": i for i in range(25)}
    screen.finish("check", SimpleNamespace(folder=None, summary={"counts": counts, "labels": many}))
    first, second = capsys.readouterr().out.splitlines()
    assert first == "3 rows = 3 used"
    assert second.startswith("labels: c0 0, c1 1, ")
    assert second.endswith("c19 19, and 5 more")
