from __future__ import annotations

import pytest
import torch
from torch import nn

from seedbed.core.types import Learner, Loss, Views
from seedbed.train import cost
from seedbed.train.cost import kept_bytes
from tests.contract.subjects import BATCH, MACHINE, Subject, subjects

SUBJECTS = [subject for subject in subjects() if subject.module.name in ("classify", "contrastive", "masked_lm")]


class Layer(Learner):
    """One layer on pixels: its input is kept for the weights' gradient, its output for the ReLU's."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict()
        self.layer = nn.Linear(36, 5)

    def forward(self, views: Views, player: str) -> Loss:
        made_BD = self.layer(views["values"].flatten(1).float()).relu()
        return Loss(made_BD.sum(), torch.tensor(len(made_BD)), {})


def test_what_one_layer_keeps() -> None:
    training = next(one for one in SUBJECTS if str(one) == "classify-image-mlp").training(1)
    training.learner = Layer()
    training.views = lambda batch, config, at: {"values": batch.inputs["image"].values}
    assert kept_bytes(training, BATCH["image"](0, 32), MACHINE) == (0, 4 * (36 + 5))
    # One example has no half to compare with.
    assert kept_bytes(training, BATCH["image"](0, 1), MACHINE) == (0, 4 * (36 + 5))


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_a_few_examples_tell_of_many(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = BATCH[subject.modality](0, 64)
    fixed, each = kept_bytes(subject.training(1), batch, MACHINE)
    monkeypatch.setattr(cost, "MEASURED", 64)
    base, more = kept_bytes(subject.training(1), batch, MACHINE)
    # Texts differ in length and share words: too much is allowed for rather than too little.
    assert 0.75 <= (fixed + 64 * each) / (base + 64 * more) <= 2.5
