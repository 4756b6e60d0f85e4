"""Models say how far they can be trusted: sure as they are right, silent when unsure, aware of what they never saw."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from seedbed.cli.app import execute
from seedbed.core.runs import Run
from seedbed.evaluate.trust import load_trust
from tests.verbs.conftest import Kept
from tests.verbs.making import QUICK, Shell, reviews, write_csv

STRANGE = ["0x7f3a 0x91bc 0x22de 0x7f3a", "zq zq zq wv wv xk", "||| ### ||| ###"]


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run with a classic arm and a probe, whichever won in model/."""
    root = tmp_path_factory.mktemp("proven")
    data = write_csv(root / "t.csv", reviews(240))
    arms = ("--set", "prove.arms=['majority', 'tfidf', 'frozen+probe']")
    quick = (*QUICK, "--set", "prove.draws=2", "--labels", "50", *arms)
    assert execute(["run", str(data), "--label", "label", "--out", str(root / "r"), *quick]) == 0
    (folder,) = (root / "r").glob("run-*")
    return folder


def test_a_run_keeps_trust_fitted_to_labels_its_model_had_not_seen(proven: Path) -> None:
    summary = Run(proven).read_json("run.json")["summary"]
    trust = load_trust(proven / "model")
    assert trust is not None and trust.about() == summary["trust"]
    assert trust.held == summary["model"]["labels"] > 100 and trust.temperature != 1.0
    assert 0 < trust.limit <= 2.0 and len(trust.reference_ID) >= 150


def test_rows_of_another_kind_are_told(shell: Shell, proven: Path) -> None:
    known = [text for text, _ in reviews(40, 9)]
    told = shell.ok("predict", proven, *known, "--json").json
    assert sum(line["unlike"] for line in told["summary"]["predictions"]) <= 6
    told = shell.ok("predict", proven, *STRANGE, "--json").json
    assert all(line["unlike"] is True for line in told["summary"]["predictions"])
    assert "3 of 3 rows are unlike the training data" in told["warnings"][0]


def test_no_answer_below_the_confidence_asked_for(shell: Shell, proven: Path, tmp_path: Path) -> None:
    mixed = "bright warm dull cold the film"
    plain = shell.ok("predict", proven, mixed, "--json").json["summary"]["predictions"][0]
    least = str((1 + plain["confidence"]) / 2)
    summary = shell.ok("predict", proven, mixed, "--abstain", least, "--json").json["summary"]
    (line,) = summary["predictions"]
    assert summary["abstained"] == 1 and summary["answered"] == 0
    assert line["label"] is None and "abstained" in line["reason"] and line["confidence"] == plain["confidence"]
    shell.ok("predict", proven, mixed, "--abstain", least, "--to", tmp_path / "p.csv")
    assert "abstained" in (tmp_path / "p.csv").read_text()
    assert shell.ok("predict", proven, mixed, "--abstain", "0.01", "--json").json["summary"]["abstained"] == 0
    assert "is no probability" in shell.refused(2, "predict", proven, mixed, "--abstain", "1.5")


def test_standard_input(shell: Shell, proven: Path, images: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def pipe(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    pipe("a warm and lively film\n\ndull\r\nna\u00efve".encode())
    told = shell.ok("predict", proven, "-", "--json").json["summary"]
    assert [line["key"] for line in told["predictions"]] == ["line 1", "line 3", "line 4"]
    assert told["predictions"][0]["label"] == "good"
    pipe(b"\xff\xfe broken\ndull\n")
    lines = shell.ok("predict", proven, "-", "--json").json["summary"]["predictions"]
    assert lines[0]["reason"] and lines[1]["label"] == "bad"
    pipe(b"\n")
    assert "Standard input is empty" in shell.refused(3, "predict", proven, "-")
    picture = next((images.more / "0").iterdir())
    pipe(f"{picture}\n{picture}x\n".encode())
    lines = shell.ok("embed", images.out, "-", "--json").json["summary"]["vectors"]
    assert len(lines[0]["vector"]) > 8 and lines[1]["vector"] is None and lines[1]["reason"]


def test_embed_writes_vectors_in_every_form(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    run = texts.run("pretrain")
    words = ("dull cold film", "bright warm film")
    summary = shell.ok("embed", run, *words, "--json").json["summary"]
    vectors = np.array([line["vector"] for line in summary["vectors"]])
    assert vectors.shape == (2, summary["width"]) and summary["embedded"] == 2 and np.ptp(vectors) > 0
    for suffix in ("csv", "jsonl", "parquet"):
        shell.ok("embed", run, *words, "--to", tmp_path / f"v.{suffix}")
    lines = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "v.parquet").to_pylist()
    with (tmp_path / "v.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    for read in (
        [line["vector"] for line in lines],
        [line["vector"] for line in table],
        [[float(line[f"vector_{at}"]) for at in range(summary["width"])] for line in cells],
    ):
        assert np.array(read) == pytest.approx(vectors, rel=1e-5)
    # The same row alone has the same vector.
    alone = shell.ok("embed", run, words[1], "--json").json["summary"]["vectors"][0]["vector"]
    assert alone == pytest.approx(vectors[1].tolist(), rel=1e-4, abs=1e-6)


def test_embed_of_a_row_that_cannot_be_read(shell: Shell, images: Kept, tmp_path: Path) -> None:
    good = next((images.more / "0").iterdir())
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:60])
    told = shell.ok("embed", images.out, tmp_path / "cut.png", good, "--json").json
    assert told["summary"]["rows"] == 2 and told["summary"]["embedded"] == 1
    assert "1 of 2 rows could not be read" in told["warnings"][0]
    assert '"p.xyz" has no known ending' in shell.refused(2, "embed", images.out, good, "--to", tmp_path / "p.xyz")
