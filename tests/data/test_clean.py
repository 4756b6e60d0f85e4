"""Cleaning: every row ends somewhere, equal rows once, the test row stays, labels that disagree are dropped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.data.clean import Cleaned, clean, require_labels
from seedbed.data.reading import FATES
from seedbed.data.rows import Quarantined, Raw, Row, Source

SETTINGS = Settings()


def source(*rows: tuple[Raw, str | None, str | None], quarantined: int = 0) -> Source:
    found = [Row(f"f:{at}", raw, label, split, f"g{at}") for at, (raw, label, split) in enumerate(rows, 1)]
    broken = [Quarantined(f"x:{at}", "cut off", b"bytes") for at in range(quarantined)]
    return Source("image" if rows and isinstance(rows[0][0], np.ndarray) else "text", "made", [], found, broken)


def ledger(cleaned: Cleaned) -> list[dict[str, Any]]:
    return cleaned.ledger.to_pylist()


def test_every_row_ends_somewhere() -> None:
    raws: list[Raw] = ["first", "First ", b"\xff\xfe", "  ", "x"]
    cleaned = clean(source(*((raw, "a", None) for raw in raws), quarantined=2), SETTINGS)
    assert cleaned.counts == {"used": 2, "duplicate": 1, "quarantined": 3, "excluded": 1, "total": 7}
    assert [(line["key"], line["fate"], line["of"]) for line in ledger(cleaned)] == [
        ("f:1", "used", ""), ("f:2", "duplicate", "f:1"), ("f:3", "quarantined", ""), ("f:4", "excluded", ""),
        ("f:5", "used", ""), ("x:0", "quarantined", ""), ("x:1", "quarantined", ""),
    ]  # fmt: skip
    assert ledger(cleaned)[2]["kept"] == b"\xff\xfe" and "not UTF-8" in ledger(cleaned)[2]["reason"]
    assert cleaned.keys == ["f:1", "f:5"] and cleaned.raw == ["first", "x"] and cleaned.groups == ["g1", "g5"]
    assert any(sentence.startswith("3 rows quarantined: 2 x cut off") for sentence in cleaned.understood)


ROW = st.tuples(
    st.sampled_from(["one", "One", "two", "", "three", "bad\x00\x01\x02", "z" * 40]),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, "train", "validation", "test"]),
)


@given(st.lists(ROW, min_size=1, max_size=12), st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_counts_add_up_whatever_comes(rows: list[tuple[str, str | None, str | None]], broken: int) -> None:
    try:
        cleaned = clean(source(*rows, quarantined=broken), SETTINGS)
    except DataError as error:
        assert "can be used" in error.what
        return
    assert sum(cleaned.counts[fate] for fate in FATES) == cleaned.counts["total"] == len(rows) + broken
    assert Counter(line["fate"] for line in ledger(cleaned)) == Counter(
        {fate: cleaned.counts[fate] for fate in FATES if cleaned.counts[fate]}
    )
    assert len(set(cleaned.ids.tolist())) == len(cleaned) == cleaned.counts["used"]
    used = {line["key"] for line in ledger(cleaned) if line["fate"] == "used"}
    assert {line["of"] for line in ledger(cleaned) if line["fate"] == "duplicate"} <= used == set(cleaned.keys)
    again = clean(source(*((raw, None, None) for raw in cleaned.raw)), SETTINGS)
    assert again.raw == cleaned.raw and (again.ids == cleaned.ids).all()


@pytest.mark.parametrize(
    ("splits", "kept"),
    [
        (["train", "test"], "f:2"),
        ([None, "validation"], "f:2"),
        (["validation", "test"], "f:2"),
        (["train", None], "f:1"),
    ],
)
def test_a_copy_in_the_test_beats_one_in_training(splits: list[str | None], kept: str) -> None:
    cleaned = clean(source(("same", "a", splits[0]), ("SAME", "a", splits[1]), ("other", "a", None)), SETTINGS)
    assert cleaned.keys[:1] == [kept] and cleaned.counts["duplicate"] == 1
    assert cleaned.label_shares == {"a": 2}


def test_a_labelled_copy_beats_one_without() -> None:
    cleaned = clean(source(("same", None, None), ("same", "a", None), ("other", "a", None)), SETTINGS)
    assert cleaned.keys == ["f:2", "f:3"] and cleaned.labels == ["a", "a"]


def test_equal_rows_with_different_labels_lose_them() -> None:
    rows = [("same", "a"), ("same", "b"), ("p", "a"), ("q", "a"), ("r", "b"), ("s", "b")]
    cleaned = clean(source(*((text, label, None) for text, label in rows)), SETTINGS)
    assert cleaned.labels == [None, "a", "a", "b", "b"] and cleaned.counts["used"] == 5
    assert ledger(cleaned)[0]["reason"] == (
        'used without a label: equal rows carry different labels ("a" 1 x, "b" 1 x)'
    )
    assert "1 row used without a label: equal rows carry different labels" in cleaned.understood


def test_a_label_seen_once_is_dropped_and_named() -> None:
    cleaned = clean(source(("p", "a", None), ("q", "a", None), ("r", "zebra", None)), SETTINGS)
    assert cleaned.labels == ["a", "a", None] and cleaned.counts["used"] == 3
    assert any('occur only once are dropped, their rows used without: "zebra"' in told for told in cleaned.understood)


def test_labels_that_are_needed() -> None:
    with pytest.raises(DataError, match="no row has a label, of 2 rows") as caught:
        require_labels(clean(source(("p", None, None), ("q", None, None)), SETTINGS))
    assert "--label COLUMN" in caught.value.fix
    with pytest.raises(DataError, match='only one class, "a"'):
        require_labels(clean(source(("p", "a", None), ("q", "a", None)), SETTINGS))
    require_labels(clean(source(*((str(at), "ab"[at % 2], None) for at in range(4))), SETTINGS))


def test_ids_are_of_the_content_alone() -> None:
    first = clean(source(("alpha beta", None, None), ("gamma", "a", None)), SETTINGS)
    second = clean(source(("new", None, None), ("Gamma", None, None), ("alpha  beta", "b", "train")), SETTINGS)
    assert first.ids.dtype == np.int64
    assert second.ids[2] == first.ids[0] and second.ids[1] == first.ids[1]
    assert first.ids.tolist() == [6701839760855244638, 31797598974978550]  # stays the same over versions


def test_images_of_equal_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), np.uint8)
    rows = [(images[0], "a", "train"), (images[1], "b", "train"), (images[0].copy(), "a", "test")]
    rows.append((images[2], "b", "train"))
    cleaned = clean(source(*rows), SETTINGS)
    assert cleaned.keys == ["f:2", "f:3", "f:4"] and cleaned.counts["duplicate"] == 1
    assert isinstance(cleaned.raw, np.ndarray) and (cleaned.raw == images[[1, 0, 2]]).all()


def test_nothing_left_says_why() -> None:
    with pytest.raises(DataError) as caught:
        clean(source((b"\xff", None, None), (b"\xfe", None, None), (" ", None, None)), SETTINGS)
    assert caught.value.found == "2 x not UTF-8 (first: f:1); 1 x empty text (first: f:3)"
    assert caught.value.exit_code == 3


def test_only_latin_1_says_how_to_recode(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="iconv -f WINDOWS-1252 -t UTF-8 FILE"):
        clean(source(("un café noir".encode("latin-1"), None, None)), SETTINGS)
