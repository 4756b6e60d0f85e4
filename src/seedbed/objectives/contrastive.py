"""Tell the two views of an example from all other views in the batch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import final

import torch
from pydantic import Field
from torch import Tensor, nn

from seedbed.core.hashing import fold
from seedbed.core.settings import Count, Positive, Section, Share
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Setup, Views
from seedbed.data.augment import augment
from seedbed.models.encoder import encoder_of
from seedbed.models.heads import Projector, zero_
from seedbed.models.losses import nt_xent

SETUP = Setup(
    modalities=("image", "text"),
    trunks=(
        *("transformer", "mlp", "resnet", "vgg", "conv2d"),
        *("conv1d", "tcn", "lstm", "gru", "bilstm", "bigru"),
    ),
    tokenizer="bpe",
    seq_len=128,
    batch_size=256,
    lr=1e-3,
    weight_decay=0.05,
)


class Config(Section):
    """Sharpness of the comparison and where it is made."""

    temperature: Positive = Field(0.2, description="divides the cosine similarities")
    projection: Count = Field(128, description="width of the space in which views are compared")
    dropped: Share = Field(0.3, description="share of a text's tokens left out of each view")
    light: Share = Field(0.5, description="by how much brightness and contrast of an image's views differ; 0: not")


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """Two independent renderings of each example: crops and the like of an image, texts with tokens left out.

    When scoring they are made all the same, frozen by the evaluation epoch: without them there is no task.
    """
    modality, (values, keep) = next(iter(batch.inputs.items()))
    made: Views = {}
    for name in ("first", "second"):
        keys = replace(at.keys, seed=fold(at.keys.seed, name))
        moment = at._replace(keys=keys, training=True)
        if modality == "image":
            made[f"{name}_values"], made[f"{name}_keep"] = augment(values, keep, moment, config.light), keep
        else:
            made[f"{name}_values"], made[f"{name}_keep"] = _thin(values, keep, moment, config.dropped)
    return made


def _thin(tokens_BN: Tensor, keep_BN: Tensor, at: Moment, dropped: float) -> tuple[Tensor, Tensor]:
    """Leave tokens out, moving the others together; a text keeps the token with the best draw in any case."""
    luck_BN = at.keys.uniform("dropped", tokens_BN.shape[1]).masked_fill(~keep_BN, -1.0)
    best_BN = luck_BN == luck_BN.amax(dim=1, keepdim=True)
    keep_BN = keep_BN & ((luck_BN >= dropped) | best_BN)
    order_BN = torch.argsort((~keep_BN).to(torch.uint8), dim=1, stable=True)
    return tokens_BN.gather(1, order_BN), keep_BN.gather(1, order_BN)


@final
class Contrastive(Learner):
    """NT-Xent on projections of pooled states. Examples enter one another's loss, so a batch cannot be split.

    Units: views, two an example.
    Chance: ln(2 B - 1), when all projections are equal.
    Source: Chen et al. 2020, SimCLR, equation 1 and algorithm 1; token dropout as a view of text: Shen et al. 2020.
    """

    couples = True

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.config = config
        self.encoders = encoders
        self.modality = facts.modality
        self.projector = Projector(encoder_of(encoders, facts.modality).width, config.projection)

    def forward(self, views: Views, player: str) -> Loss:
        encoder = encoder_of(self.encoders, self.modality)
        pooled = [encoder.pooled(views[f"{name}_values"], views[f"{name}_keep"]) for name in ("first", "second")]
        z_2BD = self.projector(torch.cat(pooled))
        return Loss(nt_xent(z_2BD, self.config.temperature), torch.tensor(len(z_2BD)), {})

    def zero_head_(self, player: str) -> None:
        zero_(self.projector.out)

    def at_zero(self, views: Views, player: str) -> float:
        return math.log(2 * len(views["first_values"]) - 1)

    def chance(self, views: Views, player: str) -> float:
        return self.at_zero(views, player)
