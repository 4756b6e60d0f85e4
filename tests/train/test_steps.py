"""The first steps of every optimiser, by hand in float64, and learning rates that differ by layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seedbed.core.settings import TrainSettings
from seedbed.core.types import Learner, Loss, Setup, Views
from seedbed.train.optim import BETAS, OPTIMIZERS, Stepping, lr_shares, make_optimizers, usual
from tests.train.toys import Toy

LR, DECAY = 0.05, 0.2
Rule = Callable[[Tensor, list[Tensor], float], Tensor]


class Lone(Learner):
    """One linear layer outside any trunk: its weight is a matrix, its bias is plain."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict()
        self.head = nn.Linear(4, 3)

    def forward(self, views: Views, player: str) -> Loss:
        raise AssertionError("gradients are given")


def adamw(p: Tensor, grads: list[Tensor], decay: float, *, coupled: bool = False) -> Tensor:
    m, v = torch.zeros_like(p), torch.zeros_like(p)
    for t, g in enumerate(grads, 1):
        if coupled:
            g = g + decay * p
        else:
            p = p * (1 - LR * decay)
        m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g
        p = p - LR * (m / (1 - BETAS[0] ** t)) / ((v / (1 - BETAS[1] ** t)).sqrt() + 1e-8)
    return p


def adam(p: Tensor, grads: list[Tensor], decay: float) -> Tensor:
    return adamw(p, grads, decay, coupled=True)


def adagrad(p: Tensor, grads: list[Tensor], decay: float) -> Tensor:
    total = torch.zeros_like(p)
    for g in grads:
        g = g + decay * p
        total = total + g * g
        p = p - LR * g / (total.sqrt() + 1e-10)
    return p


def rmsprop(p: Tensor, grads: list[Tensor], decay: float) -> Tensor:
    mean = torch.zeros_like(p)
    for g in grads:
        g = g + decay * p
        mean = 0.99 * mean + 0.01 * g * g
        p = p - LR * g / (mean.sqrt() + 1e-8)
    return p


def sgd(p: Tensor, grads: list[Tensor], decay: float, *, nesterov: bool = False) -> Tensor:
    velocity = torch.zeros_like(p)
    for g in grads:
        g = g + decay * p
        velocity = 0.9 * velocity + g
        p = p - LR * (g + 0.9 * velocity if nesterov else velocity)
    return p


def nesterov(p: Tensor, grads: list[Tensor], decay: float) -> Tensor:
    return sgd(p, grads, decay, nesterov=True)


RULES: dict[str, Rule] = {
    "adamw": adamw, "adam": adam, "muon": adamw, "adagrad": adagrad, "rmsprop": rmsprop, "sgd": sgd,
    "sgd with nesterov": nesterov,
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_the_first_steps_by_hand(name: str) -> None:
    """Outside a trunk "muon" is AdamW."""
    assert {rule.split()[0] for rule in RULES} == set(OPTIMIZERS)
    torch.manual_seed(0)
    learner = Lone()
    before = {key: value.detach().double() for key, value in learner.named_parameters()}
    grads = {key: [torch.randn_like(value) for _ in range(3)] for key, value in learner.named_parameters()}
    how = Stepping(name.split()[0], LR, DECAY, nesterov="nesterov" in name)
    optimizers = make_optimizers(learner, "model", how)
    for step in range(3):
        for key, value in learner.named_parameters():
            value.grad = grads[key][step].clone()
        for optimizer in optimizers:
            optimizer.step()
    for key, value in learner.named_parameters():
        decay = DECAY if key.endswith("weight") else 0.0
        expected = RULES[name](before[key], [g.double() for g in grads[key]], decay)
        torch.testing.assert_close(value.detach().double(), expected, rtol=0, atol=2e-6)
        assert float((expected - before[key]).abs().min()) > 1e-4


def test_rates_by_layer() -> None:
    """Two blocks: the stem is three layers below the head, and each layer has half the rate of the one above."""
    learner = Toy()
    share = lr_shares(learner, 0.5)
    found = {name: share[id(parameter)] for name, parameter in learner.named_parameters()}
    assert found["norm.weight"] == 1.0
    assert {found[f"encoders.text.trunk.1.{name}"] for name in ("norm.weight", "up.weight", "down.bias")} == {0.5}
    assert found["encoders.text.trunk.0.up.weight"] == 0.25
    assert found["encoders.text.stem.embedding.weight"] == found["encoders.text.stem.position"] == 0.125
    assert set(lr_shares(learner, 1.0).values()) == {1.0}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_group_has_the_rate_of_its_layer(name: str) -> None:
    learner = Toy(sparse=True)
    share = lr_shares(learner, 0.5)
    optimizers = make_optimizers(learner, "model", Stepping(name, LR, DECAY, layer_decay=0.5))
    seen = 0
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            seen += len(group["params"])
            assert {LR * share[id(parameter)] for parameter in group["params"]} == {group["lr"]}
    assert seen == len(list(learner.parameters()))


def test_what_another_optimizer_starts_from() -> None:
    setup = Setup(("text",), ("transformer",), optimizer="muon", lr=2e-3, weight_decay=0.05)
    assert usual("muon", setup) == usual("adamw", setup) == (2e-3, 0.05)
    assert usual("adam", setup) == usual("rmsprop", setup) == (2e-3, 0.0)
    assert usual("sgd", setup) == (0.2, 0.0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"momentum": 0.5}, "only with optimizer = sgd"),
        ({"optimizer": "adamw", "nesterov": True}, "only with optimizer = sgd"),
        ({"optimizer": "sgd", "momentum": 0.0, "nesterov": True}, "only with momentum above 0"),
        ({"cooldown": 0.1}, "only with schedule = wsd"),
    ],
)
def test_options_that_belong_to_another_are_refused_without_it(options: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        TrainSettings.model_validate(options)


def test_options_that_belong_together() -> None:
    taken = TrainSettings.model_validate({"optimizer": "sgd", "momentum": 0.5, "nesterov": True, "lr": "auto"})
    assert taken.momentum == 0.5 and taken.nesterov and taken.lr is None
    assert TrainSettings.model_validate({"schedule": "wsd", "cooldown": 0.1}).cooldown == 0.1
