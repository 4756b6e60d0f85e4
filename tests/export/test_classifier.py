"""Networks that answer load as the class for classification that mirrors them, and say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seedbed.core.types import Facts
from seedbed.data.tokenizer import train_tokenizer
from seedbed.export.gate import difference
from seedbed.export.hf import export_classifier, export_hf
from seedbed.models.encoder import Encoder, build_encoder, make_spec
from seedbed.models.folder import TOKENIZER, save_model
from seedbed.models.heads import HeadOptions, LinearClassifier, make_classifier
from tests.export.making import TEXTS, livened

CLASSES = ("bad", "good", "so-so")
IMAGE = Facts(
    "image", image_shape=(3, 96, 96), channel_mean=(0.3,) * 3, channel_std=(0.2,) * 3, classes=CLASSES,
    class_counts=(1, 1, 1),
)  # fmt: skip


def strictly(loaded: Any) -> Any:
    """A model in evaluation mode, loaded without anything missing or left over."""
    model, info = loaded
    assert not any(info.values()), info
    return model.eval()


def made(modality: str, trunk: str, folder: Path) -> tuple[Encoder, Facts]:
    facts = IMAGE
    if modality == "text":
        tokenizer = train_tokenizer(TEXTS, "bpe", 300)
        ones = (1,) * tokenizer.vocab_size
        facts = Facts("text", len(ones), ones, ones, 9, classes=CLASSES, class_counts=(1, 1, 1))
        folder.mkdir()
        tokenizer.save(folder / TOKENIZER)
    return livened(build_encoder(make_spec(modality, trunk, "nano", facts), facts)), facts


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("modality", "trunk", "name"),
    [
        ("text", "transformer", "EuroBertForSequenceClassification"),
        ("image", "transformer", "ViTForImageClassification"),
        ("image", "resnet", "ResNetForImageClassification"),
    ],
)
@torch.no_grad()
def test_logits_agree(modality: str, trunk: str, name: str, tmp_path: Path) -> None:
    import transformers

    encoder, facts = made(modality, trunk, tmp_path / "model")
    head = make_classifier(HeadOptions(), trunk, modality, encoder.width, 3)
    for parameter in head.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    assert export_classifier(tmp_path / "model", encoder, facts, head, "classify", tmp_path / "hf") == name
    theirs = strictly(getattr(transformers, name).from_pretrained(tmp_path / "hf", output_loading_info=True))
    assert theirs.config.problem_type == "single_label_classification"
    assert [theirs.config.id2label[index] for index in range(3)] == list(CLASSES)
    if modality == "text":
        keep = torch.arange(9) < torch.tensor([9, 4, 1])[:, None]
        values = torch.randint(5, facts.vocab_size, (3, 9)) * keep
        logits_BC = theirs(input_ids=values, attention_mask=keep.long()).logits
    else:
        values, keep = torch.randint(0, 256, (3, 3, 96, 96), dtype=torch.uint8), torch.ones(3, dtype=torch.bool)
        logits_BC = theirs(pixel_values=(values / 255 - 0.3) / 0.2).logits
    assert difference(head(encoder.pooled(values, keep)), logits_BC, keep) <= 1e-5


@torch.no_grad()
def test_a_head_or_task_of_another_form_has_no_class(tmp_path: Path) -> None:
    encoder, facts = made("text", "transformer", tmp_path / "model")
    model, dense = tmp_path / "model", make_classifier(HeadOptions(), "transformer", "text", 128, 3)
    assert export_classifier(model, encoder, facts, LinearClassifier(128, 3), "classify", tmp_path / "hf") == ""
    # numbers would have to be brought back to their scale, which no class does
    assert export_classifier(model, encoder, facts, dense, "regress", tmp_path / "hf") == ""
    assert not (tmp_path / "hf").exists()


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_a_residual_network_on_the_coarse_stem_has_a_class(tmp_path: Path) -> None:
    from transformers import ResNetModel

    encoder, facts = made("image", "resnet", tmp_path / "model")
    assert encoder.spec.stem == "coarse"
    save_model(tmp_path / "model", encoder, facts)
    report = export_hf(tmp_path / "model", tmp_path / "hf")
    assert report["class"] == "ResNetModel" and report["loads_as"] == ["ResNetModel"]
    theirs = strictly(ResNetModel.from_pretrained(tmp_path / "hf", output_loading_info=True))
    pixels, keep = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8), torch.ones(2, dtype=torch.bool)
    states = theirs((pixels / 255 - 0.3) / 0.2).last_hidden_state.flatten(2).mT
    assert difference(encoder(pixels, keep), states, keep) <= 1e-5
    told = json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())
    assert told["size"] == {"height": 96, "width": 96}
