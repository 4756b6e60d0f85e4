"""Put each example into one of several classes."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from seedbed.core.settings import Section
from seedbed.core.types import NO_LABEL, Batch, Facts, Loss, Moment, Prediction, Setup, Task, Views
from seedbed.models.encoder import encoder_of
from seedbed.models.heads import make_classifier

SETUP = Setup(
    modalities=("text", "image", "vector"),
    trunks=("transformer", "mlp", "bag", "resnet"),
    tokenizer="bpe",
    items="whole",
    seq_len=256,
    batch_size=32,
    optimizer="adamw",
    lr=3e-4,
    weight_decay=0.05,
)


class Config(Section):
    """What stands on the encoder."""

    head: Literal["auto", "linear"] = Field("auto", description="auto: the one that the encoder's exported class has")


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """The examples as they are, with their labels."""
    values, keep = next(iter(batch.inputs.values()))
    return {"values": values, "keep": keep, "labels_B": batch.labels_B}


@final
class Classify(Task):
    """Cross-entropy of the class, from the encoder's pooled state.

    Units: examples that have a label.
    Chance: the entropy of the training labels.
    """

    metrics = ("accuracy",)

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.encoders = encoders
        self.modality = facts.modality
        encoder = encoder_of(encoders, facts.modality)
        trunk = "bag" if config.head == "linear" else encoder.spec.trunk
        self.head = make_classifier(trunk, facts.modality, encoder.width, len(facts.classes))
        counts_C = torch.tensor(facts.class_counts, dtype=torch.float64)
        self._entropy = float(torch.special.entr(counts_C / counts_C.sum()).sum())
        self._num_classes = len(facts.classes)

    def forward(self, views: Views, player: str) -> Loss:
        labels_B = views["labels_B"]
        logits_BC = self.predict(views).logits_BC
        labelled_B = labels_B != NO_LABEL
        total = F.cross_entropy(logits_BC, labels_B, ignore_index=NO_LABEL, reduction="sum")
        right = ((logits_BC.argmax(1) == labels_B) & labelled_B).sum()
        count = labelled_B.sum()
        return Loss(total, count, {"accuracy": (right, count)})

    def predict(self, views: Views) -> Prediction:
        pooled_BD = encoder_of(self.encoders, self.modality).pooled(views["values"], views["keep"])
        return Prediction(self.head(pooled_BD).float())

    def zero_head_(self, player: str) -> None:
        for parameter in self.head.get_submodule("out").parameters():
            nn.init.zeros_(parameter)

    def at_zero(self, views: Views, player: str) -> float:
        return math.log(self._num_classes)

    def chance(self, views: Views, player: str) -> float:
        return self._entropy
