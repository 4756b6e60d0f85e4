"""Autoencoders stacked one on another: each layer learns to restore what the layers below it, now fixed, make."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seedbed.core.errors import UsageError
from seedbed.core.settings import Section
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Setup, Views
from seedbed.models import mlp
from seedbed.models.encoder import encoder_of
from seedbed.models.heads import SMALL, start_, zero_
from seedbed.models.stems import Vector

SETUP = Setup(
    modalities=("image", "text", "vector"),
    trunks=("mlp",),
    tokenizer="word",
    seq_len=4096,
    batch_size=64,
    lr=1e-3,
    weight_decay=0.0,
)


class Config(Section):
    """How what is restored is compared with what was there."""

    loss: Literal["square", "cross_entropy"] = Field(
        "square",
        description="cross_entropy takes the input's values as shares in 0..1; the layers above, which have no bounds, "
        "are compared by squares under either",
    )


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """The examples as they are, and how far the run has come, which says whose turn it is."""
    values, keep = next(iter(batch.inputs.values()))
    return {"values": values, "keep": keep, "progress": torch.tensor(at.progress, dtype=torch.float64)}


@final
class Stacked(Learner):
    """One phase a layer: what enters the layer is restored from what leaves it, by a linear decoder of its own.

    The layers below are fixed, those above have not begun. Which layer learns is a function of the progress alone, so
    that a resumed run is exact; each phase has its own rise and fall of the learning rate.

    Units: values of what the layer is to restore; squared errors, or nats.
    Chance: each value predicted at its mean over the examples at hand.
    Source: Bengio et al. 2007, Greedy layer-wise training of deep networks, section 3; cross-entropy of values in 0..1:
        Vincent et al. 2010, Stacked denoising autoencoders, section 2.2.
    """

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.config = config
        self.encoders = encoders
        self.modality = facts.modality
        if facts.modality == "vector" and config.loss == "cross_entropy":
            raise UsageError(
                "Vectors cannot be restored by cross_entropy.",
                cause="It compares shares between 0 and 1, and the values of vectors have no bounds.",
                fix="Leave it at --set objective_options.loss=square.",
            )
        stem, trunk = self._parts()
        self.phases = trunk.config.depth + 1
        sizes = [stem.projection.in_features] + [trunk.config.width] * trunk.config.depth
        self.decoders = nn.ModuleList(start_(nn.Linear(trunk.config.width, size), SMALL) for size in sizes)

    def _parts(self) -> tuple[Vector, mlp.Trunk]:
        encoder = encoder_of(self.encoders, self.modality)
        assert isinstance(encoder.stem, Vector) and isinstance(encoder.trunk, mlp.Trunk), "layers of vectors"
        return encoder.stem, encoder.trunk

    def forward(self, views: Views, player: str) -> Loss:
        level, below_BD = self._below(views)
        stem, trunk = self._parts()
        entering_BD = stem(views["values"], views["keep"])[0][:, 0] if level == 0 else below_BD
        leaving_BD = trunk.level(level, entering_BD)
        restored_BF = self.decoders[level](F.gelu(leaving_BD)).float()
        if self._in_shares(level):
            total = F.binary_cross_entropy_with_logits(restored_BF, below_BD, reduction="sum")
        else:
            total = F.mse_loss(restored_BF, below_BD, reduction="sum")
        return Loss(total, torch.tensor(below_BD.numel()), {})

    @torch.no_grad()
    def _below(self, views: Views) -> tuple[int, Tensor]:
        """Whose turn it is, and what it has to restore: the input, or what the fixed layer below makes of it."""
        level, _ = self.phase(float(views["progress"]))
        stem, trunk = self._parts()
        values, keep = views["values"], views["keep"]
        if level == 0:
            return level, stem.shares(values, keep) if self._in_shares(level) else stem.vector(values, keep)
        below_BD = stem(values, keep)[0][:, 0]
        for under in range(level):
            below_BD = trunk.level(under, below_BD)
        return level, below_BD.float()

    def _in_shares(self, level: int) -> bool:
        return level == 0 and self.config.loss == "cross_entropy"

    def zero_head_(self, player: str) -> None:
        for decoder in self.decoders:
            assert isinstance(decoder, nn.Linear)
            zero_(decoder)

    def at_zero(self, views: Views, player: str) -> float:
        level, below_BD = self._below(views)
        return math.log(2) if self._in_shares(level) else float(below_BD.square().mean())

    def chance(self, views: Views, player: str) -> float | None:
        level, below_BD = self._below(views)
        if len(below_BD) < 2:
            return None
        if self._in_shares(level):
            mean_F = below_BD.mean(0)
            return float((torch.special.entr(mean_F) + torch.special.entr(1 - mean_F)).mean())
        return float(below_BD.var(0).mean())
