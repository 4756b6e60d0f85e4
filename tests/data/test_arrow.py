"""Arrow files, folders saved by Hugging Face, frames, and data sets in memory: names of classes, images, and damage."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedbed.core.errors import DataError, UsageError
from seedbed.core.settings import Settings
from seedbed.data.arrow import open_arrow
from seedbed.data.clean import clean
from seedbed.data.rows import Unreadable
from seedbed.data.source import Source, open_source
from seedbed.data.values import values_of
from tests.data.making import settings_with

TEXT = "words that make a sentence long enough to be text, number"
CLASSES = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}
SETTINGS = Settings()


def columns(num: int = 4, first: int = 0) -> dict[str, list[Any]]:
    return {"text": [f"{TEXT} {at}" for at in range(first, first + num)], "label": [at % 2 for at in range(num)]}


def write_arrow(path: Path, table: pa.Table, *, stream: bool = False, compression: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as sink, make(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=3)
    return path


def saved(folder: Path, splits: dict[str, int] | None = None, features: dict[str, Any] | None = None) -> Path:
    """A folder as Dataset.save_to_disk writes it; of several splits as DatasetDict does."""
    for split, num in (splits or {"": 5}).items():
        names = [f"data-{at:05d}-of-00002.arrow" for at in range(2)]
        for at, name in enumerate(names):
            write_arrow(folder / split / name, pa.table(columns(num, 100 * at + len(split))), stream=True)
        write_arrow(folder / split / "cache-0123456789abcdef.arrow", pa.table({"indices": [0, 1]}), stream=True)
        state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "x", "_split": split or None}
        (folder / split / "state.json").write_text(json.dumps(state))
        (folder / split / "dataset_info.json").write_text(json.dumps({"features": features or CLASSES}))
    if splits:
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return folder


def png(seed: int) -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(held, "PNG")
    return held.getvalue()


def said(source: Source, words: str) -> bool:
    return any(words in sentence for sentence in source.understood)


# files


@pytest.mark.parametrize("name", ["a.arrow", "a.ipc", "a.feather"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_both_forms_and_every_compression(tmp_path: Path, name: str, stream: bool, compression: str | None) -> None:
    path = write_arrow(tmp_path / name, pa.table(columns(10)), stream=stream, compression=compression)
    source = open_source(path, SETTINGS)
    assert [row.raw for row in source] == [f"{TEXT} {at}".encode() for at in range(10)]
    assert [row.label for row in source] == ["0", "1"] * 5
    assert [row.key for row in source] == [f"{name}:{at}" for at in range(1, 11)]


def test_what_pandas_and_polars_write(tmp_path: Path) -> None:
    pd.DataFrame(columns()).to_feather(tmp_path / "a.feather")
    pl.DataFrame(columns()).write_ipc(tmp_path / "b.arrow", compression="zstd")
    for name in ("a.feather", "b.arrow"):
        assert [row.label for row in open_source(tmp_path / name, SETTINGS)] == ["0", "1", "0", "1"]


def test_dictionaries_are_shared_not_copied(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array([TEXT * 1000] * 50).dictionary_encode(), "label": list("ab") * 25})
    rows = list(open_source(write_arrow(tmp_path / "a.arrow", table), SETTINGS))
    assert len({id(row.raw) for row in rows}) <= 17 and rows[0].raw == (TEXT * 1000).encode()


def test_reading_again_from_the_middle(tmp_path: Path) -> None:
    path = write_arrow(tmp_path / "a.arrow", pa.table(columns(10)))
    table, _ = open_arrow(path, "a.arrow", 0)
    assert not table.held and table.num_rows == 10
    for first in range(11):
        numbers = [at for block in table.blocks(["text"], first) for at in block.numbers]
        assert numbers == list(range(first + 1, 11))


def test_a_string_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    texts = pa.array([b"good words", b"un caf\xe9", b"more words"]).view(pa.string())
    write_arrow(tmp_path / "a.arrow", pa.table({"text": texts}))
    cleaned = clean(open_source(tmp_path, SETTINGS), SETTINGS)
    assert cleaned.counts == {"used": 2, "duplicate": 0, "quarantined": 1, "excluded": 0, "total": 3}


def test_a_cut_file_keeps_its_whole_batches(tmp_path: Path) -> None:
    path = write_arrow(tmp_path / "a.arrow", pa.table(columns(30)), stream=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    source = open_source(path, SETTINGS)
    assert 9 <= len(source) < 30 and len(source) % 3 == 0
    assert source.quarantined[0].key == f"a.arrow:{len(source) + 1} and after"
    assert "damaged Arrow file" in source.quarantined[0].reason


@pytest.mark.parametrize(
    "data", [b"", b"words, not Arrow", b"ARROW1\0\0", b"ARROW1\0\0" + bytes(100), b"FEA1" + bytes(9)]
)
def test_what_is_no_arrow_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.arrow").write_bytes(data)
    with pytest.raises(DataError, match=r"damaged Arrow file|Feather version 1"):
        open_source(tmp_path / "a.arrow", SETTINGS)


def test_every_flipped_byte_ends_in_rows_or_a_reason(tmp_path: Path) -> None:
    whole = write_arrow(tmp_path / "a.arrow", pa.table(columns(6)), compression="zstd").read_bytes()
    for at in range(0, len(whole), 7):
        (tmp_path / "b.arrow").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            source = open_source(tmp_path / "b.arrow", SETTINGS)
        except DataError:
            continue
        assert len(source) <= 6


def test_offsets_and_indices_that_lead_out_are_refused() -> None:
    negative = pa.py_buffer(np.array([0, 8, 5], np.int32))
    with pytest.raises(pa.ArrowException):
        values_of(pa.Array.from_buffers(pa.string(), 2, [None, negative, pa.py_buffer(b"some words")]))
    indices = pa.array([0, 7], pa.int32())
    with pytest.raises(pa.ArrowException, match="out of its dictionary"):
        values_of(pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False))


def test_a_compressed_bomb_is_refused_before_it_is_decompressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seedbed.data.files.FREE_INFLATED_BYTES", 1 << 20)
    for stream in (False, True):
        bomb = pa.table({"text": ["a" * (30 << 20)]})
        path = write_arrow(tmp_path / "bomb.arrow", bomb, stream=stream, compression="zstd")
        assert path.stat().st_size < 1 << 17
        before = pa.total_allocated_bytes()
        monkeypatch.setattr("seedbed.data.arrow._look", lambda path: pytest.fail("decompressed"))
        with pytest.raises(Unreadable, match="decompresses to more than"):
            open_arrow(path, "bomb.arrow", 0)
        assert pa.total_allocated_bytes() - before < 40 << 20


def test_views_extensions_and_large_strings() -> None:
    for kind in (pa.string_view(), pa.large_string(), pa.string()):
        assert values_of(pa.array(["some", None], kind)) == [b"some", None]
    assert values_of(pa.array([b"some"], pa.binary_view())) == [b"some"]
    uuid = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)], pa.binary(16)))
    assert values_of(uuid) == [bytes(16)]


# folders of Hugging Face


def test_a_saved_data_set(tmp_path: Path) -> None:
    source = open_source(saved(tmp_path / "d"), SETTINGS)
    assert len(source) == 10 and not source.quarantined
    assert [row.label for row in source][:4] == ["neg", "pos", "neg", "pos"]
    assert source.rows[5].key == "data-00001-of-00002.arrow:1"
    assert said(source, "saved by Hugging Face datasets, 2 of its files hold data")


def test_saved_splits(tmp_path: Path) -> None:
    source = open_source(saved(tmp_path / "d", {"train": 4, "test": 2, "unsupervised": 3}), SETTINGS)
    assert [row.split for row in source] == ["test"] * 4 + ["train"] * 8 + ["train"] * 6
    assert source.rows[0].key == "test/data-00000-of-00002.arrow:1" and {row.label for row in source} == {"neg", "pos"}


def test_a_cached_data_set_with_its_info(tmp_path: Path) -> None:
    write_arrow(tmp_path / "imdb-train.arrow", pa.table(columns()), stream=True)
    write_arrow(tmp_path / "imdb-test.arrow", pa.table(columns(4, 9)), stream=True)
    (tmp_path / "dataset_info.json").write_text(json.dumps({"features": CLASSES}))
    source = open_source(tmp_path, SETTINGS)
    assert [(row.split, row.label) for row in source][3:5] == [("test", "pos"), ("train", "neg")]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        ("data-00001-of-00002.arrow", 'missing: "data-00001-of-00002.arrow"'),
        ("state", "cannot be read"),
        ("names", "it names no data"),
        ("indices", "flatten_indices"),
    ],
)
def test_saved_folders_that_are_not_whole(tmp_path: Path, spoil: str, what: str) -> None:
    folder = saved(tmp_path / "d")
    if spoil.startswith("data"):
        (folder / spoil).unlink()
    else:
        state = {"state": "{", "names": "{}", "indices": json.dumps({"_indices_files": [{"filename": "x"}]})}
        (folder / "state.json").write_text(state[spoil])
    with pytest.raises(DataError) as caught:
        open_source(folder, SETTINGS)
    assert what in str(caught.value) and caught.value.fix


def test_a_missing_split_is_an_error(tmp_path: Path) -> None:
    folder = saved(tmp_path / "d", {"train": 4})
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    with pytest.raises(DataError, match="not whole") as caught:
        open_source(folder, SETTINGS)
    assert caught.value.found == 'missing: "test"'


def test_classes_named_in_the_schema_of_a_parquet_file(tmp_path: Path) -> None:
    table = pa.table({**columns(4), "label": [0, 1, -1, 7]})
    meta = {"huggingface": json.dumps({"info": {"features": CLASSES}})}
    pq.write_table(table.replace_schema_metadata(meta), tmp_path / "a.parquet")
    assert [row.label for row in open_source(tmp_path, SETTINGS)] == ["neg", "pos", None, "7"]


@pytest.mark.parametrize("meta", ["{", "[]", '{"info": 3}', '{"info": {"features": []}}', "[" * 100_000])
def test_odd_metadata_are_passed_over(tmp_path: Path, meta: str) -> None:
    pq.write_table(pa.table(columns()).replace_schema_metadata({"huggingface": meta}), tmp_path / "a.parquet")
    (tmp_path / "dataset_info.json").write_text(meta)
    assert len(open_source(tmp_path, SETTINGS)) == 4


@pytest.mark.parametrize("form", ["struct", "binary", "declared"])
def test_tables_that_hold_images(tmp_path: Path, form: str) -> None:
    files = [png(at) for at in range(4)]
    held = [{"bytes": data, "path": f"{at}.png"} for at, data in enumerate(files)]
    name = {"struct": "scan", "binary": "image", "declared": "x"}[form]
    table = pa.table({name: held if form == "struct" else files, "label": [0, 1, 0, 1]})
    features = {"label": CLASSES["label"]} | ({"x": {"_type": "Image"}} if form == "declared" else {})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "a.parquet")
    source = open_source(tmp_path, SETTINGS)
    cleaned = clean(source, SETTINGS)
    assert source.modality == "image" and cleaned.counts["used"] == 4 and cleaned.label_shares == {"neg": 2, "pos": 2}
    assert said(source, f'image: column "{name}"; label: column "label"')


def test_images_by_path_and_missing_ones_in_a_table(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(1))
    rows = [
        {"bytes": None, "path": "1.png"},
        {"bytes": None, "path": "gone.png"},
        {"bytes": png(2), "path": None},
        None,
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "a.parquet")
    cleaned = clean(open_source(tmp_path / "a.parquet", SETTINGS), SETTINGS)
    assert cleaned.counts == {"used": 2, "duplicate": 0, "quarantined": 2, "excluded": 0, "total": 4}


# frames and data sets in memory


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_frames(make: Any) -> None:
    source = open_source(make({**columns(), "split": ["train", "train", "dev", "test"], "who": [1, 1, 2, 3]}),
                         settings_with(group="who"))  # fmt: skip
    assert [(row.label, row.split, row.group) for row in source] == [
        ("0", "train", "1"), ("1", "train", "1"), ("0", "validation", "2"), ("1", "test", "3"),
    ]  # fmt: skip
    assert source.name == "arrays" and source.rows[0].key == "frame:1" and said(source, "of 4 rows")


def test_frames_with_an_index_categories_and_holes() -> None:
    frame = pd.DataFrame({**columns(), "label": pd.Categorical(["a", None, "b", "a"])}, index=[7, 5, 3, 1])
    source = open_source(frame, SETTINGS)
    assert [row.label for row in source] == ["a", None, "b", "a"] and said(source, "index of the frame is not used")
    lazy = pl.DataFrame({"text": [f"{TEXT} 1", None], "label": ["a", "b"]}, schema_overrides={"label": pl.Categorical})
    cleaned = clean(open_source(lazy, SETTINGS), SETTINGS)
    assert cleaned.counts["used"] == 1 and cleaned.counts["excluded"] == 1


def test_frames_of_images() -> None:
    frame = pl.DataFrame({"image": [png(at) for at in range(4)], "label": ["a", "b"] * 2})
    source = open_source(frame, SETTINGS)
    assert source.modality == "image" and clean(source, SETTINGS).label_shares == {"a": 2, "b": 2}


@pytest.mark.parametrize("data", [pd.DataFrame({"text": [TEXT, 3, {}]}), pd.Series([TEXT, TEXT]), pl.Series([TEXT])])
def test_frames_that_are_no_tables(data: Any) -> None:
    with pytest.raises(DataError, match="cannot be read as a table") as caught:
        open_source(data, SETTINGS)
    assert "frame[[column]]" in caught.value.fix


class Pairs:
    """What torch calls a map-style data set."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, at: int) -> Any:
        return self.items[at]


