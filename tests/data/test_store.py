"""The store: what went in comes out, nothing but training rows is counted, and the same is made only once."""

from __future__ import annotations

import multiprocessing
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.core.tokens import UNK
from seedbed.core.types import NO_LABEL
from seedbed.data import write
from seedbed.data.clean import Cleaned, clean
from seedbed.data.source import open_source
from seedbed.data.split import HELD, TEST, TRAIN, VALIDATION
from seedbed.data.store import Prepared, load, prepare
from seedbed.data.tokenizer import train_tokenizer
from tests.data.making import cleaned_of, ignore, images_of, settings_with, texts_of


def rows_of(num: int = 300, seed: int = 0) -> Cleaned:
    splits = [("train", "train", "test", "validation", None)[row % 5] for row in range(num)]
    labels = [(None, "cat", "dog")[row % 3] for row in range(num)]
    groups = [f"g{row % 5}-{row // 20}" if row % 2 else None for row in range(num)]
    return cleaned_of(texts_of(num, seed), labels, splits, groups)


def made(out: Path, cleaned: Cleaned | None = None, kind: str = "char", **data: Any) -> Prepared:
    return prepare(cleaned or rows_of(), settings_with(**data), kind, out, ignore)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "SHARD_BYTES", 10_000)


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_what_went_in_comes_out(kind: str, small_shards: None, tmp_path: Path) -> None:
    cleaned = rows_of()
    assert isinstance(cleaned.raw, list)
    for prepared in (made(tmp_path, cleaned, kind), load(made(tmp_path, cleaned, kind).folder)):
        assert len(list(prepared.folder.glob("tokens-*.bin"))) > 1
        assert len(list(prepared.folder.glob("rows-*.arrow"))) > 1
        tokenizer = prepared.tokenizer
        assert tokenizer is not None
        assert [tokenizer.decode(prepared.item(row)) for row in range(300)] == cleaned.raw
        assert prepared.raw(np.array([299, 0, 150, 0])) == [cleaned.raw[row] for row in (299, 0, 150, 0)]
        assert list(prepared.keys) == cleaned.keys
        assert prepared.ids.tolist() == cleaned.ids.tolist()
        assert prepared.counts == cleaned.counts
        assert prepared.understood == cleaned.understood
        assert prepared.facts.classes == ("cat", "dog")
        names = [None if label == NO_LABEL else prepared.facts.classes[label] for label in prepared.labels]
        assert names == cleaned.labels
        assert prepared.fates().equals(cleaned.ledger)
        assert len(np.unique(prepared.groups)) == len(set(cleaned.groups) - {None}) + cleaned.groups.count(None)
        assert prepared.lengths.tolist() == [len(prepared.item(row)) for row in range(300)]
        assert prepared.item(3, 2, 4).tolist() == prepared.item(3).tolist()[2:6]
        assert len(prepared.ledger()) == 300 + len(set(cleaned.groups) - {None})
        assert np.array_equal(prepared.ledger().look_up(prepared.ids), prepared.splits)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_out(channels: int, small_shards: None, tmp_path: Path) -> None:
    pixels = images_of(200, channels, side=9)
    prepared = made(tmp_path, cleaned_of(pixels, [str(row % 10) for row in range(200)]), "")
    assert len(list(prepared.folder.glob("images-*.bin"))) > 1
    assert np.array_equal(prepared.raw(np.arange(200)), pixels)
    assert np.array_equal(prepared.item(77), pixels[77])
    assert prepared.facts.image_shape == (channels, 9, 9)
    assert prepared.facts.classes == tuple(map(str, range(10)))
    seen = pixels[prepared.splits == TRAIN] / 255.0
    assert prepared.facts.channel_mean == pytest.approx(seen.mean((0, 2, 3)).tolist())
    assert prepared.facts.channel_std == pytest.approx(seen.std((0, 2, 3)).tolist())
    assert set(prepared.lengths) == {1}


