"""Data too long to be held: read block by block, resumed after a kill, and prepared to the same bytes as short data."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedbed.core.errors import DataError
from seedbed.core.runs import write_atomic
from seedbed.core.settings import Settings
from seedbed.data import decode_text
from seedbed.data.clean import clean
from seedbed.data.rows import Row, Stream
from seedbed.data.source import open_source
from seedbed.data.store import Prepared, load, prepare

from .making import ignore, texts_of

NUM = 500
SETTINGS = Settings(label="label", data={"group": "who"})


def records() -> list[dict[str, Any]]:
    """Rows of every fate: used, equal to others with other labels and splits, empty, one phrase, not text."""
    texts = texts_of(NUM, longest=12)
    rows: list[dict[str, Any]] = []
    for at, text in enumerate(texts):
        row = {"text": text, "label": "ab"[at % 2], "split": "test" if at % 5 == 0 else "train", "who": f"g{at // 3}"}
        rows.append(row if at % 7 else {**row, "label": None})
    for at, row in enumerate(rows[:NUM:10]):
        rows.append({**row, "text": row["text"].upper() if at % 2 else row["text"] + " ", "split": "test"})
    rows += [{**rows[3], "label": "b"}, {**rows[4], "text": "   "}, {**rows[5], "text": "again " * 50}]
    rows += [{**rows[6], "text": "\x01\x02\x03ab"}, {**rows[8], "text": "the only one", "label": "lonely"}]
    return rows


def parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet", row_group_size=64)
    return folder / "a.parquet"


def json_lines(folder: Path, rows: list[dict[str, Any]]) -> Path:
    lines = [json.dumps(row) for row in rows]
    (folder / "a.jsonl").write_text("\n".join([*lines[:50], "no json", "[1]", *lines[50:]]) + "\n")
    return folder / "a.jsonl"


def comma_separated(folder: Path, rows: list[dict[str, Any]]) -> Path:
    with gzip.open(folder / "a.csv.gz", "wt", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows[:50])
        file.write("ragged\n")
        writer.writerows(rows[50:])
    return folder / "a.csv.gz"


Writer = Callable[[Path, list[dict[str, Any]]], Path]
WRITERS = (parquet, json_lines, comma_separated)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything is long, and blocks are small."""
    monkeypatch.setattr("seedbed.data.tables.HELD_BYTES", 0)
    monkeypatch.setattr("seedbed.data.tables._BATCH_ROWS", 50)
    monkeypatch.setattr("seedbed.data.tables.SAMPLE_ROWS", 100)
    monkeypatch.setattr("seedbed.data.spool.BLOCK_ROWS", 64)
    monkeypatch.setattr("seedbed.data.encode._ROWS_AT_ONCE", 32)
    monkeypatch.setattr("seedbed.data.strings._BLOCK", 128)
    yield


def made(path: Path, out: Path) -> Prepared:
    cleaned = clean(open_source(path, SETTINGS), SETTINGS, out / "data")
    return prepare(cleaned, SETTINGS, "bpe", out, ignore)


