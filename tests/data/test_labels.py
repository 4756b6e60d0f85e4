"""Labels: which kind they are, one spelling each, and what becomes of them as arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.core.types import NO_LABEL
from seedbed.data.clean import Cleaned, clean, require_labels
from seedbed.data.labels import KINDS, find_kind, label_kind
from seedbed.data.rows import Unreadable
from seedbed.data.source import open_source
from seedbed.data.split import folds, label_subset
from seedbed.data.store import prepare
from tests.data.making import ignore

RNG = np.random.default_rng(0)
MEASURED = [repr(value) for value in RNG.normal(size=30).tolist()]
CODES = [str(code) for code in range(60)]
AGES = [str(age) for age in (*range(60), 71, 90)]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["good", "bad", None], "class"),
        ([], "class"),
        (["0", "1"] * 40, "class"),
        (["0.5", "1.5", "1"] * 40, "class"),
        (CODES * 3, "class"),
        (AGES * 30, "class"),
        (AGES * 3, "number"),
        (MEASURED, "number"),
        ([*MEASURED, "unknown"], "number"),
        ([*MEASURED, "inf", None], "number"),
        ([*MEASURED, *"abcdefgh"], "class"),
        (["a|b", "b|c", "a", "c"], "set"),
        (["a; b", "b;c", "a;c", "b"], "set"),
        (['["a"]', "[]", '["b", "a"]'], "set"),
        (["ear; nose", "heart; lungs"] * 5, "class"),
        (["a|b", *"abcdefgh" * 20], "class"),
    ],
)
def test_the_kind_is_found_from_the_labels(labels: list[str | None], kind: str) -> None:
    assert find_kind(labels) == kind


def test_every_kind_has_its_file_and_its_task() -> None:
    assert [label_kind(name).TASK for name in KINDS] == ["classify", "multilabel", "regress"]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("class", "a|b", "a|b"),
        ("set", "b | a|b", '["a", "b"]'),
        ("set", "a;;", '["a"]'),
        ("set", '["b", 3, null]', '["3", "b"]'),
        ("set", "[]", "[]"),
        ("set", "[not json", '["[not json"]'),
        ("number", "3", "3.0"),
        ("number", " 1e-3 ", "0.001"),
    ],
)
def test_equal_labels_have_one_spelling(kind: str, text: str, expected: str) -> None:
    assert label_kind(kind).canonical(text) == expected
    assert label_kind(kind).canonical(expected) == expected


@pytest.mark.parametrize(("text", "why"), [("inf", "not finite"), ("-Infinity", "not finite"), ("ten", "no number")])
def test_what_is_no_finite_number_is_no_label(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        label_kind("number").canonical(text)


LABELS: dict[str, list[str | None]] = {
    "class": ["a", "b", None, "a"],
    "set": ['["a"]', "[]", None, '["a", "b"]'],
    "number": ["1.5", "-2.0", None, "0.25"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_targets_go_through_a_file_unchanged(kind: str, tmp_path: Path) -> None:
    of = label_kind(kind)
    names = of.names(LABELS[kind])
    targets = of.encode(LABELS[kind], names)
    assert of.known(targets).tolist() == [True, True, False, True]
    with (
        pa.OSFile(str(tmp_path / "t"), "wb") as file,
        pa.ipc.new_file(file, pa.schema([("x", of.pack(targets).type)])) as writer,
    ):
        writer.write_table(pa.table({"x": of.pack(targets)}), max_chunksize=3)
    back = of.unpack(pa.ipc.open_file(pa.memory_map(str(tmp_path / "t"))).read_all().column("x"))
    assert back.dtype == targets.dtype and np.array_equal(back, targets, equal_nan=kind == "number")
    known = targets[of.known(targets)]
    assert sum(of.shares(known, names).values()) == {"class": 3, "set": 3, "number": 3}[kind]


def test_targets_are_what_tasks_compare_with() -> None:
    assert label_kind("class").encode(LABELS["class"], ["a", "b"]).tolist() == [0, 1, NO_LABEL, 0]
    assert label_kind("set").encode(LABELS["set"], ["a", "b"]).tolist() == [[1, 0], [0, 0], [-1, -1], [1, 1]]
    assert np.array_equal(label_kind("number").encode(LABELS["number"], []), [1.5, -2, np.nan, 0.25], equal_nan=True)


def test_what_is_counted_goes_into_the_facts() -> None:
    sets = label_kind("set").count(np.array([[1, 0], [1, 1], [0, 0]], np.int8), ["a", "b"])
    assert sets["class_counts"] == (2, 1) and sets["num_labels"] == 3
    numbers = label_kind("number").count(np.array([1.0, 2.0, 6.0]), [])
    assert numbers["target_mean"] == 3.0 and numbers["target_std"] == pytest.approx(np.sqrt(14 / 3))
    assert label_kind("number").count(np.array([4.0, 4.0]), [])["target_std"] == 1.0


def test_sets_are_like_when_their_rarest_name_is() -> None:
    targets = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]], np.int8)
    assert label_kind("set").strata(targets).tolist() == [0, 1, 2, 3, 2, 1]


def test_numbers_are_like_when_they_are_in_one_tenth() -> None:
    values = RNG.permutation(np.arange(100.0))
    strata = label_kind("number").strata(values)
    assert np.bincount(strata).tolist() == [10] * 10
    assert np.array_equal(strata, (values // 10).astype(int))
    tied = label_kind("number").strata(np.array([0.0] * 95 + [1, 2, 3, 4, 5]))
    assert np.bincount(tied).tolist() == [95, 5]


def test_subsets_and_folds_keep_the_spread_of_numbers() -> None:
    values = np.exp(RNG.normal(size=400) * 2)
    strata = label_kind("number").strata(values)
    for draw in range(3):
        chosen = label_subset(strata, 20, draw, 0, covered=False)
        assert np.bincount(strata[chosen]).tolist() == [2] * 10
        fold_of = folds(strata, np.arange(400), 5, draw, 0)
        assert all(np.bincount(strata[fold_of == part], minlength=10).tolist() == [8] * 10 for part in range(5))
    assert len(label_subset(strata, 3, 0, 0, covered=False)) == 3


def cleaned_of(labels: list[Any], kind: str = "") -> Cleaned:
    rows = [{"text": f"text number {row}", "label": label} for row, label in enumerate(labels)]
    return clean(open_source(rows, Settings(label="label")), Settings(), None, kind)


def test_numbers_that_are_none_leave_rows_without_a_label_and_are_counted() -> None:
    cleaned = cleaned_of([*map(float, RNG.normal(size=50)), float("inf"), "much", float("nan"), None])
    assert cleaned.label_kind == "number" and len(cleaned) == 54
    assert sum(label is None for label in cleaned.labels) == 4
    assert any("2 rows used without a label: the label is not finite" in told for told in cleaned.understood)
    assert any("--task classify" in told for told in cleaned.understood)
    reasons = cleaned.ledger.column("reason").to_pylist()
    assert reasons[50] == 'used without a label: the label is not finite ("inf")'
    assert reasons[51] == 'used without a label: the label is no number ("much")'


def test_lists_become_sets_and_single_names_go() -> None:
    cleaned = cleaned_of([["a", "b"], ["b"], [], ["a", "c"], None])
    assert cleaned.label_kind == "set"
    assert cleaned.labels == ['["a", "b"]', '["b"]', "[]", '["a"]', None]
    assert cleaned.label_shares == {"a": 2, "b": 2}
    assert any('names that occur only once are taken out of their sets: "c"' in told for told in cleaned.understood)
    require_labels(cleaned)


@pytest.mark.parametrize(
    ("labels", "kind", "lacking"),
    [
        (["a", "a"], "class", "only one class"),
        ([None, None], "class", "no row has a label"),
        ([["a"], ["a"]], "set", 'all 2 labelled rows have the same names: "a"'),
        ([[], []], "set", "no name at all"),
        ([2.5, 2.5, 2.5], "number", "every label is 2.5"),
        ([None], "number", "no row has a label"),
        ([None], "set", "no row has a label"),
    ],
)
def test_labels_that_do_not_differ_teach_nothing(labels: list[Any], kind: str, lacking: str) -> None:
    cleaned = cleaned_of(labels, kind)
    assert lacking in cleaned.lacking


@pytest.mark.parametrize("kind", KINDS)
def test_prepared_data_hold_labels_of_every_kind(kind: str, tmp_path: Path) -> None:
    values: dict[str, list[Any]] = {"class": ["a", "b"], "set": [["a", "b"], ["b"]], "number": [1.5, 2.5]}
    each = values[kind]
    labels = [*each * 10, None, None]
    cleaned = cleaned_of(labels, kind)
    prepared = prepare(cleaned, Settings(), "char", tmp_path, ignore)
    of = label_kind(kind)
    assert prepared.facts.label_kind == kind
    assert prepared.labelled.sum() == 20 and prepared.facts.num_outputs == (1 if kind == "number" else 2)
    expected = of.encode(cleaned.labels, prepared.facts.classes)
    assert np.array_equal(prepared.labels, expected, equal_nan=kind == "number")
    assert len(prepared.rows(labelled=True)) == 20


@pytest.mark.parametrize(
    "labels",
    [
        np.array([[1, 0], [1, 1], [0, 0]] * 4),
        [[0], [0, 1], []] * 4,
        np.array([[0], [0, 1], []] * 4, dtype=object),
    ],
)
def test_arrays_may_hold_sets_as_a_matrix_or_as_lists(labels: Any) -> None:
    pixels = RNG.integers(0, 255, (12, 8, 8)).astype(np.uint8)
    for data in ({"images": pixels, "labels": labels}, (pixels, labels)):
        cleaned = clean(open_source(data, Settings()), Settings())
        assert cleaned.label_kind == "set" and cleaned.label_shares == {"0": 8, "1": 4}
        assert cleaned.labels[:3] == ['["0"]', '["0", "1"]', "[]"]


def test_arrays_may_hold_numbers() -> None:
    pixels = RNG.integers(0, 255, (40, 8, 8)).astype(np.uint8)
    cleaned = clean(open_source((pixels, np.linspace(0, 1, 40)), Settings()), Settings())
    assert cleaned.label_kind == "number" and cleaned.labels[0] == "0.0"


def test_columns_to_slice_by_are_kept_aside(tmp_path: Path) -> None:
    rows = [{"text": f"text number {row}", "label": "ab"[row % 2], "source": "xyz"[row % 3]} for row in range(30)]
    settings = Settings.model_validate({"label": "label", "prove": {"slices": ["length", "source"]}})
    source = open_source(rows, settings)
    assert any('kept aside: "source"' in told for told in source.understood)
    prepared = prepare(clean(source, settings), settings, "char", tmp_path, ignore)
    assert prepared.aside("source", np.array([4, 0, 2])) == ["y", "x", "z"]
    wrong = Settings.model_validate({"label": "label", "prove": {"slices": ["sauce"]}})
    with pytest.raises(DataError, match='There is no column "sauce"') as caught:
        open_source(rows, wrong)
    assert caught.value.fix == "Use --slice source"


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "rows"])
def test_a_column_of_lists_is_found_by_its_name(kind: str, tmp_path: Path) -> None:
    rows = [
        {"text": f"a text about number {row}", "labels": ["a"] * (row % 2) if row < 8 else None} for row in range(12)
    ]
    data: Any = rows
    if kind == "jsonl":
        data = tmp_path / "t.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        data = tmp_path / "t.parquet"
        pq.write_table(pa.Table.from_pylist(rows), data)
    cleaned = clean(open_source(data, Settings()), Settings())
    assert cleaned.label_kind == "set" and cleaned.label_shares == {"a": 4}
