"""Restore clean images from damaged ones: the denoising autoencoder."""

from __future__ import annotations

from typing import Annotated, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seedbed.core.settings import Count, Section, Share
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Setup, Views
from seedbed.models.encoder import encoder_of
from seedbed.models.heads import PixelDecoder, zero_
from seedbed.models.stems import Normalise

SETUP = Setup(
    modalities=("image",),
    trunks=("mlp", "transformer", "resnet", "vgg", "conv2d"),
    batch_size=128,
    lr=1e-3,
    weight_decay=0.05,
)


class Config(Section):
    """How images are damaged, and how wide the decoder is."""

    hidden: Share = Field(0.3, description="share of pixels set to the mean of their channel")
    noise: Annotated[float, Field(ge=0.0)] = Field(0.1, description="deviation of noise on the others, pixels in 0..1")
    decoder: Count = Field(256, description="width of the decoder's one hidden layer")


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """Clean images and damaged ones, both floating point in 0..1; the damage is keyed by example and pixel."""
    pixels_BCYX, keep_B = batch.inputs["image"]
    clean_BCYX = pixels_BCYX.float() / 255
    _, channels, rows, columns = clean_BCYX.shape
    hidden_BYX = (at.keys.uniform("hidden", rows * columns) < config.hidden).unflatten(1, (rows, columns))
    noise_BCYX = at.keys.normal("noise", channels * rows * columns).unflatten(1, (channels, rows, columns))
    mean_C11 = torch.tensor(at.facts.channel_mean)[:, None, None].to(clean_BCYX)
    noisy_BCYX = clean_BCYX + config.noise * noise_BCYX
    damaged_BCYX = torch.where(hidden_BYX[:, None], mean_C11, noisy_BCYX)
    return {"damaged_BCYX": damaged_BCYX, "clean_BCYX": clean_BCYX, "keep_B": keep_B}


@final
class Denoising(Learner):
    """Reconstruction of the whole image from one vector.

    Units: values of pixels; the loss is the squared error divided by the channel's variance, not nats.
    Chance: 1, when each channel's mean is predicted everywhere.
    Source: Vincent et al. 2008, Extracting and composing robust features with denoising autoencoders.
    """

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.encoders = encoders
        self.normalise = Normalise(facts)
        self.decoder = PixelDecoder(encoder_of(encoders, "image").width, facts.image_shape, config.decoder)
        spread_C = torch.tensor(facts.channel_std) / self.normalise.std_C11.flatten()
        self._chance = float(spread_C.square().mean())

    def forward(self, views: Views, player: str) -> Loss:
        clean_BCYX = self._clean(views)
        pooled_BD = encoder_of(self.encoders, "image").pooled(views["damaged_BCYX"], views["keep_B"])
        restored_BCYX = self.decoder(pooled_BD).float()
        total = F.mse_loss(restored_BCYX, clean_BCYX, reduction="sum")
        return Loss(total, torch.tensor(clean_BCYX.numel()), {})

    def _clean(self, views: Views) -> Tensor:
        clean_BCYX: Tensor = self.normalise(views["clean_BCYX"])
        return clean_BCYX

    def zero_head_(self, player: str) -> None:
        zero_(self.decoder.out)

    def at_zero(self, views: Views, player: str) -> float:
        return float(self._clean(views).square().mean())

    def chance(self, views: Views, player: str) -> float:
        return self._chance
