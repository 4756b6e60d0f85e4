"""The contract of a learner as checks: each takes a subject and raises AssertionError where the contract is broken."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import replace

import pytest
import tomli_w
import torch
import torch.nn.functional as F

from seedbed.core.errors import UsageError
from seedbed.core.tokens import PAD
from seedbed.core.types import Batch, Learner, Loss, Padded, Views
from seedbed.train.loop import steps
from seedbed.train.state import Training
from tests.contract.subjects import BATCH, NUM_EXAMPLES, Subject, reordered, run, scoring, tensors, where

# How far below chance at most 100 steps on one batch must get, as a share of it. The exceptions and why:
# adversarial: the opponent learns as well, and negatives of skip_gram change with each step.
FITS = {"adversarial": 0.95, "skip_gram": 0.8}
# Views of these hold something of the answer by their nature: another crop, the pixels not hidden, the image itself.
INFORMED = {"contrastive", "denoising", "adversarial", "stacked"}

Check = Callable[[Subject], None]


def losses(subject: Subject, learner: Learner, views: Views) -> dict[str, Loss]:
    return {player: learner(views, player) for player in learner.players}


def mean(loss: Loss) -> float:
    return float(loss.total.detach() / loss.count)


def assert_same_state(one: Training, other: Training) -> None:
    mine, theirs = one.learner.state_dict(), other.learner.state_dict()
    assert mine.keys() == theirs.keys() and mine
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def total_is_a_finite_sum(subject: Subject) -> None:
    learner = subject.learner()
    for player, loss in losses(subject, learner, subject.views(BATCH[subject.modality](0))).items():
        assert loss.total.shape == () and loss.total.requires_grad, player
        assert math.isfinite(float(loss.total.detach())), player
        assert float(loss.count) > 0 and not loss.count.requires_grad, player
        for total, count in loss.metrics.values():
            assert not total.requires_grad and not count.requires_grad and float(count) > 0


def zero_head_gives_the_closed_form(subject: Subject) -> None:
    learner = subject.learner()
    views = subject.views(BATCH[subject.modality](0))
    for player in learner.players:
        learner.zero_head_(player)
        expected = learner.at_zero(views, player)
        assert expected is not None, "a learner with a zero head states its loss"
        assert mean(learner(views, player)) == pytest.approx(expected, abs=1e-4)


def gradients_reach_the_player_and_nobody_else(subject: Subject) -> None:
    """After a few steps, because a last layer that starts at zero stops the first gradient."""
    training = subject.training(4)
    run(training, lambda step: BATCH[subject.modality](step))
    learner = training.learner
    everything = {id(parameter) for parameter in learner.parameters()}
    owned = [id(parameter) for player in learner.players for parameter in learner.parameters_of(player)]
    assert set(owned) == everything and len(owned) == len(everything), "each parameter belongs to one player"
    for player in learner.players:
        mine = {id(parameter) for parameter in learner.parameters_of(player)}
        reached: set[str] = set()
        for phase in range(learner.phases):
            for parameter in learner.parameters():
                parameter.requires_grad_(id(parameter) in mine)
                parameter.grad = None
            views = subject.views(BATCH[subject.modality](9), progress=(phase + 0.5) / learner.phases)
            learner(views, player).total.backward()
            grads = {name: parameter.grad for name, parameter in learner.named_parameters()}
            reached |= {name for name, grad in grads.items() if grad is not None and bool(grad.to_dense().any())}
        assert reached == {name for name, parameter in learner.named_parameters() if id(parameter) in mine}, player


def overfits_one_batch(subject: Subject) -> None:
    training = subject.training(100)
    batch = BATCH[subject.modality](0)
    player = training.learner.players[0]
    chance = training.learner.chance(subject.views(batch), player)
    assert chance is not None
    aim = FITS.get(subject.module.name, 0.5) * chance
    assert any(item.losses[player] < aim for item in steps(training, lambda step: batch, where(training)))


def no_answer_leaks_into_the_views(subject: Subject) -> None:
    """Where nothing can be learnt, nothing may be: on fresh noise the loss stays at chance or above."""
    if subject.module.name in INFORMED:
        return
    make = BATCH[subject.modality]
    training = subject.training(60)
    run(training, lambda step: make(1000 + step, 16, structured=False))
    learner, player = training.learner.eval(), training.learner.players[0]
    views = subject.views(scoring(make(1, 256, structured=False)), training=False)
    with torch.no_grad():
        chance = learner.chance(views, player)
        assert chance is not None
        assert mean(learner(views, player)) > 0.97 * chance


def two_runs_are_bit_equal(subject: Subject) -> None:
    trainings = []
    for unrelated in (1, 2):
        training = subject.training(5)
        torch.manual_seed(unrelated)
        run(training, lambda step: BATCH[subject.modality](step))
        trainings.append(training)
    assert_same_state(*trainings)


def resuming_is_bit_equal(subject: Subject) -> None:
    """Three steps, everything built anew under another seed, weights and optimisers copied, three more: as six."""
    straight = subject.training(6)
    run(straight, lambda step: BATCH[subject.modality](step))
    before = subject.training(6)
    stopped = steps_until(before, subject, 3)
    after = subject.training(6, seed=7)
    after.learner.load_state_dict({name: value.clone() for name, value in stopped.learner.state_dict().items()})
    for player, optimizers in after.optimizers.items():
        for new, old in zip(optimizers, stopped.optimizers[player], strict=True):
            new.load_state_dict(old.state_dict())
    after.step = stopped.step
    run(after, lambda step: BATCH[subject.modality](step))
    assert_same_state(straight, after)


def steps_until(training: Training, subject: Subject, stop: int) -> Training:
    for item in steps(training, lambda step: BATCH[subject.modality](step), where(training)):
        if item.step == stop:
            break
    return training


def micro_batches_change_nothing_or_are_refused(subject: Subject) -> None:
    """Uneven parts on purpose: a mean of means is wrong exactly there."""
    whole, parts = subject.training(3), subject.training(3, micro_batch=3)
    batch_at = BATCH[subject.modality]
    if whole.learner.coupled:
        with pytest.raises(UsageError, match="couples"):
            run(parts, batch_at)
        return
    for one, other in zip(run(whole, batch_at), run(parts, batch_at), strict=True):
        assert other.units == pytest.approx(one.units, rel=1e-6)
        for player, loss in one.losses.items():
            assert other.losses[player] == pytest.approx(loss, rel=2e-4, abs=1e-6), f"{player} at step {one.step}"


def order_of_the_batch_does_not_matter(subject: Subject) -> None:
    learner = subject.learner()
    batch = BATCH[subject.modality](0)
    shuffled = reordered(batch, torch.randperm(NUM_EXAMPLES, generator=torch.Generator().manual_seed(1)))
    assert_same_losses(subject, learner, batch, shuffled)


def extra_padding_does_not_matter(subject: Subject) -> None:
    if subject.modality != "text":
        return
    learner = subject.learner()
    batch = BATCH[subject.modality](0)
    tokens_BN, keep_BN = batch.inputs["text"]
    padded = Padded(F.pad(tokens_BN, (0, 5), value=PAD), F.pad(keep_BN, (0, 5), value=False))
    assert_same_losses(subject, learner, batch, replace(batch, inputs={"text": padded}))


def assert_same_losses(subject: Subject, learner: Learner, one: Batch, other: Batch) -> None:
    """For the untrained learner whose zero heads have been filled, so that inputs matter."""
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in learner.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.1)
    first = losses(subject, learner, subject.views(one))
    for player, loss in losses(subject, learner, subject.views(other)).items():
        assert float(loss.count) == pytest.approx(float(first[player].count), rel=1e-6)
        assert mean(loss) == pytest.approx(mean(first[player]), rel=1e-5)


def scoring_is_not_random(subject: Subject) -> None:
    """Neither views nor loss may ask torch's generator, and the step at which one scores must not matter."""
    learner = subject.learner().eval()
    batch = scoring(BATCH[subject.modality](0))
    seen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        with torch.no_grad():
            views = subject.views(batch, training=False, step=seed)
            seen.append((views, losses(subject, learner, views)))
        assert torch.equal(torch.get_rng_state(), before)
    (views, one), (again, other) = seen
    assert all(torch.equal(views[name], again[name]) for name in views)
    assert all(torch.equal(one[player].total, other[player].total) for player in one)


