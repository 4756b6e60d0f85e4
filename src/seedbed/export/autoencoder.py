"""A masked autoencoder whole, as ViTMAEForPreTraining of transformers: an encoder with the decoder kept beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from seedbed.core.types import Facts
from seedbed.export.hf import write_files
from seedbed.export.layouts import VIT, layout_of, translated, vit_state
from seedbed.models import transformer
from seedbed.models.encoder import Encoder
from seedbed.models.folder import read_manifest, read_tensors, write_folder
from seedbed.models.patches import PatchDecoder, hidden_of, restored
from seedbed.models.stems import Patches

NAME = "ViTMAEForPreTraining"
# Folder beside a run's encoder that holds the decoder, and beside an export's files that holds both.
DECODER, AUTOENCODER = "decoder", "autoencoder"

_NAMES = VIT | {
    "embed": "decoder_embed",
    "mask_token": "mask_token",
    "trunk.layers": "decoder_layers",
    "trunk.norm": "decoder_norm",
    "out": "decoder_pred",
}


def save_decoder(folder: Path, decoder: PatchDecoder, hidden: float) -> None:
    """Keep the decoder of a masked autoencoder.

    Args:
        folder: of the run.
        decoder: as it was trained.
        hidden: share of the patches that was hidden from the encoder.
    """
    write_folder(folder / DECODER, decoder.state_dict(), {"depth": decoder.config.depth, "hidden": hidden})


@dataclass(frozen=True)
class Autoencoder:
    """An encoder, its decoder, and the share of the patches that is hidden from the encoder."""

    encoder: Encoder
    facts: Facts
    decoder: PatchDecoder
    hidden: float

    def __call__(self, values: Tensor, keep: Tensor) -> Tensor:
        """Values of the hidden patches, values_IP; which are hidden follows from the sizes alone."""
        draws_BN = noise(len(values), self.decoder.positions.shape[1] - 1)
        return restored(self.encoder, self.decoder, values, keep, hidden_of(draws_BN, self.hidden))


def load_autoencoder(folder: Path, encoder: Encoder, facts: Facts) -> Autoencoder | None:
    """The encoder of a run with the decoder kept there; None where none is, or the class wants other images.

    Raises:
        DataError: the decoder is damaged.
    """
    trunk = encoder.trunk
    if not (folder / DECODER).exists() or not isinstance(trunk, transformer.Trunk):
        return None
    manifest = read_manifest(folder / DECODER)
    tensors = read_tensors(folder / DECODER, manifest)
    channels, rows, columns = facts.image_shape
    patch = cast(Patches, encoder.stem).patch
    # Their loss is defined on square images without a rest.
    if rows != columns or rows % patch:
        return None
    with torch.random.fork_rng(devices=[]):
        decoder = PatchDecoder(trunk.config, manifest["depth"], (rows // patch, columns // patch), channels * patch**2)
    decoder.load_state_dict(tensors)
    return Autoencoder(encoder, facts, decoder.eval(), manifest["hidden"])


def noise(size: int, num_patches: int) -> Tensor:
    """What decides which patches of a batch are hidden when an export is checked, float32 (size, num_patches)."""
    return torch.rand(size, num_patches, generator=torch.Generator().manual_seed(size))


def export_autoencoder(model_folder: Path, whole: Autoencoder, out: Path) -> str:
    """Write it as files that transformers 5 loads strictly; fixed positions are parameters there.

    Args:
        model_folder: of the encoder.
        whole: the autoencoder.
        out: folder to write, made if it is not there.

    Returns: the class.
    """
    encoder, decoder = whole.encoder, whole.decoder
    target = layout_of(encoder)
    assert target is not None, "an image transformer has a class"
    state = {f"vit.{name}": tensor for name, tensor in vit_state(encoder).items()}
    state |= {f"decoder.{translated(name, _NAMES)}": tensor for name, tensor in decoder.state_dict().items()}
    state["decoder.decoder_pos_embed"] = decoder.positions
    config: dict[str, Any] = target.config(encoder, whole.facts, NAME) | {
        "model_type": "vit_mae",
        "decoder_hidden_size": decoder.config.width,
        "decoder_num_hidden_layers": decoder.config.depth,
        "decoder_num_attention_heads": decoder.config.heads,
        "decoder_intermediate_size": decoder.config.hidden,
        "mask_ratio": whole.hidden,
        "norm_pix_loss": True,
    }
    write_files(out, state, config, target.beside(model_folder, encoder, whole.facts))
    return NAME
