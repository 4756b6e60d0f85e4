"""The reader of texts."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.core.settings import Settings
from seedbed.data import text
from seedbed.data.decode_text import fold, read, rule
from seedbed.data.rows import Raw, Row, Unreadable

SETTINGS = Settings()


def decoded(raw: Raw) -> str:
    return read(Row("k", raw), SETTINGS)


def test_decoding_and_normal_form() -> None:
    assert decoded(b"caf\xc3\xa9") == decoded("cafe\u0301") == "café"
    assert decoded("a\r\nb\rc\x00d\x85e\ufeff" + "x" * 20) == "a\nb\ncde" + "x" * 20


@given(st.text())
@settings(max_examples=200)
def test_cleaning_twice_changes_nothing(value: str) -> None:
    try:
        once = decoded(value)
    except Unreadable:
        return
    assert decoded(once) == once
    assert unicodedata.is_normalized("NFC", once)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("un café noir".encode("latin-1"), "not UTF-8 .* looks like Latin-1"),
        (b"abc\xff\xfe", "not UTF-8"),
        ("\ud800 alone", "surrogate"),
        ("caf\udce9 and more", "not UTF-8"),
        ("ab\x00\x01\x02", "control or replacement"),
        ("\ufffd\ufffdab", "control or replacement"),
        ("a" + "\u0301\u0316" * 500_000, "combining marks"),
    ],
)
def test_unreadable_texts(raw: Raw, reason: str) -> None:
    started = time.perf_counter()
    with pytest.raises(Unreadable, match=reason):
        decoded(raw)
    assert time.perf_counter() - started < 2


def test_other_scripts_are_not_called_latin_1() -> None:
    with pytest.raises(Unreadable) as caught:
        decoded("体验巅峰倚天屠龙记十大创新概览".encode("gb18030"))
    assert "Latin-1" not in str(caught.value)


def test_min_chars() -> None:
    with pytest.raises(Unreadable, match="min_chars = 4"):
        read(Row("k", "abc"), Settings.model_validate({"data": {"min_chars": 4}}))


def test_what_counts_as_equal() -> None:
    assert fold("A  Fine\n\tDay ") == fold("a fine day") == fold("\u00a0a fine\u2003day")
    assert fold("ﬁne Straße") == fold("fine STRASSE")
    assert fold("now here") != fold("nowhere")


@pytest.mark.parametrize(
    ("value", "excluded"),
    [
        ("", "empty text"),
        (" \n\t", "empty text"),
        ("buy now " * 40, "one phrase repeated throughout"),
        ("!" * 40, "one phrase repeated throughout"),
        ("buy now " * 31, None),
        ("buy now " * 400 + "thanks", None),
        ("A C G T T G C A A C " * 3, None),
        ("体验巅峰倚天屠龙记十大创新概览", None),
        ("word", None),
    ],
)
def test_rules(value: str, excluded: str | None) -> None:
    assert rule(value) == excluded


def test_preview_cannot_break_a_page() -> None:
    shown = text.preview("<script>alert('x')</script> & " + "y" * 1000)
    assert "<" not in shown and "1,030 characters" in shown


def test_profile_counts() -> None:
    profile = text.profile(["hello world", "中文字"])
    assert profile["num_items"] == 2 and profile["chars"] == 14 and profile["longest_chars"] == 11
    assert profile["latin_share"] == pytest.approx(10 / 13)


def test_collate_pads_on_the_right() -> None:
    values, keep = text.collate([np.array([5, 6, 7], np.uint16), np.array([8], np.uint16), np.array([], np.uint16)])
    assert values.tolist() == [[5, 6, 7], [8, 0, 0], [0, 0, 0]] and values.dtype == torch.int64
    assert keep.tolist() == [[True] * 3, [True, False, False], [False] * 3]


def test_sniff() -> None:
    assert text.sniff(Path("a.TXT")) and text.sniff(Path("a.txt.gz")) and not text.sniff(Path("a.png"))
    assert text.sniff(["a", b"b"]) and not text.sniff([1.0]) and not text.sniff([])
