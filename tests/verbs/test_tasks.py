"""Sets of names and numbers, from a file to answers, through every verb."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from seedbed.core.errors import DataError, UsageError
from seedbed.evaluate.predictions import recompute
from tests.verbs.making import BAD, COMMON, GOOD, NANO, SAME, Shell, write_csv

seedbed: Any = importlib.import_module("seedbed")
STEPS = ("--steps", "10")
KINDS = ("set", "number")
MAIN = {"set": "F1_of_sets", "number": "mean_absolute_error"}


def texts(kind: str, rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts with words of two sorts: sets say which sorts are in them, numbers how many more are good than bad."""
    draw = np.random.default_rng(seed)
    made = []
    for row in range(rows):
        good, bad = (int(count) for count in draw.integers(0, 5, 2))
        words = [*draw.choice(COMMON, 10), *draw.choice(GOOD, good), *draw.choice(BAD, bad)]
        draw.shuffle(words)
        names = [name for name, count in (("good", good), ("bad", bad)) if count]
        label = json.dumps(names) if kind == "set" else str(10.5 + good - bad + draw.normal() / 10)
        made.append((" ".join(words) + f" {seed}.{row}", label))
    return made


def bright(rows: int) -> dict[str, Any]:
    """Images of noise whose brightness is their number."""
    draw = np.random.default_rng(0)
    level = draw.uniform(0, 150, rows)
    pixels = (level[:, None, None] + draw.uniform(0, 100, (rows, 8, 8))).astype(np.uint8)
    return {"images": pixels, "label": level}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A comparison on texts for each kind."""
    folder = tmp_path_factory.mktemp("tasks")
    made = {}
    for kind in KINDS:
        rows = [*texts(kind, 160), *[(text, "") for text, _ in texts(kind, 200, 7)]]
        sources = [(*row, ("shop", "forum", "")[at % 3]) for at, row in enumerate(rows)]
        data = write_csv(folder / kind / "t.csv", sources, ("text", "label", "source"))
        made[kind] = seedbed.run(
            data, out=folder / kind / "runs", label="label", steps=40, size="nano", threads=1, objective="skip_gram",
            pretrain={"precision": "float32", "evaluations": 2},
            prove={"draws": 2, "arms": ["majority", "tfidf", "frozen+probe"], "labels": [40],
                   "slices": ["label", "length", "source"]},
        ).folder  # fmt: skip
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison_is_judged_by_the_main_metric_of_the_kind(runs: dict[str, Path], kind: str) -> None:
    folder = runs[kind]
    told = json.loads((folder / "eval" / "proof.json").read_text())
    summary = json.loads((folder / "run.json").read_text())["summary"]
    arms = summary[MAIN[kind]]
    assert set(arms) == {"majority", "tfidf", "frozen+probe", "untrained+probe"}
    better = min if kind == "number" else max
    assert better(arms.values()) != arms["majority"]
    again = recompute(folder / "eval" / "predictions.parquet")
    assert again["verdict"] == told["verdict"] and again["arms"] == told["arms"]
    sentence = told["verdict"]["sentence"]
    assert ("errs by" if kind == "number" else "with an F1") in sentence, sentence
    score = next(arm for arm in told["arms"] if arm["name"] == "tfidf")["scores"]["40"]
    assert score["low"] <= score["mean"] <= score["high"]
    name = MAIN[kind].lower()
    assert score["metrics"][name]["value"] == pytest.approx(score["mean"])
    assert json.loads((folder / "data.json").read_text())["label_kind"] == kind
    rows = told["slices"]["rows"]
    assert {row["by"] for row in rows} == {"label", "length", "source"} and told["slices"] == again["slices"]
    assert f"{len(rows)} parts were looked at" in told["slices"]["remark"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_shows_what_the_kind_has(runs: dict[str, Path], kind: str) -> None:
    page = (runs[kind] / "report.html").read_text()
    assert "accuracy" not in (runs[kind] / "report.md").read_text()
    assert ("Name by name" in page) == (kind == "set")
    assert ('id="chart-residuals"' in page) == (kind == "number")
    assert "What is taken for what" not in page and "Every metric" in page and "Part by part" in page


@pytest.mark.parametrize("kind", KINDS)
def test_the_winner_answers_and_is_scored(shell: Shell, runs: dict[str, Path], kind: str, tmp_path: Path) -> None:
    new = write_csv(tmp_path / "new.csv", texts(kind, 60, seed=3))
    scored = shell.ok("evaluate", runs[kind], new, "--label", "label", "--json").json["summary"]
    name = MAIN[kind].lower()
    assert scored[f"{name}_low"] <= scored[name] <= scored[f"{name}_high"] and scored["rows"] == 60
    assert shell.ok("evaluate", runs[kind], "--json").json["summary"][MAIN[kind]]
    answers = seedbed.predict(runs[kind], new).summary["predictions"]
    labels = [answer["label"] for answer in answers]
    assert all(isinstance(label, list if kind == "set" else float) for label in labels)
    shell.ok("predict", runs[kind], new, "--to", tmp_path / "p.parquet")
    shell.ok("predict", runs[kind], new, "--to", tmp_path / "p.csv")
    assert pq.read_table(tmp_path / "p.parquet").column("label").to_pylist() == labels
    with (tmp_path / "p.csv").open(newline="") as file:
        cells = [row["label"] for row in csv.DictReader(file)]
    assert cells == ["|".join(label) for label in labels] if kind == "set" else list(map(float, cells)) == labels


@pytest.mark.slow
def test_numbers_of_images_are_learnt_and_early_stopping_and_the_winner_hold(tmp_path: Path) -> None:
    data = bright(420)
    found = seedbed.run(
        data, out=tmp_path, steps=5, size="nano", threads=1, pretrain={"precision": "float32"},
        prove={"draws": 2, "labels": [210], "arms": ["majority", "pixels", "knn", "svm", "fine-tuned"]},
    )  # fmt: skip
    arms = found.summary["mean_absolute_error"]
    assert arms["pixels"] < 10 < 30 < arms["majority"] and arms["svm"] < 15 and arms["fine-tuned"] < 30
    again = seedbed.predict(found.folder, data["images"][:20]).summary["predictions"]
    assert np.abs(np.array([answer["label"] for answer in again]) - data["label"][:20]).mean() < 15


def test_check_tells_what_was_understood_and_how_to_overrule(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "t.csv", texts("number", 60))
    told = shell.ok("check", data, "--label", "label")
    assert "labels: numbers, 60 different ones" in told.out and "--task classify takes each as a class" in told.out
    assert shell.ok("check", data, "--label", "label", "--json").json["summary"]["label_kind"] == "number"
    classes = shell.ok("check", data, "--label", "label", "--task", "classify", "--json").json["summary"]
    assert classes["label_kind"] == "class" and classes["labels"] == {}


@pytest.mark.parametrize("kind", KINDS)
def test_fine_tuning_scores_the_test_rows_with_intervals(shell: Shell, tmp_path: Path, kind: str) -> None:
    rows = [(*row, "test" if at < 60 else "train") for at, row in enumerate(texts(kind, 160))]
    data = write_csv(tmp_path / "t.csv", rows, ("text", "label", "split"))
    shell.ok("pretrain", data, "--out", tmp_path / "r", *NANO, *STEPS)
    told = shell.ok("finetune", tmp_path / "r", data, "--label", "label", "--out", tmp_path / "r", *SAME, "--json").json
    summary = told["summary"]
    assert summary["test_rows"] == 60 and summary["test"].keys() == summary["intervals"].keys()
    for name, (low, high) in summary["intervals"].items():
        assert low <= summary["test"][name] <= high


def test_five_labelled_rows_are_compared_in_folds_or_refused_with_a_reason(tmp_path: Path) -> None:
    rows = [*texts("number", 5), *[(text, "") for text, _ in texts("number", 60, 4)]]
    data = write_csv(tmp_path / "t.csv", rows)
    found = seedbed.run(
        data, out=tmp_path / "r", label="label", task="regress", steps=2, size="nano", threads=1,
        prove={"draws": 2, "arms": ["majority", "tfidf", "frozen+probe"]},
    )  # fmt: skip
    assert found.summary["verdict"]["outcome"] in ("paid", "did not pay", "cannot tell")


@pytest.mark.parametrize(
    ("labels", "task", "what"),
    [
        (["[]", '["a"]'] * 20, "regress", "no row has a label"),
        (["2.5"] * 40, "regress", "every label is 2.5"),
        (["a"] * 40, "multilabel", 'have the same names: "a"'),
    ],
)
def test_labels_that_teach_nothing_are_refused(tmp_path: Path, labels: list[str], task: str, what: str) -> None:
    data = write_csv(tmp_path / "t.csv", [(f"text number {row}", label) for row, label in enumerate(labels)])
    made = seedbed.pretrain(data, out=tmp_path / "r", steps=1, size="nano", threads=1).folder
    with pytest.raises(DataError) as caught:
        seedbed.finetune(made, data, out=tmp_path / "r", label="label", task=task, threads=1)
    assert what in caught.value.found


def test_an_unknown_task_is_refused(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "t.csv", texts("number", 20))
    with pytest.raises(UsageError, match='There is no task "regres"'):
        seedbed.check(data, label="label", task="regres")


@pytest.mark.slow
def test_with_class_weights_arms_lean_alike_and_are_chosen_as_they_lean(shell: Shell, tmp_path: Path) -> None:
    """The planted fault: chosen by upright scores, the arm that does not look would be taken for the best other one."""
    draw = np.random.default_rng(0)
    made = []
    for row in range(200):
        rare = row % 10 == 0
        words = [*draw.choice(COMMON, 12), *draw.choice(BAD if rare else GOOD, 2)]
        made.append((" ".join(words) + f" {row}", "rare" if rare else "usual"))
    data = write_csv(
        tmp_path / "t.csv", [*made, *[(" ".join(draw.choice(COMMON, 14)) + f" u{row}", "") for row in range(220)]]
    )
    told = {}
    for how in ("none", "balanced"):
        folder = seedbed.run(
            data, out=tmp_path / "r", label="label", steps=5, size="nano", threads=1, objective="skip_gram",
            prove={"draws": 2, "arms": ["majority", "tfidf", "frozen+probe"], "labels": [60]},
            task_options={"class_weights": how},
        ).folder  # fmt: skip
        told[how] = json.loads((folder / "eval" / "proof.json").read_text())
        assert shell.ok("predict", folder, "a film", "--threads", "1").code == 0
    upright, leaning = ({arm["name"]: arm["scores"]["60"] for arm in told[how]["arms"]} for how in ("none", "balanced"))
    assert (
        leaning["tfidf"]["metrics"]["macro_recall"]["value"]
        > upright["tfidf"]["metrics"]["macro_recall"]["value"] + 0.1
    )
    assert upright["majority"]["selection"] == pytest.approx(0.9, abs=0.02) and leaning["majority"]["selection"] < 0.6
    assert told["balanced"]["verdict"]["best_other"] == "tfidf"
    wrong = shell.refused(
        2, "run", data, "--label", "label", "--steps", "2", "--size", "nano", "--threads", "1", "--objective",
        "skip_gram", "--set", "task_options.class_weights.rrae=3", "--out", tmp_path / "r",
    )  # fmt: skip
    assert 'Did you mean "rare"?' in wrong
