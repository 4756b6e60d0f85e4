"""A generator against a discriminator, on small images; what is carried on is the discriminator's encoder."""

from __future__ import annotations

import math
from typing import final

import torch
from pydantic import Field
from torch import Tensor, nn

from seedbed.core.settings import Count, Section
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Setup, Views
from seedbed.models.encoder import encoder_of
from seedbed.models.heads import LinearClassifier, PixelDecoder, zero_
from seedbed.models.losses import discriminator_loss, generator_loss

# No trunk with batch norm: its statistics would be those of generated images for the most part, and so its features of
# real ones wrong.
SETUP = Setup(modalities=("image",), trunks=("mlp", "transformer", "conv2d"), batch_size=64, lr=3e-4, weight_decay=0.0)

DISCRIMINATOR, GENERATOR = "discriminator", "generator"


class Config(Section):
    """Shape of the generator."""

    noise: Count = Field(32, description="width of the noise a generated image is made from")
    generator: Count = Field(256, description="width of the generator's one hidden layer")


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """Real images, and for each of them the noise of a generated one, keyed by the example."""
    pixels_BCYX, keep_B = batch.inputs["image"]
    return {"pixels_BCYX": pixels_BCYX, "keep_B": keep_B, "noise_BZ": at.keys.normal("noise", config.noise)}


@final
class Adversarial(Learner):
    """Two players: one tells real images from generated ones, the other generates them.

    Units: examples; the discriminator's loss adds that of a real and that of a generated one.
    Chance: 2 ln 2 for the discriminator and ln 2 for the generator, when nobody can tell.
    Source: Goodfellow et al. 2014, Generative adversarial networks, algorithm 1, with the non-saturating loss.
    """

    players = (DISCRIMINATOR, GENERATOR)

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.encoders = encoders
        self.critic = LinearClassifier(encoder_of(encoders, "image").width, 1)
        self.generator = PixelDecoder(config.noise, facts.image_shape, config.generator)

    def forward(self, views: Views, player: str) -> Loss:
        keep_B = views["keep_B"]
        fake_BCYX = self.generator(views["noise_BZ"]).float().sigmoid()
        count = torch.tensor(len(keep_B))
        if player == GENERATOR:
            return Loss(generator_loss(self._judge(fake_BCYX, keep_B)), count, {})
        # The two halves are judged apart: batch statistics, where a trunk has them, must not tell them from each other
        # by being shared; and no gradient is wanted of what made the generated half.
        fake_B = self._judge(fake_BCYX.detach(), keep_B)
        real_B = self._judge(views["pixels_BCYX"], keep_B)
        told = ((real_B > 0).sum() + (fake_B < 0).sum()).detach()
        return Loss(discriminator_loss(real_B, fake_B), count, {"told_apart": (told, 2 * count)})

    def _judge(self, pixels_BCYX: Tensor, keep_B: Tensor) -> Tensor:
        """Logits, high for real."""
        logits_B1 = self.critic(encoder_of(self.encoders, "image").pooled(pixels_BCYX, keep_B))
        return logits_B1.float().squeeze(1)

    def parameters_of(self, player: str) -> list[nn.Parameter]:
        if player == GENERATOR:
            return list(self.generator.parameters())
        return [*self.encoders.parameters(), *self.critic.parameters()]

    def zero_head_(self, player: str) -> None:
        zero_(self.critic.out)

    def at_zero(self, views: Views, player: str) -> float:
        return math.log(2) if player == GENERATOR else 2 * math.log(2)

    def chance(self, views: Views, player: str) -> float:
        return self.at_zero(views, player)