@pytest.mark.parametrize("write", WRITERS)
def test_long_data_become_the_same_bytes_as_short_data(
    write: Writer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = write(tmp_path, records())
    short = clean(open_source(path, SETTINGS), SETTINGS)
    first = prepare(short, SETTINGS, "bpe", tmp_path / "short", ignore)
    request.getfixturevalue("tiny")
    source = open_source(path, SETTINGS)
    assert isinstance(source.rows, Stream) and len(source.rows) == len(records())
    long = clean(source, SETTINGS, tmp_path / "long" / "data")
    assert long.ledger.equals(short.ledger) and long.counts == short.counts and long.understood == short.understood
    assert set(long.counts.values()) - {0} == set(long.counts.values()), "every fate occurs"
    assert list(long.raw) == list(short.raw) and list(long.keys) == list(short.keys)
    second = prepare(long, SETTINGS, "bpe", tmp_path / "long", ignore)
    assert second.dataset_id == first.dataset_id
    assert not list((tmp_path / "long" / "data").glob("*/encoded-*")), "tokens that were kept for a kill are gone"


@pytest.mark.parametrize("write", WRITERS)
def test_a_stream_can_begin_anywhere(write: Writer, tiny: None, tmp_path: Path) -> None:
    rows = open_source(write(tmp_path, records()), SETTINGS).rows
    assert isinstance(rows, Stream)
    whole = list(rows)
    assert len(whole) == len(rows) == len(records())
    for first in (0, 1, 49, 50, 64, 128, 300, len(rows) - 1, len(rows)):
        assert list(rows.read(first)) == whole[first:]
    assert rows[3] == whole[3] and rows[-1] == whole[-1] and rows[10:20:3] == whole[10:20:3]


class Killed(Exception):
    """Stands for a kill, where a test wants to go on."""


def test_killed_anywhere_it_goes_on_without_reading_blocks_again(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path, records())
    expected = made(path, tmp_path / "whole").dataset_id
    read: list[int] = []
    original = decode_text.read

    def counting(row: Row, settings: Settings, shape: tuple[int, ...] = ()) -> str:
        read.append(int(row.key.split(":")[1]))
        return original(row, settings)

    monkeypatch.setattr("seedbed.data.decode_text.read", counting)
    for stop in range(1, 40):
        calls = 0

        def dying(where: Path, content: bytes, stop: int = stop) -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise Killed
            write_atomic(where, content)

        monkeypatch.setattr("seedbed.data.spool.write_atomic", dying)
        monkeypatch.setattr("seedbed.data.encode.write_atomic", dying)
        try:
            assert made(path, tmp_path / "killed").dataset_id == expected
            break
        except Killed:
            continue
    assert stop > 5
    counts = np.bincount(read)[1:]
    assert counts.max() == 2 and (counts == 2).sum() <= 64 * 6, "only blocks that were not written are read again"
    read.clear()
    assert made(path, tmp_path / "killed").dataset_id == expected
    assert not read, "what was read once is kept until the file changes"


def test_a_damaged_block_is_read_again(tiny: None, tmp_path: Path) -> None:
    path = json_lines(tmp_path, records())
    cleaned = clean(open_source(path, SETTINGS), SETTINGS, tmp_path / "data")
    assert cleaned.work is not None
    block = cleaned.work / "block-00002"
    content = bytearray(block.read_bytes())
    content[len(content) // 2] ^= 1
    block.write_bytes(content)
    with pytest.raises(DataError, match="block-00002 is damaged"):
        list(cleaned.raw)
    again = clean(open_source(path, SETTINGS), SETTINGS, tmp_path / "data")
    assert again.ledger.equals(cleaned.ledger) and len(list(again.raw)) == len(again)


def test_blocks_of_an_older_file_are_removed_when_nobody_uses_them(tiny: None, tmp_path: Path) -> None:
    path = json_lines(tmp_path, records())
    old = clean(open_source(path, SETTINGS), SETTINGS, tmp_path / "data")
    json_lines(tmp_path, records()[:400])
    new = clean(open_source(path, SETTINGS), SETTINGS, tmp_path / "data")
    assert old.work is not None and new.work is not None and old.work != new.work
    assert len(list(old.raw)) == len(old), "blocks in use stay"
    kept = old.work
    del old
    clean(open_source(path, SETTINGS), SETTINGS, tmp_path / "data")
    assert not kept.exists() and new.work.exists()


def test_a_file_that_changes_while_it_is_read_is_refused(tiny: None, tmp_path: Path) -> None:
    path = json_lines(tmp_path, records())
    for rows in (records()[:400], records() * 2):
        source = open_source(path, SETTINGS)
        json_lines(tmp_path, rows)
        with pytest.raises(DataError, match="changed while being read"):
            clean(source, SETTINGS, tmp_path / "data")
        json_lines(tmp_path, records())


def test_damage_in_a_long_parquet_file_costs_that_file(tiny: None, tmp_path: Path) -> None:
    folder = tmp_path / "several"
    folder.mkdir()
    parquet(folder, records())
    bad = folder / "b.parquet"
    content = bytearray((folder / "a.parquet").read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    bad.write_bytes(content)
    source = open_source(folder, SETTINGS)
    assert len(source.rows) == len(records()) and [entry.key for entry in source.quarantined] == ["b.parquet"]
    assert "damaged Parquet file" in source.quarantined[0].reason


def test_parts_of_tokens_that_are_damaged_are_made_again(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(tmp_path, records())
    expected = made(path, tmp_path / "whole").dataset_id

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("seedbed.data.write._write_rows", killed)
        made(path, tmp_path / "out")
    parts = sorted((tmp_path / "out" / "data").glob(".read-*/encoded-*/part-*"))
    assert len(parts) > 5
    parts[1].write_bytes(parts[1].read_bytes()[:-1] + b"?")
    parts[2].unlink()
    assert made(path, tmp_path / "out").dataset_id == expected
    assert load(next(iter((tmp_path / "out" / "data").glob("*/manifest.json"))).parent).verify() > 5
