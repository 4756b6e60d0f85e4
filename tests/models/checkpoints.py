"""Tiny checkpoints with random weights, saved by transformers itself."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import tokenizers
import torch

VOCAB = 50
_BERT = {
    "vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 40, "pad_token_id": 1,
}  # fmt: skip
_LLAMA = {**_BERT, "num_key_value_heads": 1, "head_dim": 8, "bos_token_id": 2, "eos_token_id": 3}
_GPT2 = {"vocab_size": VOCAB, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40}
FAMILY_CLASSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertConfig", "BertModel", _BERT),
    "roberta": ("RobertaConfig", "RobertaModel", _BERT),
    "gpt2": ("GPT2Config", "GPT2Model", _GPT2),
    "llama": ("LlamaConfig", "LlamaModel", _LLAMA),
    "eurobert": ("EuroBertConfig", "EuroBertModel", {**_LLAMA, "mask_token_id": 4}),
    "vit": (
        "ViTConfig",
        "ViTModel",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
         "image_size": 16, "patch_size": 8},
    ),
    "resnet": (
        "ResNetConfig",
        "ResNetModel",
        {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [1, 2], "layer_type": "bottleneck"},
    ),
}  # fmt: skip


def save_checkpoint(folder: Path, family: str, name: str = "", **saved: Any) -> tuple[Path, Any]:
    """Save a checkpoint away from its initial values; the folder and the model in evaluation mode."""
    transformers = importlib.import_module("transformers")
    config_name, model_name, options = FAMILY_CLASSES[family]
    config = getattr(transformers, config_name)(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, name or model_name)(config).eval()
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.1 * torch.randn_like(value))
            for part in model.modules():
                if isinstance(part, torch.nn.BatchNorm2d) and part.running_var is not None:
                    part.running_var.add_(torch.rand_like(part.running_var))
        model.save_pretrained(folder, **saved)
    return folder, model


def save_tokenizer(folder: Path, words: list[str]) -> None:
    """A tokenizer.json of whole words that puts [CLS] and [SEP] around a text, cuts and pads, as many have it."""
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    names = [*special, *dict.fromkeys(words)]
    assert len(names) <= VOCAB, f"{len(names)} words"
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.add_special_tokens(special)
    backend.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.enable_truncation(20)
    backend.enable_padding(pad_id=1, pad_token="[PAD]", length=20)
    backend.save(str(folder / "tokenizer.json"))


def save_preprocessor(folder: Path, **told: Any) -> None:
    """A preprocessor_config.json as ViT's."""
    default = {
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 16, "width": 16},
        "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps({**default, **told}))
