"""Parts of the items: which they are, and that bounds hold for all of them together."""

from __future__ import annotations

import numpy as np
import pytest

from seedbed.evaluate.scoring import scoring
from seedbed.evaluate.slices import parts_of, remark, sliced

ACCURACY = scoring("class").metric(np.zeros(1, int))


def test_parts_by_label_are_those_of_the_kind() -> None:
    truth = np.array([0] * 30 + [1] * 20 + [2] * 5)
    parts, said = parts_of(["label"], "class", truth, ("a", "b", "rare"), {})
    assert [(part.value, int(part.inside_I.sum())) for part in parts] == [("a", 30), ("b", 20)]
    assert said == ["by label, not shown: 1 of under 10 items"]
    sets = np.array([[1, 1]] * 12 + [[0, 1]] * 12 + [[0, 0]] * 12, np.int8)
    parts, _ = parts_of(["label"], "set", sets, ("a", "b"), {})
    assert [(part.value, int(part.inside_I.sum())) for part in parts] == [("a", 12), ("b", 24), ("none", 12)]
    parts, _ = parts_of(["label"], "number", np.arange(100.0), (), {})
    assert [part.value for part in parts][:2] == ["0 to 19", "20 to 39"] and len(parts) == 5
    assert (np.sum([part.inside_I for part in parts], axis=0) == 1).all()


def test_parts_by_length_are_quarters_and_by_group_their_names() -> None:
    truth, lengths = np.zeros(80, int), np.arange(80)
    about = {"length": lengths, "group": np.array(["x"] * 50 + ["y"] * 30)}
    parts, said = parts_of(["length", "group"], "class", truth, ("a",), about)
    assert [part.value for part in parts] == [
        "0 to 19 tokens", "20 to 39 tokens", "40 to 59 tokens", "60 to 79 tokens", "x", "y"
    ]  # fmt: skip
    assert said == []
    many = {"group": np.repeat(np.arange(20).astype(str), np.arange(10, 30))}
    parts, said = parts_of(["group"], "class", np.zeros(390, int), ("a",), many)
    assert len(parts) == 12 and said == ["by group, not shown: 8 smaller ones"]


def test_a_part_where_an_arm_is_better_is_found_and_told() -> None:
    draw = np.random.default_rng(0)
    truth = np.repeat([0, 1], 300)
    pretrained = (draw.random((5, 600)) < np.where(truth == 0, 0.95, 0.6)).astype(float)
    other = (draw.random((5, 600)) < 0.6).astype(float)
    parts, _ = parts_of(["label"], "class", truth, ("a", "b"), {})
    rows = sliced(parts, pretrained, other, ACCURACY, 0.95)
    assert rows[0]["difference"]["low"] > 0.2 and rows[1]["difference"]["low"] < 0 < rows[1]["difference"]["high"]
    told = remark(rows, 0.95)
    assert "2 parts were looked at" in told and "differ for label a." in told
    assert "In none of them" in remark(rows[1:], 0.95) and remark([], 0.95) == ""


def test_of_many_equal_parts_hardly_one_stands_out() -> None:
    """At 95 % each, of ten parts one would stand out in two worlds of five; together, in one of twenty."""
    stood_out = 0
    for seed in range(120):
        draw = np.random.default_rng(seed)
        truth = np.repeat(np.arange(10), 60)
        easy = draw.random(600)
        one, other = ((draw.random((5, 600)) * 0.6 + 0.4 * easy > 0.5).astype(float) for _ in range(2))
        parts, _ = parts_of(["label"], "class", truth, tuple("abcdefghij"), {})
        rows = sliced(parts, one, other, ACCURACY, 0.95)
        stood_out += any(row["difference"]["low"] > 0 or row["difference"]["high"] < 0 for row in rows)
    assert stood_out <= 0.1 * 120


def test_errors_are_told_in_their_unit() -> None:
    truth = np.arange(40.0)
    metric = scoring("number").metric(truth)
    parts, _ = parts_of(["label"], "number", np.repeat([1.0, 2.0], 20), (), {})
    rows = sliced(parts, np.full((3, 40), -1.0), np.full((3, 40), -3.0), metric, 0.9)
    assert [row["value"] for row in rows] == ["1", "2"]
    assert rows[0]["pretrained"]["mean"] == pytest.approx(1.0) and rows[0]["difference"]["value"] == pytest.approx(2.0)
    assert rows[0]["pretrained"]["low"] <= 1.0 <= rows[0]["pretrained"]["high"]
