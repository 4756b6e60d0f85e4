"""Say of each name whether it is in an example's set: any number of labels an example."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seedbed.core.settings import Share
from seedbed.core.types import NO_LABEL, Batch, Facts, Loss, Moment, Prediction, Setup, Task, Views
from seedbed.models.encoder import encoder_of
from seedbed.models.heads import HeadOptions, make_classifier
from seedbed.models.losses import Weights, decision_weights

SETUP = Setup(
    modalities=("text", "image", "vector"),
    label_kind="set",
    tokenizer="bpe",
    items="whole",
    seq_len=256,
    batch_size=32,
    optimizer="adamw",
    lr=3e-4,
    weight_decay=0.05,
)


class Config(HeadOptions):
    """What stands on the encoder, and what is asked of it."""

    class_weights: Weights = Field("none", description="none, balanced (in and out of the set), or weights by name")
    label_smoothing: Share = Field(0.0, description="share of the target that is spread evenly over all answers")


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """The examples as they are, with their sets."""
    values, keep = next(iter(batch.inputs.values()))
    return {"values": values, "keep": keep, "labels_BC": batch.labels_B}


@final
class Multilabel(Task):
    """Binary cross-entropy of every name, from the encoder's pooled state.

    Units: decisions, one a name and example that has a set, an empty one included; with weights some count more.
    Chance: the mean over names of the binary entropy of how often each is in a training set, counted by weight.
    """

    metrics = ("right_decisions",)
    weights_C2: Tensor

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.config = config
        self.encoders = encoders
        self.modality = facts.modality
        encoder = encoder_of(encoders, facts.modality)
        self.head = make_classifier(config, encoder.spec.trunk, facts.modality, encoder.width, facts.num_outputs)
        counts_C = torch.tensor(facts.class_counts, dtype=torch.float64)
        weights_C2 = decision_weights(config.class_weights, facts.classes, counts_C, facts.num_labels)
        self.register_buffer("weights_C2", weights_C2.float(), persistent=False)
        shares_C2 = torch.stack([facts.num_labels - counts_C, counts_C], dim=1) / max(facts.num_labels, 1)
        self._entropy = float(torch.special.entr(weights_C2 * shares_C2).sum(1).mean())

    def forward(self, views: Views, player: str) -> Loss:
        labels_BC = views["labels_BC"]
        logits_BC = self.predict(views).logits_BC
        labelled_BC = labels_BC != NO_LABEL
        weights_BC = self._weights(labels_BC)
        smoothing = self.config.label_smoothing if self.training else 0.0
        targets_BC = labels_BC * (1 - smoothing) + smoothing / 2
        losses_BC = F.binary_cross_entropy_with_logits(logits_BC, targets_BC, weights_BC, reduction="none")
        right = (((logits_BC > 0) == (labels_BC == 1)) & labelled_BC).sum()
        count = labelled_BC.sum()
        return Loss(losses_BC.where(labelled_BC, 0.0).sum(), count, {"right_decisions": (right, count)})

    def _weights(self, labels_BC: Tensor) -> Tensor:
        return torch.where(labels_BC == 1, self.weights_C2[:, 1], self.weights_C2[:, 0])

    def predict(self, views: Views) -> Prediction:
        pooled_BD = encoder_of(self.encoders, self.modality).pooled(views["values"], views["keep"])
        return Prediction(self.head(pooled_BD).float())

    def answers(self, logits_BC: Tensor) -> Tensor:
        return torch.sigmoid(logits_BC.double())

    def zero_head_(self, player: str) -> None:
        for parameter in self.head.get_submodule("out").parameters():
            nn.init.zeros_(parameter)

    def at_zero(self, views: Views, player: str) -> float:
        labels_BC = views["labels_BC"]
        return float(self._weights(labels_BC)[labels_BC != NO_LABEL].mean()) * math.log(2)

    def chance(self, views: Views, player: str) -> float:
        return self._entropy
