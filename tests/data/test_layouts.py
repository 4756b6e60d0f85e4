"""Every layout people have, as it is, and what it is understood to be: one test a row of the table of conventions."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.data.clean import clean
from seedbed.data.source import Source, open_source
from tests.data.making import settings_with

LONG = "words that make a sentence long enough to be text, number"
Told = dict[str, tuple[str | None, str | None]]


def put(folder: Path, *names: str) -> Path:
    """Images and texts by their names."""
    for at, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".txt", ".md", ".db"):
            path.write_text(f"{LONG} {name}")
        else:
            Image.fromarray(np.random.default_rng(at).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return folder


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def opened(data: Any, settings: Settings | None = None, total: int | None = None) -> Source:
    """A source, checked for having lost nothing on the way through cleaning."""
    settings = settings or Settings()
    source = open_source(data, settings)
    counts = clean(source, settings).counts
    assert counts["total"] == sum(value for name, value in counts.items() if name != "total")
    assert counts["total"] == (len(source) + len(source.quarantined) if total is None else total)
    return source


def told(source: Source) -> Told:
    """key -> label and split."""
    return {row.key: (row.label, row.split) for row in source}


def said(source: Source, words: str) -> bool:
    return any(words in sentence for sentence in source.understood)


# folders of images


def test_flat_files(tmp_path: Path) -> None:
    source = opened(put(tmp_path, "a.png", "b.JPG", "c.webp", "d.bmp", "e.tiff", "f.avif", "Thumbs.db"), total=6)
    assert source.modality == "image" and set(told(source).values()) == {(None, None)}
    assert said(source, "no class folders: every file is unlabelled") and said(source, "6 image files")


def test_class_folders(tmp_path: Path) -> None:
    source = opened(put(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"))
    assert {row.label for row in source} == {"cat", "dog"} and said(source, '2 classes from folders: "cat", "dog"')


def test_split_folders_only(tmp_path: Path) -> None:
    source = opened(put(tmp_path, "train/1.png", "train/2.png", "test/3.png"))
    assert told(source) == {
        "test/3.png": (None, "test"), "train/1.png": (None, "train"), "train/2.png": (None, "train"),
    }  # fmt: skip
    assert said(source, "every file is unlabelled")


def test_split_folders_of_class_folders(tmp_path: Path) -> None:
    source = opened(put(tmp_path, *(f"{s}/{c}/{n}.png" for s in ("train", "val", "test") for c in "ab" for n in "12")))
    assert told(source)["val/a/1.png"] == ("a", "validation") and told(source)["test/b/2.png"] == ("b", "test")
    assert len(source) == 12 and said(source, '2 classes from folders: "a", "b"')


def test_class_folders_and_files_beside_them(tmp_path: Path) -> None:
    source = opened(put(tmp_path, "cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png", "c.png"))
    assert told(source)["c.png"] == (None, None) and told(source)["cat/a.png"] == ("cat", None)
    assert said(source, "1 file without a class folder, unlabelled")


@pytest.mark.parametrize("word", ["unlabeled", "unlabelled", "raw", "unsup"])
def test_labelled_and_unlabelled_folders(tmp_path: Path, word: str) -> None:
    names = [f"{word}/{at}.png" for at in range(3)] + [f"labeled/{c}/{n}.png" for c in ("cat", "dog") for n in "12"]
    source = opened(put(tmp_path, *names))
    assert [label for label, _ in told(source).values()].count(None) == 3
    assert told(source)["labeled/cat/1.png"] == ("cat", None) and said(source, "3 files without a class folder")


def test_a_folder_around_everything_is_no_class(tmp_path: Path) -> None:
    source = opened(put(tmp_path, *(f"pets/data/{c}/{n}.png" for c in ("cat", "dog") for n in "12")))
    assert told(source)["pets/data/cat/1.png"] == ("cat", None)


# tables that name files


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_files(tmp_path: Path, kind: str) -> None:
    put(tmp_path, "1.png", "2.png", "3.png", "4.png", "5.png")
    rows: dict[str, list[Any]] = {
        "file_name": ["1.png", "2.png", "3.png", "4.png"],
        "label": ["cat", "dog", "cat", ""], "split": ["train", "train", "test", "train"], "patient": [1, 1, 2, 3],
    }  # fmt: skip
    if kind == "parquet":
        pq.write_table(pa.table(rows), tmp_path / "metadata.parquet")
    else:
        lines = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        table = ",".join(rows) + "\n" + "".join(",".join(map(str, line.values())) + "\n" for line in lines)
        write(tmp_path, {f"metadata.{kind}": table if kind == "csv" else text})
    source = opened(tmp_path, settings_with(group="patient"), total=5)
    assert told(source) == {
        "1.png": ("cat", "train"), "2.png": ("dog", "train"), "3.png": ("cat", "test"), "4.png": (None, "train"),
        "5.png": (None, "train"),
    }  # fmt: skip
    assert [row.group for row in source] == ["1", "1", "2", "3", None]
    assert said(source, f'metadata.{kind}: its column "file_name" names files')
    assert said(source, 'label: column "label", by its name; split: column "split"; groups: column "patient"')
    assert said(source, '1 file not named there, unlabelled: "5.png"')


def test_metadata_of_each_split_folder(tmp_path: Path) -> None:
    put(tmp_path, *(f"{split}/{at}.png" for split in ("train", "test") for at in range(3)))
    for split in ("train", "test"):
        write(tmp_path, {f"{split}/metadata.csv": "file_name,label\n0.png,a\n1.png,b\n2.png,a\n"})
    source = opened(tmp_path)
    assert told(source)["test/1.png"] == ("b", "test") and told(source)["train/2.png"] == ("a", "train")


def test_metadata_that_names_what_is_not_there(tmp_path: Path) -> None:
    put(tmp_path, "one.png", "two.png", "three.png")
    names = ["one.png", "tow.png", *(f"gone{at}.png" for at in range(9))]
    write(tmp_path, {"metadata.csv": "file_name,label\n" + "".join(f"{name},a\n" for name in names)})
    with pytest.raises(DataError) as caught:
        open_source(tmp_path, Settings())
    assert caught.value.what == "metadata.csv:3: there is no file tow.png."
    assert '10 rows of files that are not there: "tow.png", "gone0.png"' in caught.value.found
    assert "and 5 more" in caught.value.found and caught.value.cause == 'Did you mean "two.png"?'


def test_metadata_that_names_some_files_only(tmp_path: Path) -> None:
    put(tmp_path, *(f"{at}.png" for at in range(6)))
    write(tmp_path, {"metadata.csv": "file_name,label\n0.png,a\n1.png,b\n2.png,a\n"})
    source = opened(tmp_path, total=6)
    assert [row.label for row in source] == ["a", "b", "a", None, None, None]
    assert said(source, "3 files not named there, unlabelled")


def test_a_table_of_labels_found_by_its_content(tmp_path: Path) -> None:
    put(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    write(tmp_path, {"labels.csv": "picture,species\nimages/a.png,oak\nimages/b.png,elm\nimages/c.png,oak\n"})
    source = opened(tmp_path, Settings(label="species"))
    assert [row.label for row in source] == ["oak", "elm", "oak"]
    assert said(source, 'labels.csv: its column "picture" names files')
    assert said(opened(tmp_path), 'candidates for --label: "species"')


def test_names_without_folders_or_endings(tmp_path: Path) -> None:
    put(tmp_path, "train/x1.png", "train/x2.png", "test/y1.png")
    write(tmp_path, {"labels.csv": "id,label\nx1,oak\nx2,elm\n", "sample_submission.csv": "id,label\ny1,oak\n"})
    source = opened(tmp_path)
    assert told(source) == {
        "test/y1.png": (None, "test"), "train/x1.png": ("oak", "train"), "train/x2.png": ("elm", "train"),
    }  # fmt: skip


def test_a_column_of_classes_names_no_files(tmp_path: Path) -> None:
    write(tmp_path, {"cat.txt": "what a cat is", "dog.txt": "what a dog is"})
    rows = "".join(f"{LONG[:40]} {at},{('cat', 'dog')[at % 2]}\n" for at in range(50))
    source = opened(write(tmp_path, {"rows.csv": "text,label\n" + rows}))
    assert len(source) == 50 and source.counts["labelled"] == 50


def test_labels_of_tables_stand_above_folders(tmp_path: Path) -> None:
    put(tmp_path, *(f"{c}/{n}.png" for c in "ab" for n in "12"))
    write(tmp_path, {"metadata.csv": "file_name,label\na/1.png,x\na/2.png,y\nb/1.png,x\n"})
    source = opened(tmp_path)
    assert [row.label for row in source] == ["x", "y", "x", None]


def test_a_file_named_twice_with_two_labels(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "2.png")
    write(tmp_path, {"metadata.csv": "file_name,label\n1.png,x\n1.png,y\n2.png,x\n2.png,x\n"})
    source = opened(tmp_path, total=2)
    assert [row.label for row in source] == [None, "x"] and said(source, "1 file named with different labels")


def test_a_table_given_alone_names_its_files(tmp_path: Path) -> None:
    put(tmp_path, "photos/1.png", "photos/2.png", "photos/3.png")
    write(tmp_path, {"labels.csv": f"file,label\nphotos/1.png,a\n{tmp_path}/photos/2.png,b\nphotos/1.png,a\n"})
    source = opened(tmp_path / "labels.csv")
    assert [row.label for row in source] == ["a", "b"] and source.rows[0].key == "photos/1.png"


def test_metadata_of_texts(tmp_path: Path) -> None:
    put(tmp_path, "notes/1.txt", "notes/2.txt", "notes/3.md")
    write(tmp_path, {"metadata.csv": "file_name,label\nnotes/1.txt,a\nnotes/2.txt,b\n"})
    source = opened(tmp_path)
    assert source.modality == "text" and [row.label for row in source] == ["a", "b", None]


def test_captions_in_a_table(tmp_path: Path) -> None:
    put(tmp_path, "images/1.png", "images/2.png")
    write(tmp_path, {"captions.csv": "image,caption\n1.png,a dog runs\n1.png,a dog is running\n2.png,a cat sleeps\n"})
    source = opened(tmp_path, total=2)
    assert source.modality == "image" and said(source, 'files: column "image"; not used: "caption"')


# what belongs to images


def test_boxes_of_coco_are_left_aside_and_refused_alone(tmp_path: Path) -> None:
    put(tmp_path, "images/1.png", "images/2.png")
    coco = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": [{"bbox": [0, 0, 1, 1]}], "categories": []}
    write(tmp_path, {"annotations.json": json.dumps(coco)})
    source = opened(tmp_path, total=2)
    assert source.modality == "image" and said(source, "1 file beside the images is boxes in the form of COCO")
    with pytest.raises(DataError, match="a list of boxes in the form of COCO"):
        open_source(tmp_path / "annotations.json", Settings())


def test_boxes_of_yolo_and_voc_are_left_aside(tmp_path: Path) -> None:
    put(tmp_path, *(f"images/train/{at}.png" for at in range(3)), *(f"images/val/{at}.png" for at in range(3, 6)))
    write(tmp_path, {f"labels/train/{at}.txt": "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n" for at in range(6)})
    write(tmp_path, {f"Annotations/{at}.xml": "<annotation/>" for at in range(6)})
    source = opened(tmp_path, total=6)
    assert source.modality == "image" and {row.split for row in source} == {"train", "validation"}
    assert said(source, "6 files beside the images are boxes in the form of YOLO: a task that is not there yet")
    assert said(source, "6 files beside the images are boxes in the form of Pascal VOC")


def test_masks_are_no_class(tmp_path: Path) -> None:
    put(tmp_path, *(f"images/{at}.png" for at in range(3)), *(f"masks/{at}_mask.png" for at in range(3)))
    source = opened(tmp_path, total=3)
    assert set(told(source).values()) == {(None, None)} and said(source, "3 files beside the images are masks")


def test_web_dataset(tmp_path: Path) -> None:
    put(tmp_path / "d", *(f"{at:04d}.png" for at in range(4)))
    write(tmp_path / "d", {f"{at:04d}.cls": str(at % 2) for at in range(4)})
    write(tmp_path / "d", {f"{at:04d}.json": "{}" for at in range(4)})
    with zipfile.ZipFile(tmp_path / "shard.zip", "w") as archive:
        for path in sorted((tmp_path / "d").iterdir()):
            archive.write(path, path.name)
    source = opened(tmp_path / "shard.zip", total=4)
    assert [row.label for row in source] == ["0", "1", "0", "1"]
    assert said(source, "4 files beside the images are their classes") and said(source, "descriptions of the image")


def test_captions_beside_images(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "2.png", "1.txt", "2.txt")
    source = opened(tmp_path, total=2)
    assert source.modality == "image" and said(source, "texts of the image of the same name; to read the texts")


# texts


def test_text_files_one_document_each_or_a_line(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "one line\nanother line\n", "b.md": "# a heading\n", "README.md": "about"})
    source = opened(tmp_path)
    assert list(told(source)) == ["a.txt", "b.md"] and said(source, "2 text files, one document each")
    lines = opened(tmp_path, settings_with(unit="line"))
    assert list(told(lines)) == ["a.txt:1", "a.txt:2", "b.md:1"]


def test_text_class_folders(tmp_path: Path) -> None:
    names = [f"{split}/{c}/{n}.txt" for split in ("train", "test") for c in ("neg", "pos") for n in "12"]
    source = opened(put(tmp_path, *names, *(f"train/unsup/{n}.txt" for n in "345")))
    assert told(source)["train/neg/1.txt"] == ("neg", "train") and told(source)["test/pos/2.txt"] == ("pos", "test")
    assert told(source)["train/unsup/3.txt"] == (None, "train")


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "txt"])
def test_texts_and_tables_of_every_kind_and_compression(tmp_path: Path, kind: str, ending: str) -> None:
    rows = [{"text": f"{LONG} {at}", "label": "ab"[at % 2]} for at in range(4)]
    sep = "," if kind == "csv" else "\t"
    content = {
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "json": json.dumps(rows, indent=1),
        "txt": "".join(row["text"] + "\n" for row in rows),
    }.get(kind, f"text{sep}label\n" + "".join(f'"{row["text"]}"{sep}{row["label"]}\n' for row in rows)).encode()
    packers: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
    }
    packed = pa.Codec("zstd").compress(content, asbytes=True) if ending == ".zst" else packers[ending](content)
    path = tmp_path / f"a.{kind}{ending}"
    path.write_bytes(packed)
    source = opened(path, settings_with(unit="line") if kind == "txt" else None)
    assert len(source) == 4 and source.name == "a" and source.modality == "text"
    assert [row.label for row in source] == ([None] * 4 if kind == "txt" else ["a", "b", "a", "b"])


def test_rows_without_a_label_are_unlabelled(tmp_path: Path) -> None:
    write(tmp_path, {"a.csv": f"text,label\n{LONG[:20]} 1,a\n{LONG[:20]} 2,\n{LONG[:20]} 3,b\n{LONG[:20]} 4,nan\n"})
    assert [row.label for row in opened(tmp_path)] == ["a", None, "b", None]


def test_names_of_columns_that_are_not_ours(tmp_path: Path) -> None:
    write(
        tmp_path, {"a.csv": "id,Befund,Klasse\n" + "".join(f'{at},"{LONG} {at}",{"ab"[at % 2]}\n' for at in range(9))}
    )
    source = opened(tmp_path, Settings(label="Klasse"))
    assert source.counts["labelled"] == 9 and said(source, 'text: column "Befund"; label: column "Klasse"')


@pytest.mark.parametrize("pair", [("text_a", "text_b"), ("Premise", "Hypothesis"), ("sentence1", "sentence2")])
def test_pairs_of_texts(tmp_path: Path, pair: tuple[str, str]) -> None:
    rows = [{pair[0]: f"{LONG} {at}", pair[1]: "and more", "label": at % 2} for at in range(4)]
    write(tmp_path, {"a.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    source = opened(tmp_path)
    assert source.rows[0].raw == f"{LONG} 0\n\nand more" and source.rows[1].label == "1"
    assert said(source, "are read as one text, an empty line between them")


def test_split_files_and_a_split_column(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        write(tmp_path / "f", {f"{split}.csv": f"text,label\n{LONG[:30]} {split} 1,a\n{LONG[:30]} {split} 2,b\n"})
    assert [row.split for row in opened(tmp_path / "f")] == ["test"] * 2 + ["train"] * 2 + ["validation"] * 2
    write(tmp_path / "c", {"a.csv": f"text,split\n{LONG[:30]} 1,train\n{LONG[:30]} 2,dev\n{LONG[:30]} 3,eval\n"})
    assert [row.split for row in opened(tmp_path / "c")] == ["train", "validation", "test"]


# what is recognised and not there yet


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"messages": [{"role": "user", "content": "hello"}]}, "conversations"),
        ({"prompt": "say hello", "completion": "hello"}, "prompts and completions"),
        ({"source": "a text of some length", "target": "ein Text von einiger Laenge"}, "a source and a target"),
        ({"translation": {"en": "a text", "de": "ein Text"}}, "its translation"),
        ({"tokens": ["Ann", "sings"], "tags": ["B-PER", "O"]}, "words with tags"),
    ],
)
def test_tables_of_other_tasks_are_refused_by_name(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    write(tmp_path, {"a.jsonl": (json.dumps(row) + "\n") * 3})
    with pytest.raises(DataError, match=what) as caught:
        open_source(tmp_path, Settings())
    assert "not yet" in caught.value.cause and "--set data.text=COLUMN" in caught.value.fix


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"a.wav": "x", "b.flac": "x", "metadata.csv": "file_name,text\na.wav,x\n"}, "holds audio"),
        ({"a.mp4": "x"}, "holds film"),
        ({"train.conll": "Ann B-PER\n\nsings O\n", "README.md": "about"}, r"words with tags \(CoNLL\)"),
        ({"train.txt": "Ann\tB-PER\nsings\tO\n\nBob\tB-PER\nsleeps\tO\n"}, r"words with tags \(CoNLL\)"),
    ],
)
def test_files_of_other_tasks_are_refused_by_name(tmp_path: Path, files: dict[str, str], what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        open_source(write(tmp_path, files), Settings())
    assert "not yet" in caught.value.cause and caught.value.exit_code == 3


# several at once


def test_patterns_and_lists_of_files(tmp_path: Path) -> None:
    put(tmp_path, "in/a.txt", "in/b.txt", "in/deep/c.txt", "in/d.md")
    assert list(told(opened(str(tmp_path / "in" / "*.txt")))) == ["a.txt", "b.txt"]
    assert list(told(opened(str(tmp_path / "in" / "**" / "*.txt")))) == ["a.txt", "b.txt", "deep/c.txt"]
    assert list(told(opened([tmp_path / "in" / "d.md", tmp_path / "in" / "deep"]))) == ["d.md", "deep/c.txt"]
