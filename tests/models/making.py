"""Facts and encoders for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from seedbed.core.types import Facts
from seedbed.models.encoder import Encoder, build_encoder, make_spec
from seedbed.models.stems import Tokens

TEXT = Facts("text", 40, token_counts=tuple(range(40)), document_counts=tuple(range(40)), num_documents=50)
IMAGE = Facts("image", image_shape=(1, 8, 8), channel_mean=(0.4,), channel_std=(0.25,))
FACTS = {"text": TEXT, "image": IMAGE}
KINDS = [
    *[("text", name) for name in ("transformer", "bag", "mlp", "conv1d", "tcn", "lstm", "gru", "bilstm", "bigru")],
    *[("image", name) for name in ("transformer", "mlp", "resnet", "vgg", "conv2d")],
]
# Those that see both sides of a word whatever they are asked.
BOTH_SIDES = ("conv1d", "bilstm", "bigru")
READINGS = [(modality, trunk, False) for modality, trunk in KINDS]
READINGS += [(modality, trunk, True) for modality, trunk in KINDS if trunk not in BOTH_SIDES]
# Of a text's words; the mlp reads all of them at once.
TEXT_READINGS = [(trunk, causal) for modality, trunk, causal in READINGS if modality == "text" and trunk != "mlp"]


def make(modality: str, trunk: str, size: str = "nano") -> Encoder:
    return build_encoder(make_spec(modality, trunk, size, FACTS[modality]), FACTS[modality])


def values_of(modality: str, num: int = 5) -> tuple[Tensor, Tensor]:
    """A batch, its text unequally padded at the end."""
    if modality == "image":
        return torch.randint(0, 256, (num, 1, 8, 8), dtype=torch.uint8), torch.ones(num, dtype=torch.bool)
    keep_BN = torch.arange(12) < torch.arange(12, 12 - num, -1)[:, None]
    return torch.randint(5, 40, (num, 12)) * keep_BN, keep_BN


def table(encoder: Encoder) -> Tensor:
    """The embeddings of the vocabulary."""
    assert isinstance(encoder.stem, Tokens)
    return encoder.stem.embedding.weight
