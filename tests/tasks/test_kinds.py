"""Tasks of every kind of label: missing labels, chance, answers, weights, and faults that must be seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seedbed.core.errors import UsageError
from seedbed.core.find import find
from seedbed.core.settings import Section
from seedbed.core.types import NO_LABEL, Facts, Learner, Loss, Task, Views
from seedbed.evaluate.scoring import scoring
from seedbed.models.losses import class_weights, decision_weights
from tests.contract import checks
from tests.contract.subjects import CLASSES, NUMBERS, SETS, Subject, image_batch, moment, run

TASKS = ("classify", "multilabel", "regress")
WEIGHTED = ("classify", "multilabel")


def subject(task: str, **options: object) -> Subject:
    """A task on small images, with options of its Config."""
    found = Subject("tasks", find("tasks", task), "image", "mlp")
    if not options:
        return found

    class Config(found.module.config_class):  # type: ignore[misc, name-defined]
        def __init__(self, **given: object) -> None:
            super().__init__(**{**options, **given})

    return replace(found, module=replace(found.module, config_class=Config))


def uneven(sound: Subject) -> Facts:
    """Facts of classes that are not equally frequent."""
    counts = {"class": (6, 3, 1), "set": (6, 3, 1), "number": ()}[sound.module.setup.label_kind]
    return replace(sound.facts, class_counts=counts, num_labels=10)


@pytest.mark.parametrize("task", TASKS)
def test_examples_without_a_label_count_nothing(task: str) -> None:
    sound = subject(task)
    learner, batch = sound.learner().eval(), image_batch(0)
    part = replace(batch, labels_B=torch.where(torch.arange(8) < 5, batch.labels_B, NO_LABEL))
    loss, few = learner(sound.views(part, training=False), "model"), next(batch.split(5))
    alone = learner(sound.views(few, training=False), "model")
    assert int(loss.count) == int(alone.count) == {"multilabel": 15}.get(task, 5)
    assert float(loss.total.detach()) == pytest.approx(float(alone.total.detach()), rel=1e-5)
    nobody = replace(batch, labels_B=torch.full((8,), NO_LABEL))
    empty = learner(sound.views(nobody, training=False), "model")
    assert int(empty.count) == 0 and float(empty.total.detach()) == 0.0
    empty.total.backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in learner.parameters())


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_what_the_loss_compares_with(task: str) -> None:
    sound = subject(task)
    training = sound.training(5)
    run(training, image_batch)
    learner, batch = training.learner.eval(), image_batch(1)
    assert isinstance(learner, Task)
    views = sound.views(batch, training=False)
    logits_BC = learner.predict(views).logits_BC
    answers = learner.answers(logits_BC).detach().numpy()
    loss = learner(views, "model")
    truth = {"classify": batch.labels_B, "multilabel": SETS[batch.labels_B], "regress": NUMBERS[batch.labels_B]}[task]
    costs = scoring(sound.module.setup.label_kind).losses(answers, truth.numpy())
    unit = sound.facts.target_std**2
    assert float(loss.total.detach() / loss.count) == pytest.approx(costs.mean() / unit, rel=1e-5)


def test_the_chance_of_sets_is_the_mean_binary_entropy() -> None:
    sound = subject("multilabel")
    expected = np.mean([-p * math.log(p) - (1 - p) * math.log(1 - p) for p in (0.6, 0.3, 0.1)])
    assert sound.learner(facts=uneven(sound)).chance({}, "model") == pytest.approx(expected)


def test_numbers_are_standardised_by_the_training_labels_and_told_in_their_unit() -> None:
    sound = subject("regress")
    facts = replace(sound.facts, target_mean=1_700_000_000.0, target_std=50.0)
    batch = replace(image_batch(0), labels_B=torch.full((8,), 1_700_000_025.0, dtype=torch.float64))
    views = sound.module.views(batch, sound.module.config_class(), moment(batch, "image", facts=facts))
    assert torch.equal(views["targets_B"], torch.full((8,), 0.5))
    learner = sound.learner(facts=facts)
    assert isinstance(learner, Task)
    assert learner.answers(torch.tensor([[0.5]])).tolist() == [[1_700_000_025.0]]


def test_balanced_weights_make_classes_count_alike_and_average_one() -> None:
    counts = torch.tensor([6, 3, 1])
    weights = class_weights("balanced", CLASSES, counts)
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert float((weights * counts).sum() / 10) == pytest.approx(1.0)
    given = class_weights({"c": 5.0}, CLASSES, counts)
    assert given.tolist() == pytest.approx([10 / 14, 10 / 14, 50 / 14])
    assert class_weights("none", CLASSES, counts).tolist() == [1, 1, 1]
    assert class_weights("balanced", CLASSES, torch.tensor([6, 0, 2])).tolist() == pytest.approx([4 / 6, 1, 2])
    decisions = decision_weights("balanced", CLASSES, torch.tensor([5, 2, 0]), 10)
    assert decisions.flatten().tolist() == pytest.approx([1, 1, 10 / 16, 10 / 4, 1, 1])
    assert decision_weights({"a": 3.0}, CLASSES, torch.tensor([5, 2, 0]), 10)[0].tolist() == pytest.approx([0.5, 1.5])


@pytest.mark.parametrize("task", WEIGHTED)
def test_weights_of_labels_that_do_not_exist_are_refused(task: str) -> None:
    with pytest.raises(UsageError, match='"bb", which is no label'):
        subject(task, class_weights={"bb": 2.0}).learner()


@pytest.mark.parametrize("task", WEIGHTED)
@pytest.mark.parametrize("how", ["balanced", {"c": 4.0}])
def test_the_weighted_loss_and_its_chance_in_closed_form(task: str, how: object) -> None:
    sound = subject(task, class_weights=how)
    facts, batch = uneven(sound), image_batch(0)
    learner = sound.learner(facts=facts).eval()
    counts = torch.tensor(facts.class_counts)
    views = sound.views(batch, training=False, facts=facts)
    assert isinstance(learner, Task)
    logits = learner.predict(views).logits_BC.detach()
    if task == "classify":
        weights = class_weights(how, CLASSES, counts)  # type: ignore[arg-type]
        each = F.cross_entropy(logits, batch.labels_B, reduction="none") * weights[batch.labels_B]
        shares = weights * counts / 10
        entropy = -(shares * shares.log()).sum()
    else:
        pairs = decision_weights(how, CLASSES, counts, 10)  # type: ignore[arg-type]
        inside = SETS[batch.labels_B].long()
        weights = pairs[torch.arange(3), inside]
        each = F.binary_cross_entropy_with_logits(logits, inside.float(), reduction="none") * weights
        shares = pairs * torch.stack([10 - counts, counts], 1) / 10
        entropy = -(shares * shares.log()).sum(1).mean()
    loss = learner(views, "model")
    assert float(loss.total.detach()) == pytest.approx(float(each.sum()), rel=1e-5)
    assert learner.chance(views, "model") == pytest.approx(float(entropy))
    learner.zero_head_("model")
    zero = learner(views, "model")
    assert float(zero.total.detach() / zero.count) == pytest.approx(learner.at_zero(views, "model"), rel=1e-5)


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("task", WEIGHTED)
def test_weighted_tasks_keep_the_contract(task: str, check: checks.Check) -> None:
    check(subject(task, class_weights={"a": 3.0}))


@pytest.mark.parametrize("kind", ["class", "set"])
def test_a_tilt_is_what_weights_do_to_a_model_that_knows_the_odds(kind: str) -> None:
    """The best constant answer under weights is the tilt of the one without."""
    draw = np.random.default_rng(0)
    of = scoring(kind)
    targets = draw.choice(3, 4000, p=(0.7, 0.25, 0.05)) if kind == "class" else SETS.numpy()[draw.choice(3, 4000)]
    plain = np.tile(of.constant(targets, 3), (1, 1))
    tilted = of.tilted(plain, of.tilt("balanced", targets, CLASSES))[0]
    assert tilted == pytest.approx(np.full(3, 1 / 3 if kind == "class" else 0.5))
    same = of.tilted(plain, of.tilt("none", targets, CLASSES))
    assert same == pytest.approx(plain)


Fault = Callable[[Learner, Loss], Loss]


def with_loss(sound: Subject, change: Fault) -> Subject:
    def build(config: Section, encoders: nn.ModuleDict, facts: Facts) -> Learner:
        learner = sound.module.learner_class(config, encoders, facts)
        forward = learner.forward
        learner.forward = lambda views, player: change(learner, forward(views, player))  # type: ignore[method-assign]
        return learner

    return replace(sound, module=replace(sound.module, learner_class=build))


def mean_for_sum(learner: Learner, loss: Loss) -> Loss:
    return loss._replace(total=loss.total / loss.count)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "check", [checks.zero_head_gives_the_closed_form, checks.micro_batches_change_nothing_or_are_refused]
)
def test_a_mean_for_a_sum_is_seen(task: str, check: checks.Check) -> None:
    with pytest.raises(AssertionError):
        check(with_loss(subject(task), mean_for_sum))


@pytest.mark.parametrize("task", WEIGHTED)
def test_weights_that_are_ignored_are_seen(task: str) -> None:
    def build(config: Section, encoders: nn.ModuleDict, facts: Facts) -> Learner:
        learner = find("tasks", task).learner_class(config, encoders, facts)
        for buffer in learner.buffers(recurse=False):
            buffer.fill_(1.0)
        return learner

    sound = subject(task, class_weights={"a": 9.0})
    facts, batch = uneven(sound), image_batch(0)
    views = sound.views(batch, training=False, facts=facts)
    losses = []
    for made in (sound, replace(sound, module=replace(sound.module, learner_class=build))):
        learner = made.learner(facts=facts)
        losses.append(float(learner(views, "model").total.detach()))
    assert losses[0] != pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize("task", WEIGHTED)
def test_softmax_for_sigmoid_is_seen(task: str) -> None:
    """Answers by the other task's link do not cost what the loss says."""
    sound = subject(task)
    training = sound.training(5)
    run(training, image_batch)
    learner, batch = training.learner.eval(), image_batch(1)
    assert isinstance(learner, Task)
    views: Views = sound.views(batch, training=False)
    logits_BC = learner.predict(views).logits_BC.double()
    mixed = torch.sigmoid(logits_BC) if task == "classify" else torch.softmax(logits_BC, dim=1)
    truth = batch.labels_B if task == "classify" else SETS[batch.labels_B]
    costs = scoring(sound.module.setup.label_kind).losses(mixed.detach().numpy(), truth.numpy())
    loss = learner(views, "model")
    assert float(loss.total.detach() / loss.count) != pytest.approx(costs.mean(), rel=0.05)
