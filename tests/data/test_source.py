"""What a source is understood to be: tables, folders, files; every choice said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedbed.core.errors import DataError, UsageError
from seedbed.core.settings import Settings
from seedbed.data.clean import clean
from seedbed.data.rows import settle_splits, split_word
from seedbed.data.source import Source, open_source

LONG = "words that make a sentence long enough to be text, number"


def settings(**values: Any) -> Settings:
    return Settings.model_validate(values)


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def said(source: Source, words: str) -> bool:
    return any(words in sentence for sentence in source.understood)


def facts(source: Source) -> list[tuple[str, str | None, str | None]]:
    return [(row.key, row.label, row.split) for row in source]


def images(folder: Path, names: list[str]) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return folder


def table(tmp_path: Path, name: str = "a.parquet", **columns: list[Any]) -> Path:
    pq.write_table(pa.table(columns), tmp_path / name)
    return tmp_path / name


# tables


def test_parquet_labels_of_every_kind(tmp_path: Path) -> None:
    texts = [f"{LONG} {at}" for at in range(4)]
    for values in ([0, 1, 0, None], [0.0, 1.0, 0.0, float("nan")], ["0", "1.0", " 0 ", ""]):
        source = open_source(table(tmp_path, text=texts, label=values), settings())
        assert [row.label for row in source] == ["0", "1", "0", None]
        assert [row.raw for row in source] == [text.encode() for text in texts]
        assert source.rows[3].key == "a.parquet:4" and said(source, 'label: column "label", by its name')


def test_dictionary_columns_and_large_strings(tmp_path: Path) -> None:
    columns = {
        "text": pa.array([LONG, LONG + "!"], pa.large_string()),
        "label": pa.array(["x", "y"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert [row.label for row in open_source(tmp_path, settings())] == ["x", "y"]


def test_a_missing_label_column_offers_the_nearest(tmp_path: Path) -> None:
    path = table(tmp_path, text=[LONG], sentiment=[1])
    with pytest.raises(DataError) as caught:
        open_source(path, settings(label="sentimnet"))
    error = caught.value
    assert error.what == 'There is no column "sentimnet" in a.parquet.' and error.exit_code == 3
    assert error.found == 'columns: "text", "sentiment"'
    assert error.cause == 'Did you mean "sentiment"?' and error.fix == "Use --label sentiment"
    with pytest.raises(DataError, match=r"Use --set data\.group=text"):
        open_source(path, settings(data={"group": "texts"}))


def test_without_a_label_candidates_are_told(tmp_path: Path) -> None:
    texts = [f"{LONG} {at}" for at in range(40)]
    path = table(tmp_path, text=texts, stars=[at % 5 for at in range(40)], id=list(range(40)))
    source = open_source(path, settings())
    assert source.counts == {"rows": 40, "labelled": 0, "quarantined": 0, "total": 40}
    assert said(source, 'every row is unlabelled; candidates for --label: "stars" (5 values)')
    assert said(source, 'not used: "stars", "id"')


def test_two_columns_that_could_be_the_label(tmp_path: Path) -> None:
    path = table(tmp_path, text=[LONG] * 4, label=[0, 1, 0, 1], category=["a", "b", "a", "b"])
    source = open_source(path, settings())
    assert source.counts["labelled"] == 0 and said(source, '"label" (2 values), "category" (2 values)')
    assert open_source(path, settings(label="category")).rows[0].label == "a"


def test_the_text_column_is_named_found_or_refused(tmp_path: Path) -> None:
    short, long = [f"some title here {at}" for at in range(9)], [f"{LONG} {LONG} {at}" for at in range(9)]
    assert open_source(table(tmp_path, b=long, n=list(range(9))), settings()).rows[0].raw == long[0].encode()
    source = open_source(table(tmp_path, a=short, b=long), settings())
    assert source.rows[0].raw == long[0].encode() and said(source, '"b" is by far the longest')
    path = table(tmp_path, a=long, b=long)
    with pytest.raises(DataError, match="Several columns could be the text"):
        open_source(path, settings())
    assert open_source(path, settings(data={"text": "b"})).rows[0].raw == long[0].encode()
    with pytest.raises(DataError, match="No column looks like text"):
        open_source(table(tmp_path, a=[1, 2], b=["x", "y"]), settings())


def test_groups_and_a_split_column(tmp_path: Path) -> None:
    path = table(tmp_path, text=[LONG] * 4, split=["train", "train", "dev", "test"], patient=[1, 1, 2, 3])
    source = open_source(path, settings(data={"group": "patient"}))
    assert [row.split for row in source] == ["train", "train", "validation", "test"]
    assert [row.group for row in source] == ["1", "1", "2", "3"]
    assert said(source, 'split: column "split"; groups: column "patient"')


def test_a_folder_of_splits_with_unlabelled_rows(tmp_path: Path) -> None:
    for name, columns in (
        ("train", {"text": [LONG + "a"], "label": [1]}),
        ("test", {"text": [LONG + "b"], "label": [0]}),
        ("unsup", {"text": [LONG + "c"]}),
    ):
        table(tmp_path, f"{name}.parquet", **columns)
    source = open_source(tmp_path, settings(label="label"))
    assert facts(source) == [
        ("test.parquet:1", "0", "test"),
        ("train.parquet:1", "1", "train"),
        ("unsup.parquet:1", None, "train"),
    ]
    assert said(source, 'no column "label" in unsup.parquet: these rows are unlabelled')


def test_csv_jsonl_and_folders_of_them(tmp_path: Path) -> None:
    rows = [{"text": f"{LONG} {at}", "label": at % 2} for at in range(3)]
    write(tmp_path, {
        "train/a.csv": "text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in rows),
        "test/b.jsonl": "".join(json.dumps(row) + "\n" for row in rows) + '{"text": "no label here"}\n',
    })  # fmt: skip
    source = open_source(tmp_path, settings())
    assert [row.key for row in source] == [f"test/b.jsonl:{at}" for at in (1, 2, 3, 4)] + [
        f"train/a.csv:{at}" for at in (2, 3, 4)
    ]
    assert [row.label for row in source] == ["0", "1", "0", None, "0", "1", "0"]
    assert [row.split for row in source] == ["test"] * 4 + ["train"] * 3


def test_broken_json_lines_are_quarantined(tmp_path: Path) -> None:
    deep = "[" * 200_000
    lines = ['{"text": "good"}', "{broken", "[1]", deep, '{"n": ' + "9" * 5000 + "}", '{"text": "also good"}']
    write(tmp_path, {"a.jsonl": "\n".join(lines).encode() + b'\n{"text": "caf\xe9"}\n'})
    source = open_source(tmp_path / "a.jsonl", settings())
    assert [row.raw for row in source] == ["good", "also good"]
    assert [entry.key for entry in source.quarantined] == [f"a.jsonl:{at}" for at in (2, 3, 4, 5, 7)]
    assert "nested too deep" in source.quarantined[2].reason
    assert source.counts["total"] == 7


def test_lists_of_dictionaries_and_columns_in_memory() -> None:
    records = [{"text": LONG, "label": "x"}, {"text": LONG + "!"}]
    assert [row.label for row in open_source(records, settings())] == ["x", None]
    columns = {"text": [LONG, LONG + "!"], "label": ["x", None]}
    assert [row.label for row in open_source(columns, settings())] == ["x", None]
    with pytest.raises(DataError, match="differ in length"):
        open_source({"text": [LONG], "label": [1, 2]}, settings())
    with pytest.raises(UsageError, match="no data"):
        open_source([], settings())


# folders and files


def test_class_folders_of_images(tmp_path: Path) -> None:
    names = ["train/cat/1.png", "train/cat/2.png", "train/dog/1.JPG", "train/dog/deep/2.png", "test/cat/3.png"]
    names.append("train/x.png")
    source = open_source(images(tmp_path, names), settings())
    assert source.modality == "image"
    assert facts(source) == [
        ("test/cat/3.png", "cat", "test"),
        ("train/cat/1.png", "cat", "train"),
        ("train/cat/2.png", "cat", "train"),
        ("train/dog/1.JPG", "dog", "train"),
        ("train/dog/deep/2.png", "dog", "train"),
        ("train/x.png", None, "train"),
    ]
    assert said(source, '2 classes from folders: "cat", "dog"; 1 file without a class folder')


def test_labelled_and_unlabelled_folders(tmp_path: Path) -> None:
    names = ["unlabeled/a.png", "unlabeled/b.png", *(f"labeled/{c}/{n}.png" for c in ("cat", "dog") for n in (1, 2))]
    source = open_source(images(tmp_path, names), settings())
    assert [(row.label, row.split) for row in source] == [("cat", None)] * 2 + [("dog", None)] * 2 + [(None, None)] * 2


def test_one_folder_is_no_class(tmp_path: Path) -> None:
    source = open_source(images(tmp_path, ["images/1.png", "images/2.png"]), settings())
    assert [row.label for row in source] == [None, None] and said(source, "not taken as classes, as there is only one")


def test_split_folders_are_never_classes(tmp_path: Path) -> None:
    source = open_source(images(tmp_path, ["train/1.png", "train/2.png", "test/1.png"]), settings())
    assert [(row.label, row.split) for row in source] == [(None, "test"), (None, "train"), (None, "train")]


def test_columns_make_no_sense_for_files(tmp_path: Path) -> None:
    images(tmp_path, ["a/1.png", "b/1.png"])
    with pytest.raises(UsageError, match="Leave --label out"):
        open_source(tmp_path, settings(label="label"))


def test_text_units(tmp_path: Path) -> None:
    write(tmp_path, {"play.txt": "Act one.\nEnter.\n\nAct two.\n"})
    source = open_source(tmp_path / "play.txt", settings())
    assert [row.key for row in source] == ["play.txt"] and said(source, "1 text file, one document")
    assert source.name == "play"
    lines = open_source(tmp_path, settings(data={"unit": "line"}))
    assert [(row.key, row.raw) for row in lines] == [
        ("play.txt:1", b"Act one."), ("play.txt:2", b"Enter."), ("play.txt:4", b"Act two."),
    ]  # fmt: skip
    paragraphs = open_source(tmp_path, settings(data={"unit": "paragraph"}))
    assert [(row.key, row.raw) for row in paragraphs] == [
        ("play.txt:1", b"Act one.\nEnter."), ("play.txt:4", b"Act two."),
    ]  # fmt: skip


def test_long_documents_come_in_parts(tmp_path: Path) -> None:
    text = "".join(f"line {at} of a very long play\n" for at in range(140_000))
    assert len(text) > 4 << 20
    write(tmp_path, {"a.txt": text})
    source = open_source(tmp_path / "a.txt", settings())
    assert b"".join(row.raw for row in source if isinstance(row.raw, bytes)).decode() == text
    assert [row.key for row in source][:2] == ["a.txt", "a.txt:part 2"] and said(source, "long ones in parts: ")


def test_text_class_folders_and_file_names_that_are_splits(tmp_path: Path) -> None:
    folder = write(tmp_path / "c", {f"{c}/{n}.txt": f"{c} {n}" for c in ("neg", "pos") for n in (1, 2)})
    assert [row.label for row in open_source(folder, settings())] == ["neg", "neg", "pos", "pos"]
    folder = write(tmp_path / "s", {"train.txt": "a", "test.txt": "b", "README.md": "about"})
    assert facts(open_source(folder, settings())) == [("test.txt", None, "test"), ("train.txt", None, "train")]


def test_tabbed_txt_files_are_tables(tmp_path: Path) -> None:
    write(tmp_path, {"dev.txt": "体验巅峰 倚天屠龙记\t8\n年铁树开花形状似玉米\t5\n"})
    source = open_source(tmp_path / "dev.txt", settings(label="column2"))
    assert [row.label for row in source] == ["8", "5"] and said(source, "same number of tabs: read as tables")
    assert len(open_source(tmp_path / "dev.txt", settings(data={"unit": "file"}))) == 1


def test_paths_with_spaces_emoji_and_patterns(tmp_path: Path) -> None:
    folder = write(tmp_path / "my data 🌱 [x]", {"ein text ü.txt": "one", "second 🌲.txt": "two"})
    assert [row.key for row in open_source(folder, settings())] == ["ein text ü.txt", "second 🌲.txt"]
    assert len(open_source(str(folder / "second 🌲.txt"), settings())) == 1
    assert len(open_source(str(tmp_path / "my data*" / "*.txt"), settings())) == 2
    pair: list[str | Path] = [folder / "ein text ü.txt", str(folder / "second 🌲.txt")]
    both = open_source(pair, settings())
    assert [row.key for row in both] == ["ein text ü.txt", "second 🌲.txt"]


def test_other_files_are_left_aside_and_named(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": f'text,label\n"{LONG}",1\n', "classes.txt": "x", "LICENSE": "y", "notes.docx": "z"})
    source = open_source(tmp_path, settings())
    assert len(source) == 1 and said(source, '3 files of other kinds not used: "LICENSE", "classes.txt", "notes.docx"')


def test_nothing_is_printed_and_order_is_stable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, {f"{name}.txt": name for name in "dacb"})
    first, second = open_source(folder, settings()), open_source(folder, settings())
    assert first == second and [row.key for row in first] == ["a.txt", "b.txt", "c.txt", "d.txt"]
    assert capsys.readouterr() == ("", "")


# splits


@pytest.mark.parametrize(
    ("stem", "word"),
    [
        ("train", "train"), ("train-00000-of-00004", "train"), ("adult-test", "test"), ("emerging.dev", "validation"),
        ("VAL", "validation"), ("unsup", "unlabelled"), ("contest", None), ("my_training_notes", None),
    ],
)  # fmt: skip
def test_split_words(stem: str, word: str | None) -> None:
    assert split_word(stem) == word


def test_settling_splits() -> None:
    told: list[str] = []
    assert settle_splits(["train", "test", None, "unlabelled"], told) == {
        "train": "train", "validation": "validation", "test": "test", "unlabelled": "train", None: "train",
    }  # fmt: skip
    assert settle_splits(["train", "unlabelled"], told)["train"] is None
    assert settle_splits([None, "unlabelled"], told)[None] is None and not told
    assert settle_splits(["test"], told)["test"] is None and "split anew" in told[-1]
    assert settle_splits(["validation", "test"], told) == {"validation": "train", "test": "test", "unlabelled": "train"}
    assert "used for training" in told[-1]


# real data


def test_real_sets(shared_data: Path) -> None:
    sst = open_source(shared_data / "sst2", settings(label="column2"))
    assert sst.counts == {"rows": 9613, "labelled": 9613, "quarantined": 0, "total": 9613}
    news = open_source(shared_data / "ag_news" / "test.csv", settings(label="column1"))
    assert news.counts["rows"] == 7600 and {row.label for row in news} == {"1", "2", "3", "4"}
    assert said(news, "split anew") and not any(row.split for row in news)
    titles = open_source(shared_data / "thucnews_titles", settings(label="column2"))
    assert titles.counts["labelled"] == 20_000 and {row.split for row in titles} == {"train", "test"}
    fashion = open_source(shared_data / "fashion_mnist", settings())
    assert fashion.counts["labelled"] == 25_000 and sum(row.split == "test" for row in fashion) == 5000
    plays = clean(open_source(shared_data / "tiny_shakespeare" / "input.txt", settings()), settings())
    assert isinstance(plays.raw, list) and sum(map(len, plays.raw)) == 1_115_394
    pictures = open_source(shared_data / "cifar10_small", settings())
    assert pictures.counts["labelled"] == 14_000 and sum(row.split == "test" for row in pictures) == 2000
    assert pictures.rows[0].key == "cifar10_small.zip/test/airplane/0000.jpg"


def test_imdb_as_it_is(shared_data: Path) -> None:
    with pytest.raises(DataError, match='Did you mean "label"'):
        open_source(shared_data / "imdb", settings(label="lable"))
    cleaned = clean(open_source(shared_data / "imdb", settings(label="label")), settings())
    # its README counts 62 + 3 + 79 surplus copies inside the splits and 17 + 126 + 21 across them
    assert cleaned.counts == {"used": 44_692, "duplicate": 308, "quarantined": 0, "excluded": 0, "total": 45_000}
    assert cleaned.splits.count("test") == 4997 and set(cleaned.label_shares) == {"0", "1"}
