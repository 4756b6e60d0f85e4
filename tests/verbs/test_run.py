"""All of it in one command: with a given test set, by folds, twice, and from Python."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.verbs.making import CHEAP_PROOF, QUICK, Shell, reviews, tree, write_csv

seedbed: Any = importlib.import_module("seedbed")
WORDS = (*QUICK, "--steps", "5", *CHEAP_PROOF)


def test_few_labels_are_folded(shell: Shell, tmp_path: Path) -> None:
    rows = [(text, label if row < 40 else "") for row, (text, label) in enumerate(reviews(90))]
    told = shell.ok("run", write_csv(tmp_path / "t.csv", rows), "--out", tmp_path / "r", *WORDS)
    assert told.last.startswith("verdict: ")
    (run,) = (tmp_path / "r").glob("run-*")
    proof = json.loads((run / "eval" / "proof.json").read_text())
    assert {arm["name"] for arm in proof["arms"]} == {"majority", "untrained+probe", "frozen+probe"}
    assert proof["folds"] == 5 and proof["items"] == 40 and proof["labels"] == [32]
    assert proof["draws"] == 2 and told.last.startswith(f"verdict: {proof['verdict']['outcome']}")


def test_four_labels_are_enough_to_go_through(shell: Shell, tmp_path: Path) -> None:
    rows = [(text, label if row < 4 else "") for row, (text, label) in enumerate(reviews(40))]
    told = shell.ok("run", write_csv(tmp_path / "t.csv", rows), "--out", tmp_path / "r", *WORDS)
    assert told.last.startswith("verdict: cannot tell")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [(text, label, "test" if row >= 60 else "train") for row, (text, label) in enumerate(reviews(100))]
    return write_csv(tmp_path_factory.mktemp("given") / "t.csv", rows, ("text", "label", "split"))


def test_a_given_test_set_is_scored_and_the_command_repeats(shell: Shell, given: Path, tmp_path: Path) -> None:
    words = ("run", given, "--label", "label", "--labels", "20", "--out", tmp_path, *WORDS)
    told = shell.ok(*words, "--json").json
    run = Path(told["folder"])
    proof = json.loads((run / "eval" / "proof.json").read_text())
    assert proof["items"] == 40 and proof["folds"] == 0 and proof["labels"] == [20]
    assert json.loads((run / "data.json").read_text())["splits"]["test"] == 40
    assert told["verdict"]["outcome"] == proof["verdict"]["outcome"]
    before = tree(tmp_path)
    again = shell.ok(*words, "--json")
    assert "finished before" in again.err and again.json["verdict"] == told["verdict"]
    config = shell.ok("run", given, "--config", run / "config.toml", "--out", tmp_path, "--json")
    assert config.json["folder"] == told["folder"]
    assert tree(tmp_path) == before
    assert shell.ok("predict", tmp_path, "a bright, warm film", "--json").json["summary"]["answered"] == 1
    scored = shell.ok("evaluate", tmp_path, "--json").json["summary"]
    assert scored["accuracy"] == told["summary"]["accuracy"]
    tuned = shell.ok("finetune", tmp_path, given, "--label", "label", "--out", tmp_path, "--threads", "1", "--dry-run")
    assert str(run) in tuned.out


def test_python_gives_the_same(shell: Shell, given: Path, tmp_path: Path) -> None:
    told = shell.ok("run", given, "--label", "label", "--labels", "20", "--out", tmp_path / "a", *WORDS, "--json").json
    said: list[str] = []
    made = seedbed.run(
        given,
        out=tmp_path / "b",
        say=lambda event, **_: said.append(event),
        label="label",
        steps=5,
        size="nano",
        threads=1,
        pretrain={"precision": "float32", "evaluations": 2},
        prove={"draws": 2, "arms": ["majority", "frozen+probe"], "labels": [20]},
    )
    assert made.folder.name == Path(told["folder"]).name
    assert made.summary["accuracy"] == told["summary"]["accuracy"]
    assert made.summary["verdict"] == told["verdict"] | made.summary["verdict"]
    assert {"understood", "counts", "plan", "stage", "step", "arm", "report", "verdict"} <= set(said)
    assert said[-1] == "verdict"


@pytest.mark.parametrize(
    ("labels", "code", "part"),
    [
        ("5000", 3, "more labels than there are"),
        ("0", 2, "0 labels cannot be drawn"),
        ("x", 2, "not a list of numbers"),
    ],
)
def test_label_counts_that_cannot_be(
    shell: Shell, given: Path, tmp_path: Path, labels: str, code: int, part: str
) -> None:
    told = shell.refused(code, "run", given, "--label", "label", "--labels", labels, "--out", tmp_path, *WORDS)
    assert part in told


def test_a_classic_winner_is_kept_and_serves(shell: Shell, tmp_path: Path) -> None:
    """One telling word among hundreds that say nothing: TF-IDF finds it, a network of five steps does not."""
    draw = np.random.default_rng(0)
    words = [f"word{number}" for number in range(300)]
    rows = []
    for row in range(160):
        chosen = [*draw.choice(words, 20), "splendid" if row % 2 else "dreadful"]
        draw.shuffle(chosen)
        rows.append((" ".join(chosen), "good" if row % 2 else "bad", "test" if row >= 100 else "train"))
    data, out = write_csv(tmp_path / "t.csv", rows, ("text", "label", "split")), tmp_path / "r"
    arms = ("--set", "prove.draws=2", "--set", "prove.arms=['majority', 'tfidf', 'frozen+probe']", "--labels", "80")
    told = shell.ok("run", data, "--label", "label", "--out", out, *QUICK, "--steps", "5", *arms, "--json").json
    assert told["summary"]["model"] == {"arm": "tfidf", "labels": 100, "of": 100}
    assert told["verdict"]["outcome"] == "did not pay"
    answers = shell.ok("predict", out, "a splendid film", "a dreadful film", "--json").json["summary"]["predictions"]
    assert [answer["label"] for answer in answers] == ["good", "bad"]
    assert shell.ok("evaluate", out, data, "--label", "label", "--json").json["summary"]["accuracy"] > 0.9
    # The encoder is still there for whoever builds on it; a comparison around it keeps none of its own.
    shell.ok("finetune", out, data, "--label", "label", "--out", out, "--dry-run")
    assert (next(out.glob("run-*")) / "encoder" / "model.safetensors").is_file()
    shell.ok("prove", data, "--label", "label", "--from", out, "--out", tmp_path / "p", *QUICK, *arms)
    assert "holds no encoder" in shell.refused(3, "export", tmp_path / "p", "--out", tmp_path / "hf2")
    path = next((tmp_path / "p").glob("prove-*/model/model.safetensors"))
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    assert "does not match" in shell.refused(3, "predict", tmp_path / "p", "a splendid film")


def test_vectors_go_the_whole_way_by_themselves(shell: Shell, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    labels = np.array(["even", "odd"])[np.arange(120) % 2]
    values = draw.normal(size=(120, 6)) + (np.arange(120) % 2)[:, None] * 2.0
    np.savez(tmp_path / "v.npz", features=values.astype(np.float32), label=labels)
    told = shell.ok("run", tmp_path / "v.npz", "--labels", "20", "--out", tmp_path / "r", *WORDS)
    assert "objective stacked, trunk mlp" in told.out and told.last.startswith("verdict: ")
    np.savez(tmp_path / "new.npz", features=np.array([[0.0] * 6, [2.0] * 6], np.float32))
    answers = shell.ok("predict", tmp_path / "r", tmp_path / "new.npz", "--json").json["summary"]["predictions"]
    assert [answer["label"] for answer in answers] == ["even", "odd"]
