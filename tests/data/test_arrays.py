"""Arrays as images and vectors: shapes, scales, labels, IDX and NumPy files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from seedbed.core.errors import DataError, UsageError
from seedbed.core.settings import Settings
from seedbed.data.arrays import read_idx
from seedbed.data.clean import clean
from seedbed.data.source import Source, open_source

SETTINGS = Settings()


def pixels(source: Source) -> np.ndarray:
    return np.stack([np.asarray(row.raw) for row in source])


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def test_digits_enter_as_arrays() -> None:
    digits = load_digits()
    for images in (digits.images, digits.data):
        source = open_source((images, digits.target), SETTINGS)
        assert source.modality == "image" and len(source) == 1797
        assert (pixels(source)[:, 0] == np.rint(digits.images * 255 / 16)).all()
        assert {row.label for row in source} == set("0123456789")
        assert any("0 to 16 scaled to 0 to 255" in sentence for sentence in source.understood)
    cleaned = clean(source, SETTINGS)
    assert isinstance(cleaned.raw, np.ndarray) and cleaned.raw.shape == (cleaned.counts["used"], 1, 8, 8)


@pytest.mark.parametrize("shape", [(6, 5, 7), (6, 5, 7, 3), (6, 3, 5, 7), (6, 5, 7, 1), (6, 25)])
def test_shapes(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = pixels(open_source(images, SETTINGS))
    assert found.dtype == np.uint8 and len(found) == 6 and found.shape[1] in (1, 3)
    assert np.array_equal(np.sort(found.ravel()), np.sort(images.ravel()))


def test_scales_are_said() -> None:
    images = np.linspace(-1, 1, 2 * 4 * 4).reshape(2, 4, 4)
    source = open_source(images, SETTINGS)
    assert pixels(source).min() == 0 and pixels(source).max() == 255
    assert "pixel values -1 to 1 scaled to 0 to 255" in source.understood


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (np.zeros((4, 5, 5, 2)), "shape"),
        ({"features": np.zeros((4, 5, 5))}, "vectors of numbers"),
        ({"features": np.zeros((4, 5)), "label": [0, 1]}, "as many labels as vectors"),
        (np.full((4, 6), np.nan), "can be used"),
        (np.full((4, 5, 5), np.nan), "not finite"),
        (np.zeros((4, 5, 5), complex), "pixels"),
        ((np.zeros((4, 5, 5)), np.zeros(3)), "as many labels"),
        (np.zeros((0, 5, 5)), "can be used"),
    ],
)
def test_arrays_that_cannot_be_meant(data: np.ndarray, what: str) -> None:
    with pytest.raises(DataError, match=what):
        clean(open_source(data, SETTINGS), SETTINGS)


def test_no_label_is_none_or_nan_or_minus_one() -> None:
    images = np.random.default_rng(0).random((4, 5, 5))
    assert [r.label for r in open_source((images, np.array([0, 1, 2, -1])), SETTINGS)] == ["0", "1", "2", None]
    assert [r.label for r in open_source((images, np.array([0, 1, -1, -1])), SETTINGS)] == ["0", "1", "-1", "-1"]
    assert [r.label for r in open_source((images, np.array([0.0, 1, np.nan, 1])), SETTINGS)] == ["0", "1", None, "1"]
    assert [r.label for r in open_source((images, ["a", None, "", "b"]), SETTINGS)] == ["a", None, None, "b"]


def test_dictionaries_of_arrays() -> None:
    images = np.random.default_rng(0).random((4, 5, 5))
    data = {"images": images, "labels": [1, 0, 1, 0], "split": ["train", "train", "val", "test"]}
    data["groups"] = [1, 1, 2, 3]
    source = open_source(data, SETTINGS)
    assert [row.split for row in source] == ["train", "train", "validation", "test"]
    assert [row.group for row in source] == ["1", "1", "2", "3"]
    assert [row.label for row in source] == ["1", "0", "1", "0"]


def test_arrays_of_strings_are_texts() -> None:
    source = open_source((np.array(["one text", "two texts"]), np.array([0, 1])), SETTINGS)
    assert source.modality == "text"
    assert [(row.raw, row.label) for row in source] == [("one text", "0"), ("two texts", "1")]


def test_idx_pairs(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 5), np.uint8)
    for stem, part in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        (tmp_path / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[part])))
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(idx(np.arange(6)[part]))
    source = open_source(tmp_path, SETTINGS)
    assert [(row.split, row.label) for row in source] == [("test", "4"), ("test", "5")] + [
        ("train", str(at)) for at in range(4)
    ]
    assert source.rows[2].key == "train-images-idx3-ubyte.gz:1"
    assert (pixels(source)[2:, 0] == images[:4]).all()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (idx(np.zeros((6, 5, 5)))[:-1], "cut off"),
        (idx(np.zeros((6, 5, 5))) + b"x", "more bytes"),
        (struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**31, 9), "its header speaks of"),
        (struct.pack(">HBBI", 0, 13, 1, 4) + bytes(16), "no IDX file"),
        (b"", "cut off"),
        (b"words, not numbers", "no IDX file"),
    ],
)
def test_damaged_idx_files(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(DataError, match=what):
        read_idx(path)


def test_idx_labels_alone(tmp_path: Path) -> None:
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(6)))
    with pytest.raises(DataError, match="labels without images"):
        open_source(tmp_path, SETTINGS)


def test_numpy_files(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 5), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(6))
    np.save(tmp_path / "b.npy", images)
    labelled = open_source(tmp_path / "a.npz", SETTINGS)
    assert [row.label for row in labelled] == list("012345") and (pixels(labelled)[:, 0] == images).all()
    assert (pixels(open_source(tmp_path / "b.npy", SETTINGS))[:, 0] == images).all()


def test_pickled_arrays_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(DataError, match="pickles, which can run programs"):
        open_source(tmp_path / "a.npy", SETTINGS)
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 nothing more")
    with pytest.raises(DataError, match="not a sound array file"):
        open_source(tmp_path / "b.npz", SETTINGS)


def test_arrays_have_no_columns() -> None:
    with pytest.raises(UsageError, match="names a column"):
        open_source(np.zeros((4, 5, 5)), Settings(label="digit"))
