"""Tell a number of each example."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from seedbed.core.types import Batch, Facts, Loss, Moment, Prediction, Setup, Task, Views
from seedbed.models.encoder import encoder_of
from seedbed.models.heads import HeadOptions, make_classifier

SETUP = Setup(
    modalities=("text", "image", "vector"),
    label_kind="number",
    tokenizer="bpe",
    items="whole",
    seq_len=256,
    batch_size=32,
    optimizer="adamw",
    lr=3e-4,
    weight_decay=0.05,
)


class Config(HeadOptions):
    """What stands on the encoder."""


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """The examples as they are, with numbers standardised by the training labels."""
    values, keep = next(iter(batch.inputs.values()))
    targets_B = (batch.labels_B - at.facts.target_mean) / at.facts.target_std
    return {"values": values, "keep": keep, "targets_B": targets_B.float()}


@final
class Regress(Task):
    """Squared error of the standardised number, from the encoder's pooled state.

    Units: examples that have a number; the loss is not in nats but in variances of the training labels.
    Chance: the error of answering the mean of the training labels; 1 where labels spread as those do.
    """

    metrics = ("absolute_error",)

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.encoders = encoders
        self.modality = facts.modality
        encoder = encoder_of(encoders, facts.modality)
        self.head = make_classifier(config, encoder.spec.trunk, facts.modality, encoder.width, facts.num_outputs)
        self._mean, self._std = facts.target_mean, facts.target_std

    def forward(self, views: Views, player: str) -> Loss:
        targets_B = views["targets_B"]
        outputs_B = self.predict(views).logits_BC[:, 0]
        labelled_B = targets_B.isfinite()
        # The unknown is taken out before anything is multiplied with it: 0 times NaN is NaN.
        errors_B = outputs_B.where(labelled_B, 0.0) - targets_B.where(labelled_B, 0.0)
        count = labelled_B.sum()
        return Loss((errors_B**2).sum(), count, {"absolute_error": (errors_B.detach().abs().sum() * self._std, count)})

    def predict(self, views: Views) -> Prediction:
        pooled_BD = encoder_of(self.encoders, self.modality).pooled(views["values"], views["keep"])
        return Prediction(self.head(pooled_BD).float())

    def answers(self, logits_BC: Tensor) -> Tensor:
        return self._mean + self._std * logits_BC.double()

    def zero_head_(self, player: str) -> None:
        for parameter in self.head.get_submodule("out").parameters():
            nn.init.zeros_(parameter)

    def at_zero(self, views: Views, player: str) -> float:
        known = views["targets_B"][views["targets_B"].isfinite()]
        return float((known**2).mean()) if len(known) else 0.0

    def chance(self, views: Views, player: str) -> float:
        return self.at_zero(views, player)
