"""Vectors of numbers: read, cleaned, kept and given back as they are; standardised by training rows alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.core.types import silent
from seedbed.data import decode_vector, vector
from seedbed.data.clean import Cleaned, clean
from seedbed.data.loader import Loader
from seedbed.data.rows import Row, Unreadable
from seedbed.data.source import open_source
from seedbed.data.store import Prepared, prepare
from seedbed.models.stems import Normalise

SETTINGS = Settings()
VALUES = np.random.default_rng(0).normal(size=(120, 6)) * [1, 10, 100, 1, 1, 1] + [0, 0, 0, 5, 5, 5]


def cleaned(values: np.ndarray = VALUES, **beside: object) -> Cleaned:
    return clean(open_source({"features": values, **beside}, SETTINGS), SETTINGS)


def prepared(tmp_path: Path, data: Cleaned) -> Prepared:
    return prepare(data, SETTINGS, "", tmp_path, silent)


def test_what_is_no_square_is_a_vector_and_what_is_called_so_too() -> None:
    assert open_source(VALUES, SETTINGS).modality == "vector"
    square = np.zeros((4, 25))
    assert open_source(square, SETTINGS).modality == "image"
    source = open_source({"features": square}, SETTINGS)
    assert source.modality == "vector" and "array of 4 x 25: each row a vector" in source.understood


def test_values_come_back_as_they_went_in(tmp_path: Path) -> None:
    made = prepared(tmp_path, cleaned(label=np.arange(120) % 2))
    assert made.modality == "vector" and made.facts.image_shape == (6, 1, 1)
    rows = np.arange(120)
    assert np.array_equal(made.pixels(rows)[:, :, 0, 0], VALUES.astype(np.float32))
    assert np.array_equal(made.item(3)[:, 0, 0], VALUES[3].astype(np.float32))
    batch = next(Loader(made, rows, seed=0, batch_size=7, items="whole", seq_len=0).evaluation())
    values, keep = batch.inputs["vector"]
    assert torch.equal(values[:, :, 0, 0], torch.from_numpy(VALUES[:7].astype(np.float32))) and bool(keep.all())


def test_means_and_deviations_are_those_of_the_training_rows(tmp_path: Path) -> None:
    split = np.where(np.arange(120) < 90, "train", "test")
    far = np.where(np.arange(120)[:, None] < 90, VALUES, VALUES + 1000)
    made = prepared(tmp_path, cleaned(far, label=np.arange(120) % 2, split=split))
    counted = far[made.rows(split="train")]
    assert 80 < len(counted) < 91
    assert made.facts.channel_mean == pytest.approx(counted.mean(0), rel=1e-5)
    assert made.facts.channel_std == pytest.approx(counted.std(0), rel=1e-4)


def test_small_values_keep_their_scale_and_constant_ones_are_not_divided(tmp_path: Path) -> None:
    values = VALUES * [1e-6, 1, 1, 0, 1, 1] + [0, 0, 0, 3e4, 0, 0]
    made = prepared(tmp_path, cleaned(values, label=np.arange(120) % 2))
    assert made.facts.channel_std[0] == pytest.approx(1e-6 * VALUES[made.rows(split="train"), 0].std(), rel=1e-3)
    assert made.facts.channel_std[3] == 1.0 and made.facts.channel_mean[3] == 3e4
    standard = Normalise(made.facts)(torch.from_numpy(made.pixels(made.rows(split="train"))))[:, :, 0, 0]
    assert standard.std(0, correction=0).tolist() == pytest.approx([1, 1, 1, 0, 1, 1], abs=1e-3)


def test_what_is_not_finite_is_set_aside_with_its_reason() -> None:
    values = VALUES.copy()
    values[2, 1], values[5], values[7, 0] = np.nan, np.inf, 1e300
    found = cleaned(values)
    assert found.counts == {"used": 117, "duplicate": 0, "quarantined": 3, "excluded": 0, "total": 120}
    reasons = [line["reason"] for line in found.ledger.to_pylist() if line["fate"] == "quarantined"]
    assert reasons == ["not finite (1 of 6 values)", "not finite (6 of 6 values)", "not finite (1 of 6 values)"]


def test_equal_vectors_are_one() -> None:
    assert cleaned(np.concatenate([VALUES, VALUES[:3]])).counts["duplicate"] == 3


def test_vectors_of_another_length_are_refused() -> None:
    row = Row("arrays:1", np.zeros((5, 1, 1), np.float32))
    with pytest.raises(Unreadable, match="5 values where there are 6"):
        decode_vector.read(row, SETTINGS, (6, 1, 1))


def test_files_of_vectors_and_of_images_do_not_mix(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    assert open_source(tmp_path / "a.npy", SETTINGS).modality == "vector"
    np.save(tmp_path / "b.npy", VALUES[:10])
    assert len(open_source(tmp_path, SETTINGS)) == 130
    np.save(tmp_path / "c.npy", np.zeros((4, 5, 5)))
    with pytest.raises(DataError, match="images among vectors"):
        open_source(tmp_path, SETTINGS)


def test_the_reader_shows_and_counts() -> None:
    rows = cleaned().raw
    assert isinstance(rows, np.ndarray)
    assert vector.profile(rows) == {"num_items": 120, "values": 6}
    assert vector.baseline(rows).shape == (120, 6)
    assert vector.preview(np.arange(20.0)).startswith("0, 1, 2, ") and vector.preview(np.arange(20.0)).endswith("11, …")
    assert vector.sniff([np.zeros(3)]) and not vector.sniff([np.zeros((3, 3))]) and not vector.sniff([])
    values, keep = vector.collate([rows[0], rows[1]])
    assert values.shape == (2, 6, 1, 1) and bool(keep.all())
    assert vector.augment(values, keep, None) is values  # type: ignore[arg-type]  # no moment changes anything
