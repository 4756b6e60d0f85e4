"""Classification: labels that are missing, chance, predictions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from seedbed.core.find import find
from seedbed.core.types import NO_LABEL, Task
from tests.contract.subjects import FACTS, NUM_CLASSES, Subject, image_batch, run, text_batch

SUBJECTS = [
    Subject("tasks", find("tasks", "classify"), modality, trunk)
    for modality, trunk in (("text", "transformer"), ("text", "bag"), ("image", "mlp"), ("image", "transformer"))
]
BATCH = {"text": text_batch, "image": image_batch}


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_examples_without_a_label_count_nothing(subject: Subject) -> None:
    training = subject.training(3)
    run(training, BATCH[subject.modality])
    learner, batch = training.learner.eval(), BATCH[subject.modality](0)
    part = replace(batch, labels_B=torch.where(torch.arange(8) < 5, batch.labels_B, NO_LABEL))
    loss, few = learner(subject.views(part, training=False), "model"), next(batch.split(5))
    alone = learner(subject.views(few, training=False), "model")
    assert int(loss.count) == 5
    assert float(loss.total.detach()) == pytest.approx(float(alone.total.detach()), rel=1e-5)
    right, of = loss.metrics["accuracy"]
    assert int(of) == 5 and 0 <= int(right) <= 5
    nobody = replace(batch, labels_B=torch.full((8,), NO_LABEL))
    empty = learner(subject.views(nobody, training=False), "model")
    assert int(empty.count) == 0 and float(empty.total.detach()) == 0.0


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_chance_is_the_entropy_of_the_training_labels(subject: Subject) -> None:
    facts = replace(FACTS[subject.modality], class_counts=(6, 3, 1))
    expected = -sum(p * math.log(p) for p in (0.6, 0.3, 0.1))
    assert subject.learner(facts=facts).chance({}, "model") == pytest.approx(expected)


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_predictions_are_the_logits_of_the_loss(subject: Subject) -> None:
    training = subject.training(3)
    run(training, BATCH[subject.modality])
    learner, batch = training.learner.eval(), BATCH[subject.modality](1)
    assert isinstance(learner, Task)
    views = subject.views(batch, training=False)
    logits_BC = learner.predict(views).logits_BC
    assert logits_BC.shape == (8, NUM_CLASSES) and logits_BC.dtype == torch.float32
    loss = learner(views, "model")
    expected = F.cross_entropy(logits_BC, batch.labels_B, reduction="sum")
    assert float(loss.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert int(loss.metrics["accuracy"][0]) == int((logits_BC.argmax(1) == batch.labels_B).sum())


def test_smoothing_is_of_training_alone() -> None:
    """Closed form: the loss against a target of which a share is spread evenly over the classes."""
    subject = SUBJECTS[2]
    config = subject.module.config_class.model_validate({"label_smoothing": 0.3})
    learner = subject.learner()
    smooth = subject.module.learner_class(config, learner.encoders, FACTS[subject.modality])
    assert isinstance(smooth, Task)
    torch.nn.init.normal_(smooth.get_parameter("head.out.weight"))
    batch = BATCH[subject.modality](1)
    views = subject.views(batch, training=False)
    logs_BC = torch.log_softmax(smooth.predict(views).logits_BC, 1).detach()
    target_BC = 0.7 * F.one_hot(batch.labels_B, NUM_CLASSES) + 0.3 / NUM_CLASSES
    expected = float(-(target_BC * logs_BC).sum())
    assert float(smooth.train()(views, "model").total.detach()) == pytest.approx(expected, rel=1e-5)
    plain = float(F.nll_loss(logs_BC, batch.labels_B, reduction="sum"))
    assert float(smooth.eval()(views, "model").total.detach()) == pytest.approx(plain, rel=1e-5)
    assert expected != pytest.approx(plain, rel=1e-2)
