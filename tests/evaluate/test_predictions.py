from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss

from seedbed.core.errors import DataError
from seedbed.evaluate.predictions import (
    Answers,
    Items,
    read_predictions,
    recompute,
    summary,
    write_predictions,
)
from seedbed.evaluate.score_class import ACCURACY
from seedbed.evaluate.stats import difference, mean_interval
from seedbed.evaluate.verdict import Arm

ARMS = (Arm("fine-tuned", "finetuned", True), Arm("frozen+probe", "frozen", True), Arm("tf-idf", "classic", False))
LABELS, DRAWS, NUM_ITEMS, CLASSES = (50, 200), 5, 90, ("no", "yes", "ünsure")


def comparison() -> tuple[list[Answers], Items, dict[tuple[str, int], np.ndarray]]:
    rng = np.random.default_rng(0)
    truth_I = rng.integers(0, 3, NUM_ITEMS)
    items = Items(tuple(f"test.csv:{row}" for row in range(NUM_ITEMS)), truth_I, CLASSES, "class", ACCURACY)
    answers, probs = [], {}
    for n_labels in LABELS:
        for index, arm in enumerate(ARMS):
            logits = rng.standard_normal((DRAWS, NUM_ITEMS, 3)) + (2.0 - index) * np.eye(3)[truth_I]
            probs_SIC = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
            probs[arm.name, n_labels] = probs_SIC
            single = probs_SIC.astype(np.float32)
            answers.append(Answers(arm, n_labels, single, 0.8 - 0.1 * index, n_labels / 1000))
    return answers, items, probs


def test_the_file_alone_gives_every_number_again(tmp_path: Path) -> None:
    answers, items, _ = comparison()
    path = tmp_path / "eval" / "predictions.parquet"
    write_predictions(path, answers, items, 0.9)
    assert recompute(path) == summary(answers, items, 0.9)
    assert json.loads(json.dumps(recompute(path))) == recompute(path)


def test_the_summary_holds_the_numbers_of_its_parts() -> None:
    answers, items, probs = comparison()
    told = summary(answers, items, 0.9)
    correct = {key: probs_SIC.argmax(2) == items.truth for key, probs_SIC in probs.items()}
    assert told["labels"] == [50, 200] and [arm["name"] for arm in told["arms"]] == [arm.name for arm in ARMS]
    scores = told["arms"][2]["scores"]["200"]
    interval = mean_interval(correct["tf-idf", 200], 0.9, 0.2)
    assert (scores["mean"], scores["low"], scores["high"]) == (interval.value, interval.low, interval.high)
    assert scores["draws"] == correct["tf-idf", 200].mean(1).tolist() and scores["selection"] == pytest.approx(0.6)
    nats = [log_loss(items.truth, probs_IC) for probs_IC in probs["tf-idf", 200]]
    assert scores["loss"] == pytest.approx(np.mean(nats), rel=1e-5)
    assert scores["metrics"]["log_loss"]["value"] == pytest.approx(np.mean(nats), rel=1e-5)
    assert scores["metrics"]["accuracy"]["value"] == pytest.approx(scores["mean"])
    between = difference(correct["fine-tuned", 50], correct["tf-idf", 50], 0.9, 0.05)
    assert told["differences"]["50"]["low"] == between.low and told["differences"]["50"]["high"] == between.high
    assert told["verdict"]["outcome"] == "paid" and told["break_even"]["course"] == "ahead"
    sentence = f"{told['differences']['200']['sentence']} {told['break_even']['sentence']}"
    assert told["verdict"] == told["differences"]["200"] | {"sentence": sentence}
    only = summary([answer for answer in answers if answer.n_labels == 200], items, 0.9)
    assert only["break_even"] is None and only["verdict"] == only["differences"]["200"]


def test_confusion_and_worst_errors_are_those_of_the_better_arm() -> None:
    answers, items, probs = comparison()
    told = summary(answers, items, 0.95)
    assert told["detail"]["arm"] == "fine-tuned" and np.sum(told["detail"]["confusion"]["counts"]) == DRAWS * NUM_ITEMS
    first = probs["fine-tuned", 200][0]
    sure = [wrong["confidence"] for wrong in told["worst"]]
    assert sure == sorted(sure, reverse=True) and len(sure) > 0
    at = items.keys.index(told["worst"][0]["key"])
    assert told["worst"][0]["predicted"] == CLASSES[first[at].argmax()] != told["worst"][0]["truth"]
    assert first[at].max() == pytest.approx(max(first[first.argmax(1) != items.truth].max(1)))


def test_the_table_is_plain_for_other_programs(tmp_path: Path) -> None:
    answers, items, probs = comparison()
    write_predictions(tmp_path / "p.parquet", answers, items, 0.95)
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.num_rows == len(LABELS) * len(ARMS) * DRAWS * NUM_ITEMS
    row = table.slice(NUM_ITEMS + 3, 1).to_pylist()[0]
    assert (row["arm"], row["n_labels"], row["draw"], row["key"]) == ("fine-tuned", 50, 1, "test.csv:3")
    expected = probs["fine-tuned", 50][1, 3]
    assert row["answer"] == pytest.approx(expected.tolist()) and row["truth"] == items.truth[3]


def test_a_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    for name in ("other.parquet", "torn.parquet", "missing.parquet"):
        with pytest.raises(DataError, match=name):
            read_predictions(tmp_path / name)
