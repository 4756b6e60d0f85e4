"""Stacked autoencoders: whose turn it is, what is restored, what stays fixed, resuming within and between layers."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seedbed.core.errors import UsageError
from seedbed.core.find import find
from seedbed.core.types import Learner, Views
from seedbed.models import mlp
from seedbed.models.encoder import EncoderSpec, build_encoder, encoder_of
from seedbed.objectives import stacked
from seedbed.train import checkpoint
from seedbed.train.assemble import Stage, assemble
from seedbed.train.loop import steps
from seedbed.train.scoring import evaluate
from seedbed.train.state import Training
from tests.contract.subjects import BATCH, FACTS, MACHINE, SMALL, Subject, scoring

DEPTH = 2
LEVELS = DEPTH + 1


def spec(modality: str) -> EncoderSpec:
    return EncoderSpec(modality, mlp.STEMS[modality][0], "mlp", "test", asdict(mlp.Config(width=24, depth=DEPTH)))


STAGE = Stage(
    "objectives", "stacked", {}, "whole", 0, 8, None, "adamw", 5e-3, 0.01, 0.05, 1.0, 0.0, (), 4 * LEVELS, seed=3
)


def training(modality: str = "image", num_steps: int = 4 * LEVELS, **options: str) -> Training:
    return assemble(replace(STAGE, steps=num_steps, options=options), FACTS[modality], spec(modality))


def views_of(made: Training, level: int, modality: str = "image") -> Views:
    subject = Subject("objectives", find("objectives", "stacked"), modality, "mlp")
    return subject.views(BATCH[modality](0), progress=(level + 0.5) / LEVELS)


def parts(learner: Learner) -> tuple[nn.Module, mlp.Trunk]:
    modality = next(iter(learner.encoders))
    encoder = encoder_of(learner.encoders, modality)
    assert isinstance(encoder.trunk, mlp.Trunk)
    return encoder.stem, encoder.trunk


def copied(learner: Learner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.named_parameters()}


def belongs(name: str) -> int:
    """The level that a parameter is part of."""
    kind, _, rest = name.removeprefix("encoders.image.").partition(".")
    if kind in ("stem", "decoders"):
        return 0 if kind == "stem" else int(rest.split(".")[0])
    part, _, number = rest.partition(".")
    if part == "layers":
        return int(number.split(".")[0]) + 1
    return DEPTH if part == "norm" else int(number.split(".")[0])


def only_the_layer_whose_turn_it_is_changes(made: Training) -> None:
    before, seen = copied(made.learner), set()
    for item in steps(made, BATCH["image"], MACHINE):
        now = copied(made.learner)
        turn = (item.step - 1) * LEVELS // made.horizon.total
        changed = {belongs(name) for name, value in now.items() if not torch.equal(value, before[name])}
        assert changed == {turn}, f"step {item.step}"
        seen.add(turn)
        before = now
    assert seen == set(range(LEVELS))


def test_only_the_layer_whose_turn_it_is_changes() -> None:
    made = training()
    assert sorted({belongs(name) for name in copied(made.learner)}) == list(range(LEVELS))
    only_the_layer_whose_turn_it_is_changes(made)


def test_layers_that_are_not_fixed_turn_the_check_red(monkeypatch: pytest.MonkeyPatch) -> None:
    below = stacked.Stacked._below.__wrapped__  # type: ignore[attr-defined]
    monkeypatch.setattr(stacked.Stacked, "_below", below)
    with pytest.raises(AssertionError):
        only_the_layer_whose_turn_it_is_changes(training())


@pytest.mark.parametrize("level", range(LEVELS))
def test_the_loss_is_that_of_restoring_what_entered_the_layer(level: int) -> None:
    made = training()
    stem, trunk = parts(made.learner)
    views = views_of(made, level)
    mean, std = FACTS["image"].channel_mean[0], FACTS["image"].channel_std[0]
    target = ((views["values"].float() / 255 - mean) / std).flatten(1)
    state = stem.get_submodule("projection")(target)
    for under in range(level + 1):
        entering = state if under == 0 else trunk.layers[under - 1](nn.functional.gelu(target))
        norm = trunk.norms[under] if under < DEPTH else trunk.norm
        leaving = norm(entering)
        if under < level:
            target = leaving
    decoder = made.learner.get_submodule(f"decoders.{level}")
    expected = (decoder(nn.functional.gelu(leaving)) - target).square().sum()
    loss = made.learner(views, "model")
    assert int(loss.count) == target.numel()
    assert float(loss.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert made.learner.chance(views, "model") == pytest.approx(float(target.detach().var(0).mean()), rel=1e-5)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_cross_entropy_is_of_shares_and_of_the_input_only(modality: str) -> None:
    made = training(modality, loss="cross_entropy")
    stem, _ = parts(made.learner)
    shares = stem.shares(*(views_of(made, 0, modality)[name] for name in ("values", "keep")))  # type: ignore[operator]
    assert float(shares.min()) >= 0 and 0.2 < float(shares.max()) <= 1
    views = views_of(made, 0, modality)
    mean = shares.mean(0).double()
    entropy = -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).mean()
    assert made.learner.chance(views, "model") == pytest.approx(float(entropy), rel=1e-4)
    made.learner.zero_head_("model")
    loss = made.learner(views, "model")
    assert float(loss.total.detach() / loss.count) == pytest.approx(math.log(2), rel=1e-5)
    above = views_of(made, 1, modality)
    expected = made.learner.at_zero(above, "model")
    loss = made.learner(above, "model")
    assert expected != math.log(2) and float(loss.total.detach() / loss.count) == pytest.approx(expected, rel=1e-5)


def test_nobody_knows_the_chance_of_one_example() -> None:
    made = training()
    one = {name: value[:1] if value.ndim else value for name, value in views_of(made, 0).items()}
    assert made.learner.chance(one, "model") is None


def test_each_layer_has_its_own_rise_and_fall_of_the_learning_rate() -> None:
    rates = [item.lr for item in steps(training(num_steps=60), BATCH["image"], MACHINE)]
    turns = [rates[20 * level : 20 * (level + 1)] for level in range(LEVELS)]
    assert turns[0] == pytest.approx(turns[1], rel=1e-6) and turns[1] == pytest.approx(turns[2], rel=1e-6)
    assert max(turns[0]) > 0.8 * 5e-3 and turns[0][-1] < 0.1 * max(turns[0])


def test_the_layer_that_was_just_trained_is_scored() -> None:
    made, seen = training(), []
    forward = made.learner.forward

    def noting(views: Views, player: str) -> Any:
        if not made.learner.training:
            seen.append(made.learner.phase(float(views["progress"]))[0])
        return forward(views, player)

    made.learner.forward = noting  # type: ignore[method-assign]
    batch = scoring(BATCH["image"](0))
    evaluate(made, [batch], MACHINE)
    for item in steps(made, BATCH["image"], MACHINE):
        if item.step % 4 == 0:
            evaluate(made, [batch], MACHINE)
    assert seen == [0, *range(LEVELS)]


@pytest.mark.parametrize("stop", [2, 4, 5, 8, 11])
def test_resuming_is_exact_within_a_layer_and_between_two(stop: int) -> None:
    straight, first, second = training(), training(), training()
    for _ in steps(straight, BATCH["image"], MACHINE):
        pass
    for item in steps(first, BATCH["image"], MACHINE):
        if item.step == stop:
            break
    tensors, scalars = checkpoint.pack(first.learner, first.optimizers, None)
    checkpoint.unpack_({k: v.clone() for k, v in tensors.items()}, scalars, second.learner, second.optimizers, None)
    second.step = first.step
    for _ in steps(second, BATCH["image"], MACHINE):
        pass
    mine, theirs = straight.learner.state_dict(), second.learner.state_dict()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def test_early_stopping_is_refused() -> None:
    stage = replace(STAGE, patience=3)
    with pytest.raises(UsageError, match="whose layers learn one after another"):
        assemble(stage, FACTS["image"], spec("image"))


def test_vectors_have_no_cross_entropy() -> None:
    with pytest.raises(UsageError, match="cannot be restored by cross_entropy"):
        training("vector", loss="cross_entropy")


def test_taking_layers_one_by_one_is_the_whole_trunk() -> None:
    encoder = build_encoder(spec("image"), FACTS["image"])
    values, keep = BATCH["image"](0).inputs["image"]
    assert isinstance(encoder.trunk, mlp.Trunk) and SMALL["mlp", "text"]
    x_BND, _ = encoder.stem(values, keep)
    for level in range(LEVELS):
        x_BND = encoder.trunk.level(level, x_BND)
    assert torch.equal(x_BND, encoder(values, keep))
