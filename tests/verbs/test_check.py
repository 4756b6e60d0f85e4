"""Looking at data: what was understood, what cannot be used and why, nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.verbs.making import Shell, digit_folders, reviews, write_csv


def test_counts_add_up(shell: Shell, tmp_path: Path) -> None:
    rows = reviews(20)
    data = write_csv(tmp_path / "t.csv", [*rows, rows[0], ("", "good"), (rows[1][0], "good")])
    told = shell.ok("check", data, "--label", "label", "--json")
    counts = told.json["summary"]["counts"]
    assert counts == {"used": 20, "duplicate": 2, "quarantined": 0, "excluded": 1, "total": 23}
    assert told.json["summary"]["labels"] == {"bad": 9, "good": 10} and told.json["summary"]["unlabelled"] == 1
    assert told.json["summary"]["not_used"][0]["key"] == "t.csv:23"
    assert "equal rows carry different labels" in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_class_folders(shell: Shell, tmp_path: Path) -> None:
    told = shell.ok("check", digit_folders(tmp_path / "d", each=3))
    assert "3 classes from folders" in told.out and "9 rows = 9 used" in told.out


def test_the_nearest_column(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "t.csv", reviews(4), ("text", "sentiment"))
    told = shell.refused(3, "check", data, "--label", "sentimnt")
    assert 'Did you mean "sentiment"?' in told and "--label sentiment" in told and "t.csv" in told
    told = shell.refused(3, "check", tmp_path / "tt.csv")
    assert 'Did you mean "t.csv"?' in told


def test_looking_loads_no_torch(tmp_path: Path) -> None:
    digit_folders(tmp_path / "images", each=3)
    write_csv(tmp_path / "rows.csv", reviews(20))
    program = (
        "import sys, seedbed\n"
        "for data in sys.argv[1:]: assert seedbed.check(data).summary['counts']['total'] in (9, 20)\n"
        "from seedbed.cli.app import execute\n"
        "assert execute(['check', sys.argv[1]]) == 0\n"
        "loaded = {'torch', 'sklearn', 'scipy', 'matplotlib', 'polars', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "images"), str(tmp_path / "rows.csv")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
