"""Exports load strictly in transformers and compute the same numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seedbed.core.errors import DataError, UsageError
from seedbed.core.tokens import MASK, PAD
from seedbed.core.types import Facts
from seedbed.data.tokenizer import Tokenizer, train_tokenizer
from seedbed.export.hf import export_hf
from seedbed.export.layouts import EXPORTS
from seedbed.models.encoder import Encoder, build_encoder, make_spec
from seedbed.models.folder import TOKENIZER, save_model
from tests.models.making import table

LIMIT = 1e-5


@pytest.fixture(scope="module")
def passages(shared_data: Path) -> list[str]:
    text = (shared_data / "tiny_shakespeare" / "input.txt").read_text(encoding="utf-8")
    # Real paragraphs of unequal length, and what is hard for a tokenizer.
    hard = [
        "Crème brûlée, 1234567 ½ \t tabs\n\nand   runs  of spaces ",
        "[MASK] [PAD] is what a user wrote",
        "日本語 🙂",
    ]
    return [part for part in text.split("\n\n") if part][:150] + hard


@pytest.fixture(scope="module")
def tokenizer(passages: list[str]) -> Tokenizer:
    return train_tokenizer(passages, "bpe", 700)


def text_encoder(size: str, vocab_size: int) -> tuple[Encoder, Facts]:
    torch.manual_seed(1)
    counts = tuple(range(1, vocab_size + 1))
    facts = Facts("text", vocab_size, token_counts=counts, document_counts=counts, num_documents=vocab_size)
    return livened(build_encoder(make_spec("text", "transformer", size, facts), facts)), facts


def livened(encoder: Encoder) -> Encoder:
    """Away from the start, where gains of one and biases of zero would hide a forgotten parameter."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * parameter.std().nan_to_num().clamp_min(0.5) * torch.randn_like(parameter))
    return encoder.eval()


