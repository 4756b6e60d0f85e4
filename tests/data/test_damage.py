"""Any changed byte, cut or missing file of prepared data is found and named; a failing disk leaves nothing behind."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedbed.core.errors import DataError, MachineError
from seedbed.core.settings import Settings
from seedbed.data import shards, write
from seedbed.data.clean import Cleaned
from seedbed.data.loader import Loader
from seedbed.data.store import Prepared, load, prepare
from tests.data.making import cleaned_of, ignore, images_of, texts_of

TEXT_FILES = 11
IMAGE_FILES = 7


def cleaned_texts() -> Cleaned:
    return cleaned_of(texts_of(400), [str(row % 2) for row in range(400)])


def cleaned_images() -> Cleaned:
    return cleaned_of(images_of(300, side=8), [str(row % 2) for row in range(300)])


@pytest.fixture(scope="module", params=["text", "image"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A dataset of several shards."""
    folder = tmp_path_factory.mktemp(request.param)
    text = request.param == "text"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "SHARD_BYTES", 60_000 if text else 10_000)
        return prepare(
            cleaned_texts() if text else cleaned_images(), Settings(), "char" if text else "", folder, ignore
        )


def files_of(prepared: Prepared) -> list[Path]:
    return sorted(path for path in prepared.folder.iterdir() if path.is_file())


def read_all(folder: Path) -> None:
    """Use a dataset as training, scoring, baselines and reports do."""
    prepared = load(folder)
    loader = Loader(prepared, prepared.rows(), seed=0, batch_size=64, items="chunks", seq_len=64)
    for step in range(int(loader.steps_per_epoch) + 1):
        loader.batch(step)
    for _ in loader.evaluation():
        pass
    prepared.raw(prepared.rows())
    assert len(prepared.keys) == len(prepared)
    prepared.fates()
    prepared.ledger()


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def expect_named(action: Callable[[], object], path: Path) -> None:
    with pytest.raises(DataError) as caught:
        action()
    assert str(path) in caught.value.what, f"{path} is not named by: {caught.value.what}"
    assert caught.value.fix


def test_sound_data_are_sound(sound: Prepared) -> None:
    read_all(sound.folder)
    expected = TEXT_FILES if sound.modality == "text" else IMAGE_FILES
    assert len(files_of(sound)) == load(sound.folder).verify() == expected


@pytest.mark.parametrize("reader", [read_all, lambda folder: load(folder).verify()], ids=["use", "verify"])
def test_a_flipped_bit_anywhere_is_found_and_named(sound: Prepared, reader: Callable[[Path], Any]) -> None:
    rng, covered = np.random.default_rng(0), 0
    for path in files_of(sound):
        content = path.read_bytes()
        places = {0, len(content) - 1, len(content) // 2, *rng.integers(0, len(content), 5).tolist()}
        for at in sorted(places):
            flip(path, at, int(rng.integers(0, 8)))
            expect_named(lambda: reader(sound.folder), path)
            path.write_bytes(content)
        covered += 1
    assert covered == (TEXT_FILES if sound.modality == "text" else IMAGE_FILES)
    read_all(sound.folder)


@pytest.mark.parametrize("harm", ["cut", "emptied", "longer", "missing"])
def test_a_file_of_another_size_is_found_on_opening(sound: Prepared, harm: str) -> None:
    covered = 0
    for path in files_of(sound):
        content = path.read_bytes()
        if harm == "missing":
            path.unlink()
        else:
            path.write_bytes({"cut": content[:-1], "emptied": b"", "longer": content + b"\0"}[harm])
        expect_named(lambda: load(sound.folder), path)
        path.write_bytes(content)
        covered += 1
    assert covered == (TEXT_FILES if sound.modality == "text" else IMAGE_FILES)


def test_files_may_not_change_places(sound: Prepared) -> None:
    kind = "tokens" if sound.modality == "text" else "images"
    one, other = sound.folder / f"{kind}-00000.bin", sound.folder / f"{kind}-00001.bin"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(DataError, match=kind):
        read_all(sound.folder)
    one.write_bytes(first)
    other.write_bytes(second)


def test_damage_stops_a_second_preparation(sound: Prepared, tmp_path: Path) -> None:
    cleaned = cleaned_texts() if sound.modality == "text" else cleaned_images()
    kind = "char" if sound.modality == "text" else ""
    for path in files_of(sound):
        out = tmp_path / path.name
        shutil.copytree(sound.folder.parent, out / "data")
        copy = out / "data" / sound.folder.name / path.name
        flip(copy, copy.stat().st_size // 2)
        expect_named(lambda out=out: prepare(cleaned, Settings(), kind, out, ignore), copy)  # type: ignore[misc]


def test_only_what_is_read_is_verified_and_the_block_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BLOCK", 4096)
    prepared = prepare(cleaned_images(), Settings(), "", tmp_path, ignore)
    path = prepared.folder / "images-00000.bin"
    flip(path, 2 * 4096 + 5)
    damaged = load(prepared.folder)
    damaged.pixels(np.array([0, 100, 299]))
    with pytest.raises(DataError, match=r"block 2 \(bytes 8,192 to 12,287\)"):
        damaged.pixels(np.array([0, 128]))
    with pytest.raises(DataError, match="block 2"):
        damaged.pixels(np.array([150]))


def test_a_window_over_two_blocks_verifies_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BLOCK", 512)
    prepared = prepare(cleaned_of(["ab" * 1000]), Settings(), "char", tmp_path, ignore)
    for block in range(8):
        flip(prepared.folder / "tokens-00000.bin", min(block * 512 + 100, 3999))
        with pytest.raises(DataError, match=f"block {block} "):
            load(prepared.folder).item(0)
        flip(prepared.folder / "tokens-00000.bin", min(block * 512 + 100, 3999))
    flip(prepared.folder / "tokens-00000.bin", 1030)
    assert len(load(prepared.folder).item(0, 0, 512)) == 512
    with pytest.raises(DataError, match="block 2 "):
        load(prepared.folder).item(0, 0, 513)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("operation", ["fsync", "rename", "mkdir"])
def test_a_failing_disk_leaves_nothing_half_made(
    code: int, operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, name = (os, "fsync") if operation == "fsync" else (Path, operation)
    true_call = getattr(target, name)
    failures = 0
    for allowed in range(30):
        calls = 0

        def failing(*arguments: Any, allowed: int = allowed, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise OSError(code, os.strerror(code))
            return true_call(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(target, name, failing)
            try:
                prepare(cleaned_of(texts_of(20)), Settings(), "char", tmp_path, ignore)
                break
            except MachineError as error:
                failures += 1
                assert str(tmp_path) in error.what
                assert error.fix
        root = tmp_path / "data"
        left = list(root.iterdir()) if root.exists() else []
        assert all((path / "manifest.json").exists() for path in left), f"half-made: {left}"
        for path in left:
            load(path).verify()
        shutil.rmtree(root, ignore_errors=True)
    assert failures >= {"fsync": 9, "rename": 1, "mkdir": 2}[operation]
    assert prepare(cleaned_of(texts_of(20)), Settings(), "char", tmp_path, ignore).verify() == 8


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(MachineError, match="data"):
        prepare(cleaned_of(texts_of(20)), Settings(), "char", tmp_path, ignore)
