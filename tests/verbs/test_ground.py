"""Time: what bounds a command, and what a run says it took over several processes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from seedbed.core.runs import Run
from seedbed.core.types import silent
from seedbed.verbs import ground
from seedbed.verbs.ground import Ground, working
from seedbed.verbs.options import Options

ROWS = [{"text": f"words of text {row}", "label": str(row % 2)} for row in range(8)]


def stood(out: Path, spent_s: float = 0.0, **options: Any) -> Ground:
    """Ground on a few rows, of a process that began so many seconds ago."""
    given: Options = {"label": "label", "threads": 1, **options}  # type: ignore[typeddict-item]
    made = ground.stand(ROWS, out, silent, given)
    return Ground(**{**vars(made), "started": time.monotonic() - spent_s})


def seconds_of(out: Path) -> float:
    (folder,) = out.iterdir()
    return float(Run(folder).read_json("run.json")["seconds"])


@pytest.mark.parametrize(
    ("options", "bound"),
    [({"minutes": 2}, 120.0), ({}, 1800.0), ({"steps": 5}, None), ({"steps": 5, "minutes": 2}, 120.0)],
)
def test_the_time_of_a_command_is_bounded_unless_steps_alone_were_asked_for(
    tmp_path: Path, options: dict[str, Any], bound: float | None
) -> None:
    made = stood(tmp_path, 0.0, **options)
    deadline = made.deadline(0.5)
    assert (deadline is None) == (bound is None)
    assert deadline is None or bound is None or deadline - made.started == pytest.approx(0.5 * bound)


def test_seconds_add_up_over_an_error_a_signal_and_the_end(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), working("pretrain", stood(tmp_path, 100.0)) as run:
        raise KeyboardInterrupt
    assert seconds_of(tmp_path) == pytest.approx(100.0, abs=5)
    with pytest.raises(ValueError, match="x"), working("pretrain", stood(tmp_path, 10.0)):
        raise ValueError("x")
    assert seconds_of(tmp_path) == pytest.approx(110.0, abs=5)
    last = stood(tmp_path, 30.0)
    with working("pretrain", last) as run, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ground, "write_report", lambda folder: folder / "report.html")
        ground.conclude(run, last, {})
    assert seconds_of(tmp_path) == pytest.approx(140.0, abs=5) and run.status() == "finished"
    with working("pretrain", stood(tmp_path, 1000.0)) as run:
        assert run.status() == "finished"
    assert seconds_of(tmp_path) == pytest.approx(140.0, abs=5)


def test_a_killed_process_counts_up_to_the_last_file_it_wrote(tmp_path: Path) -> None:
    with working("pretrain", stood(tmp_path)) as run:
        began = time.time() - 500.0
        run.record(seconds=7.0, since=began)  # what a process wrote that began then
        (run.folder / "metrics.jsonl").write_text('{"step": 1}\n{"ste')  # torn by the kill
        for path in run.folder.iterdir():
            os.utime(path, (began + 60.0, began + 60.0))
    with working("pretrain", stood(tmp_path)) as run:
        assert run.events() == [{"step": 1}]
    assert seconds_of(tmp_path) == pytest.approx(67.0, abs=5)