def test_data_sets_that_are_asked_item_by_item() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    texts = open_source(Pairs(*((f"{TEXT} {at}", np.int64(at % 2)) for at in range(4))), SETTINGS)
    assert texts.modality == "text" and [row.label for row in texts] == ["0", "1", "0", "1"]
    for items in (
        [(one, at % 2) for at, one in enumerate(pixels)],
        [{"image": Image.fromarray(one), "label": at % 2} for at, one in enumerate(pixels)],
    ):
        source = open_source(Pairs(*items), SETTINGS)
        assert source.modality == "image" and [row.label for row in source] == ["0", "1", "0", "1"]
        assert np.array_equal(np.stack([np.asarray(row.raw) for row in source]), pixels.transpose(0, 3, 1, 2))
    listed = open_source([{"image": one, "label": at % 2} for at, one in enumerate(pixels)], SETTINGS)
    assert listed.modality == "image" and [row.label for row in listed] == ["0", "1", "0", "1"]
    assert len(open_source(Pairs(*pixels), SETTINGS)) == 4 and said(source, "a Pairs of 4 items")
    rows = open_source(
        Pairs(*({"text": f"{TEXT} {at}", "topic": "xy"[at % 2]} for at in range(4))), Settings(label="topic")
    )
    assert [row.label for row in rows] == ["x", "y", "x", "y"]


def test_data_sets_that_cannot_be_meant() -> None:
    with pytest.raises(DataError, match="differ in size"):
        open_source(Pairs(np.zeros((4, 4)), np.zeros((5, 5))), SETTINGS)
    for data in (Pairs(), iter([1]), 3, None, {1, 2}):
        with pytest.raises(UsageError, match="no data"):
            open_source(data, SETTINGS)  # type: ignore[arg-type]  # what is tested


def test_generators_are_told_how_to_be_given() -> None:
    def rows() -> Iterator[dict[str, str]]:
        yield {"text": TEXT}

    with pytest.raises(UsageError, match="no data"):
        open_source(rows(), SETTINGS)  # type: ignore[arg-type]  # what is tested
