"""The loader: what it yields is what was prepared, at any step, fast."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from seedbed.core.tokens import PAD
from seedbed.core.types import EVALUATION_EPOCH, NO_LABEL, Batch
from seedbed.data.loader import Loader
from seedbed.data.store import Prepared, prepare
from tests.data.making import cleaned_of, ignore, images_of, settings_with, texts_of


def prepared_texts(folder: Path, texts: list[str], kind: str = "char") -> Prepared:
    labels = [str(row % 2) if row % 3 else None for row in range(len(texts))]
    splits = ["test" if row % 10 == 9 else "train" for row in range(len(texts))]
    return prepare(cleaned_of(texts, labels, splits), settings_with(), kind, folder, ignore)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_texts(tmp_path_factory.mktemp("loader"), texts_of(600))


def same(one: Batch, other: Batch) -> bool:
    pairs = [(one.ids_B, other.ids_B), (one.epochs_B, other.epochs_B), (one.starts_B, other.starts_B)]
    pairs += [(one.labels_B, other.labels_B), *zip(one.inputs["text"], other.inputs["text"], strict=True)]
    return all(torch.equal(a, b) for a, b in pairs)


def test_batches_hold_the_tokens_of_their_rows(prepared: Prepared) -> None:
    row_of = {int(row_id): row for row, row_id in enumerate(prepared.ids)}
    loader = Loader(prepared, prepared.rows(split="train"), seed=0, batch_size=16, items="chunks", seq_len=32)
    for step in range(100):
        batch = loader.batch(step)
        tokens_BN, keep_BN = batch.inputs["text"]
        assert tokens_BN.dtype == torch.int64
        assert keep_BN.dtype == torch.bool
        assert keep_BN.sum(1).max() == tokens_BN.shape[1] <= 32
        assert torch.all(tokens_BN[~keep_BN] == PAD)
        for index in range(len(batch)):
            row = row_of[int(batch.ids_B[index])]
            expected = prepared.item(row, int(batch.starts_B[index]), int(keep_BN[index].sum()))
            assert tokens_BN[index][keep_BN[index]].tolist() == expected.tolist()
            assert batch.labels_B[index] == prepared.labels[row]


def test_an_epoch_holds_the_text_of_its_rows_and_no_other(prepared: Prepared) -> None:
    rows = prepared.rows(split="train")
    loader = Loader(prepared, rows, seed=3, batch_size=8, items="chunks", seq_len=24)
    seen: Counter[int] = Counter()
    for step in range(int(loader.steps_per_epoch) + 64):
        batch = loader.batch(step)
        tokens_BN, keep_BN = batch.inputs["text"]
        seen.update(tokens_BN[keep_BN & (batch.epochs_B == 0)[:, None]].tolist())
    expected: Counter[int] = Counter()
    for row in rows:
        expected.update(prepared.item(int(row)).tolist())
    assert seen == expected


def test_resuming_anywhere_equals_going_on(prepared: Prepared) -> None:
    def fresh() -> Loader:
        return Loader(prepared, prepared.rows(split="train"), seed=5, batch_size=4, items="chunks", seq_len=20)

    going = fresh()
    whole = [going.batch(step) for step in range(300)]
    for step in (0, 1, 63, 64, 65, 127, 200, 299):
        assert same(fresh().batch(step), whole[step])


def test_scoring_takes_every_row_once_in_order(prepared: Prepared) -> None:
    rows = prepared.rows(split="test")[::-1]
    loader = Loader(prepared, rows, seed=0, batch_size=7, items="whole", seq_len=40)
    batches = list(loader.evaluation())
    assert torch.cat([batch.ids_B for batch in batches]).tolist() == prepared.ids[rows].tolist()
    assert all(len(batch) == 7 for batch in batches[:-1])
    for batch in batches:
        assert set(batch.epochs_B.tolist()) == {EVALUATION_EPOCH}
        assert set(batch.starts_B.tolist()) == {0}
    tokens_BN, keep_BN = batches[0].inputs["text"]
    assert tokens_BN[0][keep_BN[0]].tolist() == prepared.item(int(rows[0]), 0, 40).tolist()


def test_scoring_a_part_takes_the_same_for_every_seed(prepared: Prepared) -> None:
    rows = prepared.rows(split="train")
    parts = []
    for seed in (0, 1):
        loader = Loader(prepared, rows, seed=seed, batch_size=16, items="chunks", seq_len=16)
        batches = list(loader.evaluation(limit=50, batch_size=20))
        assert [len(batch) for batch in batches] == [20, 20, 10]
        parts.append([(i, s) for b in batches for i, s in zip(b.ids_B.tolist(), b.starts_B.tolist(), strict=True)])
    assert parts[0] == parts[1]
    assert len(set(parts[0])) == 50
    assert sum(len(batch) for batch in loader.evaluation(limit=10**9)) == -(-prepared.lengths[rows] // 16).sum()


def test_labels_may_be_given(prepared: Prepared) -> None:
    rows = prepared.rows(split="train")[:50]
    given = np.arange(len(prepared)) % 7
    loader = Loader(prepared, rows, seed=0, batch_size=64, items="whole", seq_len=0, labels=given)
    assert loader.batch_size == loader.num_items == 50
    assert loader.steps_per_epoch == 1.0
    expected = {int(prepared.ids[row]): int(given[row]) for row in rows}
    for batch in [loader.batch(0), loader.batch(7), *loader.evaluation()]:
        assert {int(i): int(label) for i, label in zip(batch.ids_B, batch.labels_B, strict=True)} == expected
    assert NO_LABEL in prepared.labels[rows]


def test_images_come_whole(tmp_path: Path) -> None:
    pixels = images_of(120, channels=3, side=5)
    prepared = prepare(cleaned_of(pixels), settings_with(validation_share=0.0), "", tmp_path, ignore)
    loader = Loader(prepared, prepared.rows(split="train"), seed=0, batch_size=10, items="whole", seq_len=0)
    row_of = {int(row_id): row for row, row_id in enumerate(prepared.ids)}
    seen = []
    for step in range(12):
        batch = loader.batch(step)
        values, keep = batch.inputs["image"]
        rows = [row_of[int(row_id)] for row_id in batch.ids_B]
        assert np.array_equal(values.numpy(), pixels[rows])
        assert keep.tolist() == [True] * 10
        seen += rows
    assert sorted(seen) == list(range(120))


def test_one_long_document_is_cut_into_windows(shared_data: Path, tmp_path: Path) -> None:
    text = (shared_data / "tiny_shakespeare" / "input.txt").read_text()
    prepared = prepare(cleaned_of([text[:-100_000]]), settings_with(), "char", tmp_path, ignore)
    loader = Loader(prepared, prepared.rows(split="train"), seed=0, batch_size=64, items="chunks", seq_len=256)
    assert loader.num_items == pytest.approx(len(text[:-100_000]) / 256, abs=2)
    for step in range(3):
        tokens_BN, keep_BN = loader.batch(step).inputs["text"]
        assert tokens_BN.shape == (64, 256) or not keep_BN.all()
    assert prepared.tokenizer is not None
    start = int(loader.batch(0).starts_B[0])
    assert prepared.tokenizer.decode(loader.batch(0).inputs["text"].values[0].tolist()) == text[start : start + 256]


def test_speed_and_padding(tmp_path: Path) -> None:
    texts = [" ".join([str(row)] + ["word"] * int(length)) for row, length in enumerate(np.arange(4000) % 900)]
    prepared = prepared_texts(tmp_path, texts, "word")
    for seq_len in (64, 256):
        loader = Loader(prepared, prepared.rows(split="train"), seed=0, batch_size=64, items="chunks", seq_len=seq_len)
        assert 0.0 <= loader.padding_share() < 0.05
        rates = []
        for window in range(3):
            start, tokens = time.perf_counter(), 0
            for step in range(window * 64, window * 64 + 64):
                tokens += loader.batch(step).inputs["text"].keep.numel()
            rates.append(tokens / (time.perf_counter() - start))
        assert max(rates) > 2e6, f"{max(rates) / 1e6:.1f} million tokens a second; 20 and more when the machine is free"
