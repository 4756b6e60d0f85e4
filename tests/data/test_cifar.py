"""CIFAR in its binary form; its python form is a pickle and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seedbed.core.errors import DataError, UsageError
from seedbed.core.settings import Settings
from seedbed.data.clean import clean
from seedbed.data.source import open_source

SETTINGS = Settings()
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), np.uint8)


def batch(first: int, last: int, labels: int = 1) -> bytes:
    rows = range(first, last)
    head = np.array([[at % 2] if labels == 1 else [9, at % 2] for at in rows], np.uint8)
    return np.concatenate([head, PIXELS[first:last].reshape(len(rows), -1)], axis=1).tobytes()


def test_ten_classes_by_name(tmp_path: Path) -> None:
    for name, part in (("data_batch_1.bin", (0, 4)), ("data_batch_2.bin", (4, 8)), ("test_batch.bin", (8, 12))):
        (tmp_path / name).write_bytes(batch(*part))
    (tmp_path / "batches.meta.txt").write_text("airplane\nautomobile\n\n")
    (tmp_path / "readme.html").write_text("<p>")
    source = open_source(tmp_path, SETTINGS)
    assert [row.key for row in source][3:5] == ["data_batch_1.bin:4", "data_batch_2.bin:1"]
    assert [(row.split, row.label) for row in source][7:9] == [("train", "automobile"), ("test", "airplane")]
    assert np.array_equal(np.stack([np.asarray(row.raw) for row in source]), PIXELS)
    assert "data_batch_1.bin: CIFAR-10, 4 images, classes by their names" in source.understood
    assert any("1 file of other kinds not used" in sentence for sentence in source.understood)
    assert clean(source, SETTINGS).label_shares == {"airplane": 6, "automobile": 6}


def test_a_hundred_classes_take_the_fine_label(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(batch(0, 8, 2))
    (tmp_path / "test.bin").write_bytes(batch(8, 12, 2))
    source = open_source(tmp_path, SETTINGS)
    assert [(row.split, row.label) for row in source][:5] == [("test", "0"), ("test", "1")] * 2 + [("train", "0")]


@pytest.mark.parametrize(("data", "what"), [(batch(0, 4)[:-1], "no whole number of images"), (b"", "0 bytes")])
def test_a_damaged_batch(tmp_path: Path, data: bytes, what: str) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(data)
    with pytest.raises(DataError, match=what):
        open_source(tmp_path, SETTINGS)


def test_a_class_without_a_name_and_columns(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(batch(0, 4))
    (tmp_path / "batches.meta.txt").write_text("airplane\n")
    with pytest.raises(DataError, match="it holds class 1"):
        open_source(tmp_path, SETTINGS)
    with pytest.raises(UsageError, match="names a column"):
        open_source(tmp_path, Settings(label="x"))


def test_the_python_form_is_refused_with_its_cure(tmp_path: Path) -> None:
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (tmp_path / name).write_bytes(b"\x80\x02}q\x01(U\x0bbatch_label")
    with pytest.raises(DataError, match="no data in") as caught:
        open_source(tmp_path, SETTINGS)
    assert "Pickles can run programs" in caught.value.cause and "cifar-10-binary.tar.gz" in caught.value.fix


def test_other_pickles_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "something.dat").write_bytes(b"\x80\x04\x95")
    with pytest.raises(DataError) as caught:
        open_source(tmp_path, SETTINGS)
    assert "Pickles can run programs" in caught.value.cause and "binary version" not in caught.value.fix
