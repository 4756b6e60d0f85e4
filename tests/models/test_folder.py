"""Model folders: what is saved comes back, and no damage goes unnoticed."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from seedbed.core.errors import DataError, MachineError
from seedbed.models.folder import MANIFEST, WEIGHTS, load_encoder, load_head_, save_model
from seedbed.models.heads import HeadOptions, LinearClassifier, PooledClassifier, make_classifier
from tests.models.making import FACTS, KINDS, TEXT, make, values_of


@pytest.mark.parametrize(("modality", "trunk"), KINDS)
def test_what_is_saved_comes_back(tmp_path: Path, modality: str, trunk: str) -> None:
    encoder = make(modality, trunk).eval()
    head = make_classifier(HeadOptions(), trunk, modality, encoder.width, 3)
    save_model(tmp_path / "m", encoder, FACTS[modality], head=head, extra={"classes": ["a", "b"]})
    torch.manual_seed(5)
    expected_draw = torch.rand(3)
    torch.manual_seed(5)
    again, facts, extra = load_encoder(tmp_path / "m")
    assert torch.equal(torch.rand(3), expected_draw)
    assert (facts, extra) == (FACTS[modality], {"classes": ["a", "b"]})
    assert not again.training
    values, keep = values_of(modality)
    assert torch.equal(again.pooled(values, keep), encoder.pooled(values, keep))
    other = make_classifier(HeadOptions(), trunk, modality, encoder.width, 3)
    load_head_(tmp_path / "m", other)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), head.parameters(), strict=True))


@pytest.mark.parametrize("file", [WEIGHTS, MANIFEST])
def test_every_flipped_bit_is_noticed_and_the_file_named(tmp_path: Path, file: str) -> None:
    save_model(tmp_path, make("text", "bag"), TEXT)
    path = tmp_path / file
    sound = path.read_bytes()
    places = {0, 8, len(sound) // 3, len(sound) // 2, len(sound) - 40, len(sound) - 1}
    for place in places:
        damaged = bytearray(sound)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=file):
            load_encoder(tmp_path)
    for content in (b"", sound[:-1], sound + b"x"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=file):
            load_encoder(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=file):
        load_encoder(tmp_path)
    path.write_bytes(sound)
    load_encoder(tmp_path)


def test_a_head_that_is_not_there_or_does_not_fit(tmp_path: Path) -> None:
    encoder = make("text", "transformer")
    save_model(tmp_path, encoder, TEXT)
    with pytest.raises(DataError, match="without a head"):
        load_head_(tmp_path, PooledClassifier(encoder.width, 3))
    save_model(tmp_path, encoder, TEXT, head=PooledClassifier(encoder.width, 3))
    for head in (PooledClassifier(encoder.width, 4), LinearClassifier(encoder.width, 3)):
        with pytest.raises(DataError, match="does not fit head"):
            load_head_(tmp_path, head)


def test_a_full_disk_leaves_the_former_model_or_a_named_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path, make("text", "bag"), TEXT)
    before = load_encoder(tmp_path)[0].state_dict()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "injected")

    with monkeypatch.context() as patched, pytest.raises(MachineError, match="full"):
        patched.setattr("os.fsync", full)
        save_model(tmp_path, make("text", "bag"), TEXT)
    after = load_encoder(tmp_path)[0].state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