def inputs_are_left_alone(subject: Subject) -> None:
    learner = subject.learner()
    batch = BATCH[subject.modality](0)
    before = [value.clone() for value in tensors(batch)]
    views = subject.views(batch)
    kept = {name: value.clone() for name, value in views.items()}
    for loss in losses(subject, learner, views).values():
        loss.total.backward()
    assert all(torch.equal(one, other) for one, other in zip(before, tensors(batch), strict=True))
    assert all(torch.equal(kept[name], views[name]) for name in views)


def configuration_survives_toml(subject: Subject) -> None:
    config = subject.module.config_class()
    read = tomllib.loads(tomli_w.dumps(config.model_dump()))
    assert subject.module.config_class.model_validate(read) == config
    assert subject.module.config_class.model_config["frozen"]


def frozen_parts_stay_bit_equal(subject: Subject) -> None:
    learner = subject.learner()
    own = [name for name, _ in learner.named_parameters() if not name.startswith("encoders.")]
    pattern = r"^encoders\." if own else r"norm"
    training = subject.training(3, freeze=(pattern,))
    before = {name: value.clone() for name, value in training.learner.named_parameters()}
    run(training, BATCH[subject.modality])
    moved = {name for name, value in training.learner.named_parameters() if not torch.equal(before[name], value)}
    assert training.frozen and moved
    assert not moved & training.frozen


CHECKS: tuple[Check, ...] = (
    total_is_a_finite_sum,
    zero_head_gives_the_closed_form,
    gradients_reach_the_player_and_nobody_else,
    overfits_one_batch,
    no_answer_leaks_into_the_views,
    two_runs_are_bit_equal,
    resuming_is_bit_equal,
    micro_batches_change_nothing_or_are_refused,
    order_of_the_batch_does_not_matter,
    extra_padding_does_not_matter,
    scoring_is_not_random,
    inputs_are_left_alone,
    configuration_survives_toml,
    frozen_parts_stay_bit_equal,
)
