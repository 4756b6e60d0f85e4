"""Each planted fault turns a check of the contract red: a check that nothing can fail checks nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from seedbed.core.find import find, names
from seedbed.core.settings import Section
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Views
from seedbed.train.optim import Stepping
from tests.contract import checks
from tests.contract.checks import Check
from tests.contract.subjects import Subject

Fault = Callable[[Loss], Loss]


def subject(name: str, modality: str = "text", trunk: str = "transformer") -> Subject:
    kind = "tasks" if name in names("tasks") else "objectives"
    return Subject(kind, find(kind, name), modality, trunk)


def with_views(sound: Subject, change: Callable[[Views, Batch, Moment], Views]) -> Subject:
    def views(batch: Batch, config: Section, at: Moment) -> Views:
        return change(dict(sound.module.views(batch, config, at)), batch, at)

    return replace(sound, module=replace(sound.module, views=views))


def with_loss(sound: Subject, change: Callable[[Learner, Loss], Loss]) -> Subject:
    """The same learner, its loss changed on the way out."""

    def build(config: Section, encoders: nn.ModuleDict, facts: Facts) -> Learner:
        learner = sound.module.learner_class(config, encoders, facts)
        forward = learner.forward
        learner.forward = lambda views, player: change(learner, forward(views, player))  # type: ignore[method-assign]
        return learner

    return replace(sound, module=replace(sound.module, learner_class=build))


def drop_padding_mask(views: Views, batch: Batch, at: Moment) -> Views:
    return {**views, "keep_BN": torch.ones_like(views["keep_BN"])}


def show_the_hidden(views: Views, batch: Batch, at: Moment) -> Views:
    return {**views, "inputs_BN": views["targets_BN"]}


def shift_targets(views: Views, batch: Batch, at: Moment) -> Views:
    return {**views, "inputs_BN": views["targets_BN"]}


def count_every_position(views: Views, batch: Batch, at: Moment) -> Views:
    return {**views, "hidden_BN": torch.ones_like(views["hidden_BN"])}


def mask_by_torch(views: Views, batch: Batch, at: Moment) -> Views:
    return {**views, "hidden_BN": (torch.rand(views["hidden_BN"].shape) < 0.3) & views["keep_BN"]}


def thin_by_torch(views: Views, batch: Batch, at: Moment) -> Views:
    return {**views, "luck_BN": torch.rand(views["luck_BN"].shape)}


def mask_by_place_in_batch(views: Views, batch: Batch, at: Moment) -> Views:
    rows_BN = torch.arange(len(batch))[:, None] + torch.arange(views["keep_BN"].shape[1])
    return {**views, "hidden_BN": (rows_BN % 3 == 0) & views["keep_BN"]}


def write_into_the_batch(views: Views, batch: Batch, at: Moment) -> Views:
    batch.inputs["text"].values[0, 0] = 7
    return views


def mean_for_sum(learner: Learner, loss: Loss) -> Loss:
    return loss._replace(total=loss.total / loss.count)


def count_of_one(learner: Learner, loss: Loss) -> Loss:
    return loss._replace(count=torch.tensor(1.0))


def half_the_loss(learner: Learner, loss: Loss) -> Loss:
    return loss._replace(total=loss.total / 2)


def noise_in_forward(learner: Learner, loss: Loss) -> Loss:
    return loss._replace(total=loss.total * (1 + torch.rand(()) * 1e-3))


def detach(learner: Learner, loss: Loss) -> Loss:
    return loss._replace(total=loss.total.detach() + 0 * sum(p.sum() for p in learner.parameters()))


def without_coupling(sound: Subject) -> Subject:
    def build(config: Section, encoders: nn.ModuleDict, facts: Facts) -> Learner:
        learner = sound.module.learner_class(config, encoders, facts)
        learner.couples = False
        return learner

    return replace(sound, module=replace(sound.module, learner_class=build))


CAUSAL, MASKED, SKIP = subject("causal_lm"), subject("masked_lm"), subject("skip_gram", trunk="bag")
IMAGE = subject("adversarial", "image", "mlp")
PLANTED: list[tuple[str, Subject, Check]] = [
    ("drop the mask", with_views(CAUSAL, drop_padding_mask), checks.extra_padding_does_not_matter),
    ("thin words by torch", with_views(SKIP, thin_by_torch), checks.scoring_is_not_random),
    ("drop the mask of states", with_views(MASKED, drop_padding_mask), checks.extra_padding_does_not_matter),
    ("show what is hidden", with_views(MASKED, show_the_hidden), checks.no_answer_leaks_into_the_views),
    ("shift targets by one", with_views(CAUSAL, shift_targets), checks.no_answer_leaks_into_the_views),
    ("predict at every position", with_views(MASKED, count_every_position), checks.extra_padding_does_not_matter),
    ("draw from torch", with_views(MASKED, mask_by_torch), checks.scoring_is_not_random),
    (
        "mask by place in the batch",
        with_views(MASKED, mask_by_place_in_batch),
        checks.order_of_the_batch_does_not_matter,
    ),
    ("write into the batch", with_views(CAUSAL, write_into_the_batch), checks.inputs_are_left_alone),
    ("mean for sum", with_loss(CAUSAL, mean_for_sum), checks.micro_batches_change_nothing_or_are_refused),
    ("mean for sum in words", with_loss(SKIP, mean_for_sum), checks.micro_batches_change_nothing_or_are_refused),
    ("mean for sum of images", with_loss(IMAGE, mean_for_sum), checks.zero_head_gives_the_closed_form),
    ("count of one", with_loss(MASKED, count_of_one), checks.zero_head_gives_the_closed_form),
    ("half the loss", with_loss(SKIP, half_the_loss), checks.zero_head_gives_the_closed_form),
    ("noise in forward", with_loss(CAUSAL, noise_in_forward), checks.scoring_is_not_random),
    ("no gradient", with_loss(CAUSAL, detach), checks.gradients_reach_the_player_and_nobody_else),
    ("no gradient, so no fit", with_loss(MASKED, detach), checks.overfits_one_batch),
    (
        "coupled, unannounced",
        without_coupling(subject("contrastive", "image", "mlp")),
        checks.micro_batches_change_nothing_or_are_refused,
    ),
]


@pytest.mark.parametrize(("what", "faulty", "check"), PLANTED, ids=[what for what, _, _ in PLANTED])
def test_a_planted_fault_turns_its_check_red(what: str, faulty: Subject, check: Check) -> None:
    with pytest.raises(AssertionError):
        check(faulty)


def test_forgetting_zero_grad_turns_the_resume_check_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left-over gradients are not in a checkpoint, so a resumed run parts from an uninterrupted one."""
    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", lambda self, set_to_none=True: None)
    with pytest.raises(AssertionError):
        checks.resuming_is_bit_equal(CAUSAL)


def test_training_what_is_frozen_turns_its_check_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.contract.subjects.make_optimizers", _ignoring_freeze)
    monkeypatch.setattr("seedbed.train.loop._trained", lambda training, player: _everything(training.learner))
    with pytest.raises(AssertionError):
        checks.frozen_parts_stay_bit_equal(CAUSAL)


def _ignoring_freeze(learner: Learner, player: str, how: Stepping, freeze: object) -> object:
    return [torch.optim.SGD(learner.parameters_of(player), how.lr)]


def _everything(learner: Learner) -> list[nn.Parameter]:
    return list(learner.parameters())


def test_a_player_that_trains_the_other_turns_its_check_red() -> None:
    def build(config: Section, encoders: nn.ModuleDict, facts: Facts) -> Learner:
        learner = IMAGE.module.learner_class(config, encoders, facts)
        learner.parameters_of = lambda player: list(learner.parameters())  # type: ignore[method-assign]
        return learner

    faulty = replace(IMAGE, module=replace(IMAGE.module, learner_class=build))
    with pytest.raises(AssertionError):
        checks.gradients_reach_the_player_and_nobody_else(faulty)