def padded(tokenizer: Tokenizer, passages: list[str], length: int) -> tuple[Tensor, Tensor]:
    rows = [torch.from_numpy(ids.astype("int64"))[:length] for ids in tokenizer.encode_batch(passages)]
    tokens_BN = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    keep_BN = torch.arange(tokens_BN.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    return tokens_BN, keep_BN


def strictly(loaded: Any) -> Any:
    model, info = loaded
    assert {name: list(found) for name, found in info.items() if found} == {}
    return model.eval()


@pytest.fixture
def exported(tmp_path: Path, tokenizer: Tokenizer) -> tuple[Path, Encoder]:
    encoder, facts = text_encoder("nano", tokenizer.vocab_size)
    save_model(tmp_path / "model", encoder, facts, extra={"objective": "masked_lm"})
    tokenizer.save(tmp_path / "model" / TOKENIZER)
    report = export_hf(tmp_path / "model", tmp_path / "hf")
    assert report["class"] == "EuroBertForMaskedLM"
    assert report["files"] == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    return tmp_path / "hf", encoder


@pytest.mark.filterwarnings("ignore")
class TestText:
    def test_masked_class_agrees_on_padded_real_text(
        self, exported: tuple[Path, Encoder], tokenizer: Tokenizer, passages: list[str]
    ) -> None:
        from transformers import EuroBertForMaskedLM

        folder, encoder = exported
        model = strictly(EuroBertForMaskedLM.from_pretrained(folder, output_loading_info=True))
        tokens_BN, keep_BN = padded(tokenizer, passages[:24], 200)
        assert not keep_BN.all()
        tokens_BN = tokens_BN.masked_fill((torch.rand(tokens_BN.shape) < 0.15) & keep_BN, MASK)
        with torch.no_grad():
            theirs_BNV = model(input_ids=tokens_BN, attention_mask=keep_BN.long()).logits
            ours_BNV = encoder(tokens_BN, keep_BN) @ table(encoder).T
        assert float(ours_BNV.std()) > 0.5
        assert float((theirs_BNV - ours_BNV)[keep_BN].abs().max()) <= LIMIT

    def test_causal_class_agrees_and_generates_the_same(
        self, exported: tuple[Path, Encoder], tokenizer: Tokenizer, passages: list[str]
    ) -> None:
        from transformers import LlamaForCausalLM

        folder, encoder = exported
        model = strictly(LlamaForCausalLM.from_pretrained(folder, output_loading_info=True))
        tokens_BN, keep_BN = padded(tokenizer, passages[:24], 200)
        with torch.no_grad():
            theirs_BNV = model(input_ids=tokens_BN, attention_mask=keep_BN.long()).logits
            ours_BNV = encoder(tokens_BN, keep_BN, causal=True) @ table(encoder).T
            assert float((theirs_BNV - ours_BNV)[keep_BN].abs().max()) <= LIMIT
            prompt_BN = tokens_BN[:1, :8]
            theirs = model.generate(prompt_BN, max_new_tokens=20, do_sample=False, eos_token_id=-1)
            ours_BN = prompt_BN
            for _ in range(20):
                states_BND = encoder(ours_BN, torch.ones_like(ours_BN, dtype=torch.bool), causal=True)
                best_B = (states_BND[:, -1] @ table(encoder).T).argmax(-1)
                ours_BN = torch.cat((ours_BN, best_B[:, None]), dim=1)
        assert torch.equal(theirs, ours_BN)

    def test_tokenizer_gives_the_same_ids(
        self, exported: tuple[Path, Encoder], tokenizer: Tokenizer, passages: list[str]
    ) -> None:
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        theirs = PreTrainedTokenizerFast.from_pretrained(exported[0])
        assert theirs(passages)["input_ids"] == [ids.tolist() for ids in tokenizer.encode_batch(passages)]
        assert (theirs.pad_token_id, theirs.mask_token_id) == (PAD, MASK)
        assert AutoTokenizer.from_pretrained(exported[0])(passages)["input_ids"] == theirs(passages)["input_ids"]

    def test_reloads_in_a_fresh_process(self, exported: tuple[Path, Encoder], tmp_path: Path) -> None:
        folder, encoder = exported
        tokens_BN = torch.arange(5, 45)[None]
        script = (
            "import sys, torch, safetensors.torch as s; from transformers import AutoModelForMaskedLM as M\n"
            f"m = M.from_pretrained({str(folder)!r}).eval()\n"
            f"s.save_file({{'logits': m(torch.arange(5, 45)[None]).logits.detach()}}, {str(tmp_path / 'l')!r})\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=100)
        from safetensors.torch import load_file

        with torch.no_grad():
            ours_BNV = encoder(tokens_BN, tokens_BN > 0) @ table(encoder).T
        assert float((load_file(tmp_path / "l")["logits"] - ours_BNV).abs().max()) <= LIMIT


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("shape", "patch"), [((1, 8, 8), 2), ((3, 24, 32), 4)])
def test_image_class_agrees(tmp_path: Path, shape: tuple[int, int, int], patch: int) -> None:
    from transformers import ViTImageProcessorPil, ViTModel

    channels = shape[0]
    facts = Facts("image", image_shape=shape, channel_mean=(0.3,) * channels, channel_std=(0.2,) * channels)
    encoder = livened(build_encoder(make_spec("image", "transformer", "nano", facts), facts))
    save_model(tmp_path / "model", encoder, facts)
    report = export_hf(tmp_path / "model", tmp_path / "hf")
    assert report["loads_as"] == ["ViTModel"]
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["patch_size"] == patch
    model = strictly(ViTModel.from_pretrained(tmp_path / "hf", add_pooling_layer=False, output_loading_info=True))
    pixels_BCYX = torch.randint(0, 256, (6, *shape), dtype=torch.uint8)
    processor = ViTImageProcessorPil.from_pretrained(tmp_path / "hf")
    prepared = processor(list(pixels_BCYX.numpy()), input_data_format="channels_first", return_tensors="pt")
    with torch.no_grad():
        theirs_BND = model(pixel_values=prepared["pixel_values"]).last_hidden_state
        keep_B = torch.ones(6, dtype=torch.bool)
        assert float((theirs_BND - encoder(pixels_BCYX, keep_B)).abs().max()) <= LIMIT
        assert float((theirs_BND[:, 0] - encoder.pooled(pixels_BCYX, keep_B)).abs().max()) <= LIMIT


def test_a_residual_network_for_small_images_says_what_to_do(tmp_path: Path) -> None:
    facts = Facts("image", image_shape=(1, 28, 28), channel_mean=(0.3,), channel_std=(0.2,))
    save_model(tmp_path / "model", build_encoder(make_spec("image", "resnet", "nano", facts), facts), facts)
    with pytest.raises(UsageError, match='The trunk "resnet" for image has no class') as caught:
        export_hf(tmp_path / "model", tmp_path / "hf")
    assert 'the stem "fine"' in str(caught.value.cause)
    assert "--to safetensors" in str(caught.value.fix) and "more than 64 pixels" in str(caught.value.fix)


def test_the_class_follows_the_objective(tmp_path: Path, tokenizer: Tokenizer) -> None:
    encoder, facts = text_encoder("nano", tokenizer.vocab_size)
    save_model(tmp_path / "model", encoder, facts, extra={"objective": "causal_lm"})
    tokenizer.save(tmp_path / "model" / TOKENIZER)
    report = export_hf(tmp_path / "model", tmp_path / "hf")
    assert report["class"] == "LlamaForCausalLM"
    assert report["loads_as"] == ["EuroBertForMaskedLM", "LlamaForCausalLM"]
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("llama", ["LlamaForCausalLM"])


def test_a_trunk_without_a_class_is_refused(tmp_path: Path) -> None:
    assert len(EXPORTS) == 3
    facts = Facts("text", 20, token_counts=(1,) * 20, document_counts=(1,) * 20, num_documents=3)
    save_model(tmp_path / "model", build_encoder(make_spec("text", "bag", "nano", facts), facts), facts)
    with pytest.raises(UsageError, match="no class in transformers"):
        export_hf(tmp_path / "model", tmp_path / "hf")


def test_where_no_trunk_has_a_class_none_is_named(tmp_path: Path) -> None:
    facts = Facts("vector", image_shape=(5, 1, 1), channel_mean=(0.0,) * 5, channel_std=(1.0,) * 5)
    save_model(tmp_path / "model", build_encoder(make_spec("vector", "mlp", "nano", facts), facts), facts)
    with pytest.raises(UsageError, match="no class in transformers") as caught:
        export_hf(tmp_path / "model", tmp_path / "hf")
    assert caught.value.fix == "Use --to safetensors or --to onnx."


def test_a_missing_or_foreign_tokenizer_is_named(tmp_path: Path, tokenizer: Tokenizer) -> None:
    encoder, facts = text_encoder("nano", tokenizer.vocab_size + 1)
    save_model(tmp_path / "model", encoder, facts)
    with pytest.raises(DataError, match="is missing"):
        export_hf(tmp_path / "model", tmp_path / "hf")
    tokenizer.save(tmp_path / "model" / TOKENIZER)
    with pytest.raises(DataError, match="belongs to another model"):
        export_hf(tmp_path / "model", tmp_path / "hf")
