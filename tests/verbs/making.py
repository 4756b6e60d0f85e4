"""Small data that look like real ones, and the command line as a function."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from seedbed.cli.app import execute

GOOD = "bright warm clever lively charming fresh moving honest".split()
BAD = "dull cold stupid tired boring stale flat false".split()
COMMON = "the film was a story of people in the town with music and light that we saw on many days".split()

SAME = ("--threads", "1", "--set", "pretrain.precision=float32", "--set", "pretrain.evaluations=2")
NANO = ("--size", "nano", *SAME)
QUICK = (*NANO, "--steps", "20")
CHEAP_PROOF = ("--set", "prove.draws=2", "--set", "prove.arms=['majority', 'frozen+probe']")


def reviews(rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts with their labels, no two alike."""
    draw = np.random.default_rng(seed)
    made = []
    for row in range(rows):
        kind, words = ("bad", BAD) if row % 2 else ("good", GOOD)
        chosen = [*draw.choice(COMMON, 12), *draw.choice(words, 4)]
        draw.shuffle(chosen)
        made.append((" ".join(chosen) + f" {seed}.{row}", kind))
    return made


def write_csv(path: Path, rows: Iterable[Sequence[str]], head: Sequence[str] = ("text", "label")) -> Path:
    """A table in UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
    return path


def digit_folders(folder: Path, each: int = 20, classes: int = 3) -> Path:
    """Class folders of PNG files of scikit-learn's digits."""
    bunch = load_digits()
    for label in range(classes):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        for index in np.flatnonzero(bunch.target == label)[:each].tolist():
            pixels = np.round(bunch.images[index] * (255.0 / 16.0)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / str(label) / f"{index}.png")
    return folder


@dataclass(frozen=True)
class Told:
    """What a command said.

    Attributes:
        code: exit code.
        out, err: what was printed.
    """

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The object of --json, the last line of stdout."""
        told: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return told

    @property
    def last(self) -> str:
        """The last line for people."""
        return self.out.splitlines()[-1]


class Shell:
    """The command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str | Path) -> Told:
        """Run `seedbed words...`."""
        self.capsys.readouterr()
        code = execute([str(word) for word in words])
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out, captured.err
        assert "bug in seedbed" not in captured.err, captured.err
        return Told(code, captured.out, captured.err)

    def ok(self, *words: str | Path) -> Told:
        """A command that must succeed."""
        told = self(*words)
        assert told.code == 0, told.err
        return told

    def refused(self, code: int, *words: str | Path) -> str:
        """A command that must fail with this exit code; its message, which says what was wrong and what mends it."""
        told = self(*words, "--json")
        assert told.code == code == told.json["exit_code"], told.err
        error = told.json["error"]
        assert error["what"] and error["fix"] and (error["found"] or error["cause"]), error
        assert told.err.strip().endswith("\n".join(part for part in error.values() if part)), told.err
        return "\n".join(error.values())


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_of_reviews(out: Path, train: int, test: int, say: Callable[..., None], **options: Any) -> Any:
    """A small run from Python on so many labelled reviews to learn from and to score on."""
    rows = [
        {"text": text, "label": label, "split": "test" if row >= train else "train"}
        for row, (text, label) in enumerate(reviews(train + test))
    ]
    fixed = {"size": "nano", "threads": 1, "pretrain": {"precision": "float32", "evaluations": 2}}
    return importlib.import_module("seedbed").run(rows, out=out, say=say, label="label", **fixed, **options)
