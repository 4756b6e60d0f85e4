"""Checkpoints of transformers come in with the numbers they have there, and bad ones are refused in plain words."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seedbed.core import extras
from seedbed.core.errors import DataError, MachineError, SeedbedError, UsageError
from seedbed.core.types import Facts
from seedbed.models import untrusted
from seedbed.models.encoder import Encoder
from seedbed.models.folder import load_encoder, save_model
from seedbed.models.hub import FAMILIES, load_checkpoint
from seedbed.models.untrusted import INDEX, WEIGHTS, load_weights, read_json_file, verify
from tests.models.checkpoints import FAMILY_CLASSES, save_checkpoint

LIMIT = 1e-5
AROUND = {"prefix": (2,), "suffix": (3,)}
PIXELS = {"scale": 1 / 255, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
TEXT = [name for name, family in FAMILIES.items() if family.modality == "text"]
# One of each kind of layout in the default tier.
TEXTS = [name if name in ("bert", "roberta", "gpt2") else pytest.param(name, marks=pytest.mark.slow) for name in TEXT]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    return lambda family, **given: save_checkpoint(tmp_path / family, family, **given)


def texts() -> tuple[Tensor, Tensor]:
    keep_BN = torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
    return torch.randint(4, 50, (3, 9)) * keep_BN, keep_BN


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", TEXTS)
@torch.no_grad()
def test_states_of_texts_are_those_of_transformers(
    family: str, checkpoint: Callable[..., tuple[Path, Any]], tmp_path: Path
) -> None:
    folder, theirs = checkpoint(family)
    facts = Facts("text", 50)
    encoder = load_checkpoint(folder, facts, AROUND).encoder
    tokens_BN, keep_BN = texts()
    states_BND = encoder(tokens_BN, keep_BN)
    assert states_BND.shape == (3, 9, encoder.width)
    for row, length in enumerate(keep_BN.sum(1).tolist()):
        ids = torch.tensor([[2, *tokens_BN[row, :length].tolist(), 3]])
        expected = theirs(input_ids=ids).last_hidden_state[0, 1:-1]
        assert float((states_BND[row, :length] - expected).abs().max()) <= LIMIT
        pooled_D = encoder.pooled(tokens_BN, keep_BN)[row]
        assert float((pooled_D - expected.mean(0)).abs().max()) <= LIMIT
    wanted_BN = keep_BN & (tokens_BN % 2 == 0)
    assert torch.allclose(encoder.at(tokens_BN, keep_BN, wanted_BN), states_BND[wanted_BN], atol=LIMIT)
    reloaded_alike(encoder, facts, tmp_path / "model", tokens_BN, keep_BN)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["vit", "resnet"])
@torch.no_grad()
def test_states_of_images_are_those_of_transformers(
    family: str, checkpoint: Callable[..., tuple[Path, Any]], tmp_path: Path
) -> None:
    folder, theirs = checkpoint(family)
    facts = Facts("image", image_shape=(3, 16, 16), channel_mean=(0.1,) * 3, channel_std=(0.9,) * 3)
    encoder = load_checkpoint(folder, facts, PIXELS).encoder
    pixels_BCYX, keep_B = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8), torch.ones(4, dtype=torch.bool)
    mean_C11, std_C11 = (torch.tensor(PIXELS[name])[:, None, None] for name in ("mean", "std"))
    states = theirs(pixel_values=(pixels_BCYX / 255 - mean_C11) / std_C11).last_hidden_state
    expected_BD = states[:, 0] if family == "vit" else states.mean((2, 3))
    assert float((encoder.pooled(pixels_BCYX, keep_B) - expected_BD).abs().max()) <= LIMIT
    assert float((encoder.pooled(pixels_BCYX / 255, keep_B) - expected_BD).abs().max()) <= LIMIT
    flat_BND = states if family == "vit" else states.flatten(2).mT
    assert float((encoder(pixels_BCYX, keep_B) - flat_BND).abs().max()) <= LIMIT
    grey_BCYX = pixels_BCYX[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(encoder.pooled(pixels_BCYX[:, :1], keep_B), encoder.pooled(grey_BCYX, keep_B), atol=LIMIT)
    reloaded_alike(encoder, facts, tmp_path / "model", pixels_BCYX, keep_B)


def reloaded_alike(encoder: Encoder, facts: Facts, folder: Path, values: Tensor, keep: Tensor) -> None:
    """A model folder of ours needs the checkpoint no longer."""
    save_model(folder, encoder, facts)
    again = load_encoder(folder)[0]
    assert torch.equal(again(values, keep), encoder(values, keep))


def test_every_family_is_tried() -> None:
    assert set(FAMILY_CLASSES) == set(FAMILIES)
    assert len(FAMILIES) == 7


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_a_head_is_left_out_and_shards_are_joined(checkpoint: Callable[..., tuple[Path, Any]]) -> None:
    folder, theirs = checkpoint("bert", name="BertForMaskedLM", max_shard_size="20KB")
    assert not (folder / WEIGHTS).exists() and len(list(folder.glob("*.safetensors"))) > 1
    read = load_checkpoint(folder, Facts("text", 50), AROUND)
    assert read.unused and all(name.startswith("cls.") for name in read.unused)
    tokens_BN = torch.randint(4, 50, (1, 6))
    expected = theirs.bert(input_ids=torch.cat((torch.tensor([[2]]), tokens_BN, torch.tensor([[3]])), 1))
    states_BND = read.encoder(tokens_BN, tokens_BN > 0)
    assert float((states_BND - expected.last_hidden_state[:, 1:-1]).abs().max()) <= LIMIT


@pytest.mark.filterwarnings("ignore")
def test_images_of_another_size_than_the_vit_was_made_for(checkpoint: Callable[..., tuple[Path, Any]]) -> None:
    folder, _ = checkpoint("vit")
    facts = Facts("image", image_shape=(3, 24, 24), channel_mean=(0.1,) * 3, channel_std=(0.9,) * 3)
    encoder = load_checkpoint(folder, facts, PIXELS).encoder
    pixels_BCYX = torch.randint(0, 256, (2, 3, 24, 24), dtype=torch.uint8)
    assert encoder(pixels_BCYX, torch.ones(2, dtype=torch.bool)).shape == (2, 10, encoder.width)


def edited(folder: Path, **changes: Any) -> None:
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, **changes}))


def indexed(folder: Path, index: dict[str, Any]) -> None:
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps(index))


REFUSED: dict[str, tuple[Callable[[Path], object], type[SeedbedError], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), DataError, "config.json is missing"),
    "config no JSON": (lambda folder: (folder / "config.json").write_text("{"), DataError, "it is no JSON"),
    "config no object": (lambda folder: (folder / "config.json").write_text("[]"), DataError, "no JSON object"),
    "config too deep": (
        lambda folder: (folder / "config.json").write_text("[" * 200_000), DataError, "it is no JSON",
    ),
    "code": (
        lambda folder: edited(folder, auto_map={"AutoModel": "evil.Model"}), UsageError, "wants to run code",
    ),
    "architecture": (lambda folder: edited(folder, model_type="berd"), UsageError, "'berd' cannot come in"),
    "quantised": (lambda folder: edited(folder, quantization_config={}), UsageError, "are quantised"),
    "nonsense in config": (
        lambda folder: edited(folder, hidden_size="wide"), DataError, "is no BertModel that transformers knows",
    ),
    "other shape": (lambda folder: edited(folder, intermediate_size=77), DataError, "do not fit its config.json"),
    "other network": (lambda folder: edited(folder, num_hidden_layers=3), DataError, "of the weights that a BertModel"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), DataError, "holds no weights"),
    "pickle": (
        lambda folder: (folder / WEIGHTS).rename(folder / "pytorch_model.bin"), DataError, "weights as a pickle",
    ),
    "renamed pickle": (
        lambda folder: (folder / WEIGHTS).write_bytes(b"PK\x03\x04" + b"\x80" * 99), DataError, "its header should",
    ),
    "cut off": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-8]), DataError, "its tensors",
    ),
    "index without a map": (
        lambda folder: indexed(folder, {}), DataError, "no weight_map",
    ),
    "index leads outside": (
        lambda folder: indexed(folder, {"weight_map": {"a": "../x.safetensors"}}), DataError, "no safetensors file of",
    ),
    "shard missing": (
        lambda folder: indexed(folder, {"weight_map": {"a": "x.safetensors"}}), DataError, "x.safetensors is missing",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder, _ = save_checkpoint(tmp_path_factory.mktemp("bert") / "bert", "bert")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", REFUSED)
def test_bad_checkpoints_are_refused(fault: str, bert: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in bert.items():
        (tmp_path / name).write_bytes(content)
    spoil, kind, words = REFUSED[fault]
    spoil(tmp_path)
    with pytest.raises(kind, match=words) as caught:
        load_checkpoint(tmp_path, Facts("text", 50), AROUND)
    assert caught.value.fix and (caught.value.found or caught.value.cause)


def header(entries: object, data: bytes = b"") -> bytes:
    content = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(content)) + content + data


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HEADERS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the whole file has 0"),
    "too long": (struct.pack("<Q", 1 << 40) + b"{}", "should have 1,099,511,627,776 bytes"),
    "no JSON": (header(b"\xff{"), "its header is no JSON"),
    "too deep": (header(b"[" * 200_000), "its header is no JSON"),
    "no object": (header([]), "no JSON object"),
    "no description": (header({"a": 3}), "'a' is not described"),
    "unknown type": (header({"a": {**ONE, "dtype": "F8_E4M3"}}, b"1234"), "has the type 'F8_E4M3'"),
    "no shape": (header({"a": {**ONE, "shape": "1"}}, b"1234"), "no shape and offsets that make sense"),
    "negative shape": (header({"a": {**ONE, "shape": [-1, -1]}}, b"1234"), "no shape and offsets"),
    "three offsets": (header({"a": {**ONE, "data_offsets": [0, 2, 4]}}, b"1234"), "no shape and offsets"),
    "overflow": (header({"a": {**ONE, "shape": [1 << 32, 1 << 32]}}, b"1234"), "needs 73,786,976,294,838,206,464"),
    "overlap": (header({"a": ONE, "b": ONE}, b"1234"), "'b' overlaps another"),
    "hole": (header({"a": {**ONE, "data_offsets": [2, 6]}}, b"123456"), "leaves a hole"),
    "too little": (header({"a": ONE}, b"12"), "its tensors need 4 bytes, 2 are there"),
    "too much": (header({"a": ONE}, b"123456"), "its tensors need 4 bytes, 6 are there"),
}


@pytest.mark.parametrize("fault", HEADERS)
def test_bad_headers_are_refused(fault: str, tmp_path: Path) -> None:
    content, words = HEADERS[fault]
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_weights(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(header({"__metadata__": {"format": "pt"}, "a": ONE}, struct.pack("<f", 2.5)))
    assert load_weights(tmp_path)["a"].tolist() == [2.5]


def test_what_is_far_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "MAX_HEADER_BYTES", 10)
    (tmp_path / WEIGHTS).write_bytes(header({"a": ONE}, b"1234"))
    with pytest.raises(DataError, match="at most 10 are read"):
        verify(tmp_path / WEIGHTS)
    monkeypatch.setattr(untrusted, "MAX_JSON_BYTES", 10)
    (tmp_path / "config.json").write_text('{"a": "0123456789"}')
    with pytest.raises(DataError, match="at most 10 are read"):
        read_json_file(tmp_path / "config.json", "nothing")


def test_without_the_library(bert: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "hub", ("no_such_package",))
    with pytest.raises(MachineError, match="Reading a checkpoint of transformers needs") as caught:
        load_checkpoint(tmp_path, Facts("text", 50), AROUND)
    assert caught.value.fix == "pip install 'seedbed[hub]'"