def test_rows_are_chosen_by_split_and_label(tmp_path: Path) -> None:
    prepared = made(tmp_path)
    assert prepared.rows().tolist() == list(range(300))
    assert np.array_equal(prepared.rows(split="test"), np.flatnonzero(prepared.splits == TEST))
    assert np.array_equal(prepared.rows(split=VALIDATION), prepared.rows(split="validation"))
    parts = [prepared.rows(split=["train", "test"], labelled=known) for known in (True, False)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.flatnonzero(np.isin(prepared.splits, (TRAIN, TEST))))
    assert np.all(prepared.labels[parts[0]] != NO_LABEL)
    assert np.all(prepared.labels[parts[1]] == NO_LABEL)


@pytest.mark.parametrize("kind", ["bpe", "word", "char"])
def test_only_training_rows_are_counted(kind: str, tmp_path: Path) -> None:
    texts = [
        f"common words {row}" + " zebra ☃ quagga" * (row % 5 == 0) + " okapi ☂" * (row % 5 == 1) for row in range(500)
    ]
    splits = [("test", "validation", "train", "train", "train")[row % 5] for row in range(500)]
    labels = ["seen" if row % 5 > 1 else "unseen" for row in range(500)]
    prepared = made(tmp_path, cleaned_of(texts, labels, splits), kind)
    tokenizer, facts = prepared.tokenizer, prepared.facts
    assert tokenizer is not None
    names = tokenizer.backend.get_vocab()
    assert not {"zebra", "Ġzebra", "okapi", "Ġokapi", "☃", "☂", "Ġquagga"} & set(names)
    assert facts.vocab_size == len(facts.token_counts) == len(facts.document_counts) == tokenizer.vocab_size
    training = [tokenizer.encode_batch([texts[row]])[0] for row in prepared.rows(split="train")]
    expected = np.bincount(np.concatenate(training), minlength=facts.vocab_size)
    assert list(facts.token_counts) == expected.tolist()
    in_documents = np.sum([np.bincount(np.unique(ids), minlength=facts.vocab_size) for ids in training], axis=0)
    assert list(facts.document_counts) == in_documents.tolist()
    assert facts.num_documents == 300
    assert facts.class_counts == (300, 0)


def test_held_labels_are_counted_as_labels_not_as_text(tmp_path: Path) -> None:
    texts = [f"row{row} " + ("planted " * 5 if row < 50 else "plain") for row in range(500)]
    prepared = made(tmp_path, cleaned_of(texts, ["ab"[row % 2] for row in range(50)] + [None] * 450), "word")
    assert (prepared.splits[:50] == HELD).all()
    assert prepared.facts.class_counts == (25, 25)
    assert prepared.tokenizer is not None
    assert prepared.tokenizer.backend.token_to_id("planted") is None


def test_a_text_without_a_token_is_one_unknown(tmp_path: Path) -> None:
    texts = ["good film " * 3, "\u200b", *texts_of(50)]
    prepared = made(tmp_path, cleaned_of(texts), "word")
    assert prepared.item(1).tolist() == [UNK]
    assert prepared.lengths.min() == 1


def test_the_same_is_made_once(tmp_path: Path) -> None:
    first = made(tmp_path)
    stamp = (first.folder / "manifest.json").stat().st_mtime_ns
    assert made(tmp_path).folder == first.folder == tmp_path / "data" / first.dataset_id
    assert (first.folder / "manifest.json").stat().st_mtime_ns == stamp
    assert len(list((tmp_path / "data").iterdir())) == 1
    elsewhere = made(tmp_path / "elsewhere")
    assert elsewhere.dataset_id == first.dataset_id, "the id is a function of the data"


def test_anything_that_differs_makes_another(tmp_path: Path) -> None:
    base = rows_of()
    changed = rows_of()
    changed.labels[0] = "cat"
    spelt = rows_of()
    assert isinstance(spelt.raw, list)
    spelt.raw[5] = spelt.raw[5].upper()
    fates = rows_of()
    fates.counts["duplicate"] += 1
    tokenizer = train_tokenizer(["abc"], "char")
    made_ids = {
        made(tmp_path, base).dataset_id,
        made(tmp_path, changed).dataset_id,
        made(tmp_path, spelt).dataset_id,
        made(tmp_path, fates).dataset_id,
        made(tmp_path, base, "bpe").dataset_id,
        made(tmp_path, base, "bpe", vocab_size=270).dataset_id,
        made(tmp_path, base, "bpe", validation_share=0.5).dataset_id,
        prepare(base, settings_with(), "char", tmp_path, ignore, tokenizer=tokenizer).dataset_id,
    }
    assert len(made_ids) == 8


