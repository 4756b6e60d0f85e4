"""A text run and an image run, pretrained and fine-tuned once for all tests that only read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from seedbed.cli.app import execute
from tests.verbs.making import QUICK, SAME, Shell, digit_folders, reviews, write_csv


@dataclass(frozen=True)
class Kept:
    """Data with runs on them.

    Attributes:
        data: the rows, with labels.
        more: other rows of the same kind, with labels.
        out: the folder of runs: one of pretrain, one of finetune.
    """

    data: Path
    more: Path
    out: Path

    def run(self, verb: str) -> Path:
        """The run of a verb."""
        (folder,) = self.out.glob(f"{verb}-*")
        return folder


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("texts")
    rows = [(text, label if row < 80 else "") for row, (text, label) in enumerate(reviews(160))]
    kept = Kept(write_csv(root / "t.csv", rows), write_csv(root / "new.csv", reviews(20, 5)), root / "r")
    _train(kept)
    return kept


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("images")
    kept = Kept(digit_folders(root / "digits"), digit_folders(root / "few", each=6), root / "r")
    _train(kept)
    return kept


def _train(kept: Kept) -> None:
    data, out = str(kept.data), str(kept.out)
    label = ["--label", "label"] if kept.data.is_file() else []
    assert execute(["pretrain", data, "--out", out, *QUICK]) == 0
    assert execute(["finetune", out, data, "--out", out, *label, *SAME]) == 0
