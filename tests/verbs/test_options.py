"""What a verb leaves behind, as a notebook shows it."""

from __future__ import annotations

from pathlib import Path

from seedbed.verbs.options import Result


def test_a_notebook_shows_verdict_figures_and_report(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("x")
    summary = {
        "verdict": {"outcome": "paid", "sentence": "scratch < pretrained"},
        "accuracy": {"scratch": 0.51239, "fine-tuned": 0.7},
        "steps": 12,
        "arms": [{"name": "scratch"}],
        "deep": {"a": {"b": 1}},
    }
    shown = Result(tmp_path, summary)._repr_html_()
    assert "<b>paid.</b> scratch &lt; pretrained" in shown
    assert "<th>accuracy</th><td>scratch 0.5124, fine-tuned 0.7</td>" in shown and "<th>steps</th><td>12</td>" in shown
    assert "arms" not in shown and "deep" not in shown
    assert f'href="{tmp_path.as_posix()}/report.html"' in shown


def test_no_report_and_nothing_to_tell(tmp_path: Path) -> None:
    assert Result(None, {}).report is None and Result(tmp_path, {}).report is None
    assert Result(None, {})._repr_html_() == "<p>done</p>"