def test_an_earlier_tokenizer_may_be_used(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["abcdefghijklmnopqrstuvwxyz0123456789 "], "char")
    prepared = prepare(rows_of(), settings_with(), "char", tmp_path, ignore, tokenizer=tokenizer)
    assert prepared.tokenizer is not None
    assert prepared.tokenizer.to_json() == tokenizer.to_json()


@pytest.mark.parametrize("more", [5, 50, 500])
def test_old_rows_keep_their_split_when_data_grow(more: int, tmp_path: Path) -> None:
    texts = texts_of(500 + more, longest=4)
    labels = [str(row % 2) for row in range(500 + more)]
    before = made(tmp_path, cleaned_of(texts[more:], labels[more:]))
    after = made(tmp_path, cleaned_of(texts, labels))
    assert np.array_equal(after.splits[more:], before.splits)
    assert after.manifest["generation"] == 2
    assert np.array_equal(after.ledger().look_up(before.ledger().ids), before.ledger().splits)
    shrunk = made(tmp_path, cleaned_of(texts[:10], labels[:10]))
    assert len(shrunk.ledger()) == 500 + more, "a ledger forgets nothing"


def test_rows_no_split_can_use_are_told(tmp_path: Path) -> None:
    told: list[tuple[str, dict[str, object]]] = []
    cleaned = cleaned_of(texts_of(4), ["a", "b", "a", "b"], ["test", "train", "train", "test"], ["x", "x", None, None])
    prepare(cleaned, settings_with(), "char", tmp_path, lambda event, **fields: told.append((event, fields)))
    assert [event for event, _ in told] == ["warning"]
    assert str(told[0][1]["text"]).startswith("1 row")


def _prepare_in_process(out: Path, barrier: Any, results: Any) -> None:
    barrier.wait()
    results.put(made(out, rows_of(2000), "bpe").dataset_id)


def test_two_processes_may_prepare_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    other = context.Process(target=_prepare_in_process, args=(tmp_path, barrier, results))
    other.start()
    barrier.wait(timeout=100)
    mine = made(tmp_path, rows_of(2000), "bpe")
    assert results.get(timeout=100) == mine.dataset_id
    other.join(timeout=60)
    assert other.exitcode == 0
    assert [path.name for path in (tmp_path / "data").iterdir()] == [mine.dataset_id]
    assert load(mine.folder).verify() == 8


def test_the_slower_of_two_uses_what_the_faster_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_rename = Path.rename

    def beaten(self: Path, target: Path) -> Path:
        monkeypatch.undo()
        made(tmp_path)
        return true_rename(self, target)

    monkeypatch.setattr(Path, "rename", beaten)
    assert made(tmp_path).verify() == 8
    assert len(list((tmp_path / "data").iterdir())) == 1


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    first = made(tmp_path)

    dead = tmp_path / "data" / f".tmp-{platform.node()}-999999999-0a0a"
    alive = tmp_path / "data" / f".tmp-{platform.node()}-{os.getpid()}-0b0b"
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "tokens-00000.bin").write_bytes(b"half")
    assert made(tmp_path).folder == first.folder
    assert not dead.exists()
    assert alive.exists()


def test_a_folder_that_is_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.json"):
        load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "most_s"), [("bpe", 40.0), ("word", 25.0)])
def test_imdb_is_prepared_in_time(kind: str, most_s: float, shared_data: Path, tmp_path: Path) -> None:
    settings = Settings(label="label")
    cleaned = clean(open_source(shared_data / "imdb", settings), settings)
    start = time.process_time()
    prepared = prepare(cleaned, settings, kind, tmp_path, ignore)
    assert time.process_time() - start < most_s, "seconds of processor time, on both cores together"
    assert 4096 < prepared.facts.vocab_size <= 50_000
    assert len(prepared.rows(split="test", labelled=True)) > 4900
