"""CSV and TSV: dialects, headers, and broken rows that cost themselves only."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import pytest

from seedbed.data.delimited import Dialect, has_header, read_delimited, read_head, sniff_dialect
from seedbed.data.rows import Quarantined


class Records(NamedTuple):
    """A delimited file, read."""

    columns: list[str]
    header: bool
    cells: list[list[str]]
    numbers: list[int]
    broken: list[Quarantined]


def read(tmp_path: Path, text: str | bytes, name: str = "a.csv") -> Records:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    head, broken = read_head(path), list[Quarantined]()
    rows = list(read_delimited(path, name, head, broken))
    return Records(head.columns, head.header, [cells for _, cells in rows], [line for line, _ in rows], broken)


def test_quoted_commas_and_line_ends(tmp_path: Path) -> None:
    records = read(tmp_path, 'text,label\n"a, b\nc ""d""",x\nplain,y\n')
    assert records.columns == ["text", "label"] and records.header
    assert records.cells == [['a, b\nc "d"', "x"], ["plain", "y"]]
    assert records.numbers == [2, 4]


def test_ragged_rows_are_quarantined_with_their_line(tmp_path: Path) -> None:
    records = read(tmp_path, "text,label\ngood,1\nbad\nworse,1,2\n\nfine,0\n")
    assert [cells[0] for cells in records.cells] == ["good", "fine"]
    assert [(entry.key, entry.reason, entry.kept) for entry in records.broken] == [
        ("a.csv:3", "1 cells where 2 were expected", b"bad"),
        ("a.csv:4", "3 cells where 2 were expected", b"worse,1,2"),
    ]


def test_an_open_quotation_mark_is_named(tmp_path: Path) -> None:
    lines = "".join(f"row {at},1\n" for at in range(200))
    records = read(tmp_path, f'text,label\nfirst,0\n"never closed,1\n{lines}')
    assert len(records.cells) == 1
    assert [entry.key for entry in records.broken] == ["a.csv:3"]
    assert "quotation mark is not closed" in records.broken[0].reason


def test_an_endless_cell_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedbed.data.delimited.MAX_TEXT_BYTES", 1000)
    before = csv.field_size_limit()
    records = read(tmp_path, 'text,label\nfirst,0\n"never closed,1\n' + "row,1\n" * 500)
    assert records.cells[0] == ["first", "0"]
    assert "field larger than field limit" in records.broken[0].reason and "lines 3 to" in records.broken[0].reason
    assert csv.field_size_limit() == before


def test_a_line_beyond_the_limit_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedbed.data.files.lines.__defaults__", (1000,))
    records = read(tmp_path, "text,label\ngood,1\n" + "x" * 5000 + ",0\nfine,0\n")
    assert [cells[0] for cells in records.cells] == ["good", "fine"]
    assert records.broken[0].key == "a.csv:3" and "5,002 bytes" in records.broken[0].reason


def test_bytes_that_are_not_utf8_stay_in_their_cell(tmp_path: Path) -> None:
    records = read(tmp_path, b"text,label\ngood,1\ncaf\xe9,0\n")
    assert records.cells[1][0].encode("utf-8", "surrogateescape") == b"caf\xe9"


@pytest.mark.parametrize(
    ("head", "dialect"),
    [
        ([b"a,b", b"1,2", b"3,4"], Dialect(",", True)),
        ([b"a;b", b"1,5;2", b"3,7;4"], Dialect(";", True)),
        ([b"a\tb", b"x, y\tz", b"q\tr"], Dialect("\t", True)),
        ([b'" a quote\tb', b"x\tz"], Dialect("\t", False)),
        ([b"one column", b"of words, with commas", b"now, and, then"], Dialect(",", True)),
    ],
)
def test_dialects(head: list[bytes], dialect: Dialect) -> None:
    assert sniff_dialect(head) == dialect


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ([["text", "label"], ["good film", "1"], ["bad film", "0"]], True),
        ([["a good film", "1"], ["bad film", "0"]], False),
        ([["text", "text"], ["x", "y"]], False),
        ([["fine film", "pos"], *([[f"film {at}", "pos" if at % 2 else "neg"] for at in range(20)])], False),
        ([["0", "1"], ["some text", "1"]], True),
        ([["x" * 80, "label"], ["y", "z"]], False),
        ([["", "text"], ["0", "hello"]], True),
    ],
)
def test_headers(head: list[list[str]], expected: bool) -> None:
    assert has_header(head) is expected


def test_columns_get_names(tmp_path: Path) -> None:
    assert read(tmp_path, "a sentence here,3\nanother one,4\n").columns == ["column1", "column2"]
    assert read(tmp_path, ",text\n7,hello\n").columns == ["column1", "text"]


def test_tsv_with_literal_quotes(tmp_path: Path) -> None:
    records = read(tmp_path, 'a "fine" film\t1\n" half a quote\t0\nplain, with comma\t1\n', "a.tsv")
    assert records.cells == [['a "fine" film', "1"], ['" half a quote', "0"], ["plain, with comma", "1"]]
    assert not records.broken


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Records([], False, [], [], [])
