"""An encoder of one data set on the labels of another: coverage, leaks, and what the verdict says of both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.verbs.making import CHEAP_PROOF, QUICK, Shell, reviews, write_csv

FAST = (*QUICK, "--steps", "3")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unlabelled texts, and a run that was pretrained on them."""
    from seedbed.cli.app import execute

    root = tmp_path_factory.mktemp("source")
    data = write_csv(root / "a.csv", [(text,) for text, _ in reviews(120)], ("text",))
    assert execute(["pretrain", str(data), "--out", str(root / "r"), *FAST]) == 0
    return root / "r"


def told(out: Path) -> tuple[str, dict[str, object]]:
    (run,) = out.glob("prove-*")
    proof = json.loads((run / "eval" / "proof.json").read_text())
    return proof["verdict"]["sentence"], proof | json.loads((run / "run.json").read_text())["summary"]


def test_rows_the_encoder_has_seen_are_counted_and_not_scored(shell: Shell, source: Path, tmp_path: Path) -> None:
    rows = [(text, label, "train") for text, label in reviews(40, 1)]
    test = [*reviews(36, 2), *reviews(4)]  # four of them, in capitals, were pretrained on; one or two to validate
    rows += [(text.upper(), label, "test") for text, label in test]
    data = write_csv(tmp_path / "b.csv", rows, ("text", "label", "split"))
    words = ("prove", data, "--label", "label", "--labels", "20", "--from", source, "--out", tmp_path / "p", *FAST)
    said = shell.ok(*words, *CHEAP_PROOF).out
    sentence, found = told(tmp_path / "p")
    transfer = found["transfer"]
    assert isinstance(transfer, dict) and transfer["removed"] and 1 <= transfer["leaked"] <= 4
    assert transfer["scored"] + transfer["leaked"] == 40 == found["items"] + transfer["leaked"]
    assert sentence.startswith("The encoder was pretrained on a") and "is compared on b" in sentence
    assert f"{transfer['leaked']} rows that are also among its" in sentence and "are not scored" in sentence
    assert "Its tokenizer knows" in sentence and "% of the words" in sentence and "Its tokenizer knows" in said


def test_where_most_rows_were_seen_they_stay_and_the_verdict_says_so(
    shell: Shell, source: Path, tmp_path: Path
) -> None:
    data = write_csv(tmp_path / "b.csv", reviews(60))
    words = ("prove", data, "--label", "label", "--from", source, "--out", tmp_path / "p", *FAST)
    shell.ok(*words, *CHEAP_PROOF)
    sentence, found = told(tmp_path / "p")
    transfer = found["transfer"]
    assert isinstance(transfer, dict) and not transfer["removed"] and transfer["leaked"] > transfer["scored"] / 2
    assert "it saw their inputs, without labels" in sentence


def test_what_cannot_be_checked_is_said(shell: Shell, source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "r")
    shutil.rmtree(tmp_path / "r" / "data")
    data = write_csv(tmp_path / "b.csv", reviews(40, 7))
    words = ("prove", data, "--label", "label", "--from", tmp_path / "r", "--out", tmp_path / "p", *FAST)
    shell.ok(*words, *CHEAP_PROOF)
    sentence, found = told(tmp_path / "p")
    assert (
        "could not be checked" in sentence and isinstance(found["transfer"], dict) and found["transfer"]["rows"] is None
    )
