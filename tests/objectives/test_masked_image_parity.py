"""The masked autoencoder, encoder and decoder, is ViTMAEForPreTraining of transformers under other names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seedbed.core.types import Facts, Learner, Padded
from seedbed.export.autoencoder import Autoencoder, export_autoencoder
from seedbed.models.encoder import build_encoder, encoder_of, make_spec
from seedbed.models.patches import PatchDecoder, sine_positions
from seedbed.models.stems import Normalise
from seedbed.objectives import masked_image
from tests.contract.subjects import image_batch, moment, scoring
from tests.export.making import livened

SIDE, PATCH = 8, 2


def learner() -> tuple[Learner, Facts]:
    facts = Facts("image", image_shape=(1, SIDE, SIDE), channel_mean=(0.3,), channel_std=(0.2,))
    torch.manual_seed(1)
    encoder = livened(build_encoder(make_spec("image", "transformer", "nano", facts), facts))
    made = masked_image.MaskedImage(masked_image.Config(decoder=2), nn.ModuleDict({"image": encoder}), facts)
    livened(made.get_submodule("decoder"))  # type: ignore[arg-type]  # any module can be livened
    return made.eval(), facts


@pytest.mark.filterwarnings("ignore")
def test_positions_agree() -> None:
    from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

    made = build_2d_sinusoidal_position_embedding(height=3, width=4, embed_dim=16, cls_token=True)
    theirs = torch.cat([made[:, 8:], made[:, :8]], dim=1)  # as their model turns it
    assert torch.allclose(sine_positions(3, 4, 16)[0], theirs.float(), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_loss_and_answers_agree(tmp_path: Path) -> None:
    from transformers import ViTMAEForPreTraining

    made, facts = learner()
    encoder, decoder = encoder_of(made.encoders, "image"), made.get_submodule("decoder")
    assert isinstance(decoder, PatchDecoder)
    whole = Autoencoder(encoder, facts, decoder, masked_image.Config().hidden)
    export_autoencoder(tmp_path, whole, tmp_path / "whole")
    loaded: Any = ViTMAEForPreTraining.from_pretrained(tmp_path / "whole", output_loading_info=True)
    theirs, told = loaded[0].eval(), loaded[1]
    assert not told["missing_keys"] and not told["unexpected_keys"]
    draw = torch.Generator().manual_seed(2)
    batch = scoring(image_batch(0, 6))
    pixels = Padded(torch.randint(0, 256, (6, 1, SIDE, SIDE), dtype=torch.uint8, generator=draw), batch.labels_B >= 0)
    at = moment(batch, "image", training=False, facts=facts)
    views = masked_image.views(replace(batch, inputs={"image": pixels}), masked_image.Config(), at)
    draws_BN = at.keys.uniform("hidden", (SIDE // PATCH) ** 2)
    answers: list[Tensor] = []
    decoder.register_forward_hook(lambda _, given, out: answers.append(out))
    with torch.no_grad():
        found = theirs(pixel_values=Normalise(facts)(views["pixels_BCYX"]), noise=draws_BN)
        loss = made(views, "model")
    assert torch.equal(found.mask.bool(), views["hidden_BN"])
    assert float((found.logits[views["hidden_BN"]] - answers[0]).abs().max()) <= 1e-5
    assert float(loss.total / loss.count) == pytest.approx(float(found.loss), rel=1e-5)
