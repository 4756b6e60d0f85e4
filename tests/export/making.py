"""Model folders away from their start, where gains of one and biases of zero would hide a forgotten parameter."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from seedbed.core.types import Facts
from seedbed.data.tokenizer import Tokenizer, train_tokenizer
from seedbed.models.encoder import Encoder, build_encoder, make_spec
from seedbed.models.folder import TOKENIZER, save_model

TEXTS = [f"the {a} {b} in the {c}" for a in ("old", "new", "red") for b in ("oak", "ash") for c in ("wood", "town")]


def livened(encoder: Encoder) -> Encoder:
    """Every parameter moved by a tenth of its spread."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * parameter.std().nan_to_num().clamp_min(0.5) * torch.randn_like(parameter))
    return encoder.eval()


def words() -> Tokenizer:
    """A small tokenizer."""
    return train_tokenizer(TEXTS * 3, "bpe", 300)


def facts_of(modality: str, tokenizer: Tokenizer) -> Facts:
    """Counts for an encoder of the tokenizer's size, or of small images."""
    if modality == "image":
        return Facts("image", image_shape=(3, 12, 16), channel_mean=(0.3,) * 3, channel_std=(0.2,) * 3)
    if modality == "vector":
        return Facts("vector", image_shape=(5, 1, 1), channel_mean=(0.3,) * 5, channel_std=(2.0,) * 5)
    size = tokenizer.vocab_size
    counts = tuple(range(1, size + 1))
    return Facts("text", size, token_counts=counts, document_counts=counts, num_documents=size)


def model_folder(folder: Path, modality: str, trunk: str, head: nn.Module | None = None) -> Encoder:
    """Write a model folder of an untrained but livened encoder, and return the encoder."""
    tokenizer = words()
    facts = facts_of(modality, tokenizer)
    encoder = livened(build_encoder(make_spec(modality, trunk, "nano", facts), facts))
    extra = {"objective": "masked_lm"} if modality == "text" else {}
    save_model(folder, encoder, facts, head=head, extra=extra)
    if modality == "text":
        tokenizer.save(folder / TOKENIZER)
    return encoder
