"""Put each example into one of several classes."""

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
from seedbed.models.losses import Weights, class_weights

SETUP = Setup(
    modalities=("text", "image", "vector"),
    label_kind="class",
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

    class_weights: Weights = Field("none", description="none, balanced, or a weight for some classes by name")
    label_smoothing: Share = Field(0.0, description="share of the target that is spread evenly over all classes")


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """The examples as they are, with their labels."""
    values, keep = next(iter(batch.inputs.values()))
    return {"values": values, "keep": keep, "labels_B": batch.labels_B}


@final
class Classify(Task):
    """Cross-entropy of the class, from the encoder's pooled state.

    Units: examples that have a label; with class weights some count more, by 1 on average.
    Chance: the entropy of the training labels, each counted by its weight.
    """

    metrics = ("accuracy",)
    weights_C: Tensor

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.config = config
        self.encoders = encoders
        self.modality = facts.modality
        encoder = encoder_of(encoders, facts.modality)
        self.head = make_classifier(config, encoder.spec.trunk, facts.modality, encoder.width, facts.num_outputs)
        counts_C = torch.tensor(facts.class_counts, dtype=torch.float64)
        weights_C = class_weights(config.class_weights, facts.classes, counts_C)
        self.register_buffer("weights_C", weights_C.float(), persistent=False)
        self._entropy = float(torch.special.entr(weights_C * counts_C / counts_C.sum()).sum())
        self._num_classes = facts.num_outputs

    def forward(self, views: Views, player: str) -> Loss:
        labels_B = views["labels_B"]
        logits_BC = self.predict(views).logits_BC
        labelled_B = labels_B != NO_LABEL
        # Scored against the labels as they are, so that the loss can be compared with chance and with other runs.
        smoothing = self.config.label_smoothing if self.training else 0.0
        total = F.cross_entropy(
            logits_BC, labels_B, self.weights_C, ignore_index=NO_LABEL, reduction="sum", label_smoothing=smoothing
        )
        right = ((logits_BC.argmax(1) == labels_B) & labelled_B).sum()
        count = labelled_B.sum()
        return Loss(total, count, {"accuracy": (right, count)})

    def predict(self, views: Views) -> Prediction:
        pooled_BD = encoder_of(self.encoders, self.modality).pooled(views["values"], views["keep"])
        return Prediction(self.head(pooled_BD).float())

    def answers(self, logits_BC: Tensor) -> Tensor:
        return torch.softmax(logits_BC.double(), dim=1)

    def zero_head_(self, player: str) -> None:
        for parameter in self.head.get_submodule("out").parameters():
            nn.init.zeros_(parameter)

    def at_zero(self, views: Views, player: str) -> float:
        known_B = views["labels_B"][views["labels_B"] != NO_LABEL]
        return float(self.weights_C[known_B].mean()) * math.log(self._num_classes)

    def chance(self, views: Views, player: str) -> float:
        return self._entropy
