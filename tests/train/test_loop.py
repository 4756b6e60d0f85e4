"""The loop on a small learner: sums and counts, skipping, stopping, players, horizons."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from seedbed.core.device import Machine
from seedbed.core.errors import TrainingError, UsageError
from seedbed.core.settings import Section
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Padded, Views
from seedbed.train.loop import steps
from seedbed.train.optim import Stepping, make_optimizers
from seedbed.train.scoring import Sums, evaluate
from seedbed.train.state import Horizon, Training

MACHINE = Machine("cpu", 1, "float32", 0, 1, "test")
WIDTH = 3


class Ragged(Learner):
    """Squared error over kept positions: examples of different weight, so a mean of means would be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict()
        torch.manual_seed(0)
        self.linear = nn.Linear(WIDTH, 1)

    def forward(self, views: Views, player: str) -> Loss:
        error_BN = (self.linear(views["values"]).squeeze(-1) - 1.0) ** 2 * views["keep"]
        return Loss(error_BN.sum(), views["keep"].sum(), {"kept": (views["keep"].sum().detach(), torch.tensor(2.0))})


class Two(Ragged):
    """Two players with a weight each; the second is told how often the first has moved."""

    players = ("left", "right")

    def __init__(self) -> None:
        super().__init__()
        self.right = nn.Parameter(torch.zeros(WIDTH))
        self.seen: list[tuple[str, bool, bool]] = []

    def parameters_of(self, player: str) -> list[nn.Parameter]:
        return list(self.linear.parameters()) if player == "left" else [self.right]

    def forward(self, views: Views, player: str) -> Loss:
        self.seen.append((player, self.linear.weight.requires_grad, self.right.requires_grad))
        value = self.linear(self.right + views["values"]).sum()
        return Loss(value if player == "left" else -value, torch.tensor(1.0), {})


class Options(Section):
    pass


def views(batch: Batch, config: Section, at: Moment) -> Views:
    return {"values": batch.inputs["text"].values, "keep": batch.inputs["text"].keep}


def batch_at(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    values = torch.randn(8, 5, WIDTH, generator=generator)
    keep = torch.arange(5)[None] < torch.randint(1, 6, (8, 1), generator=generator)
    zeros = torch.zeros(8, dtype=torch.int64)
    return Batch({"text": Padded(values, keep)}, torch.arange(8), zeros, zeros, zeros)


class Normed(Ragged):
    """With batch norm before the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, views: Views, player: str) -> Loss:
        normed_BND = self.norm(views["values"].transpose(1, 2)).transpose(1, 2)
        return super().forward({**views, "values": normed_BND}, player)


def training(learner: Learner, *, total: int = 6, micro_batch: int | None = None, lr: float = 0.1) -> Training:
    optimizers = {player: make_optimizers(learner, player, Stepping("adamw", lr)) for player in learner.players}
    peaks = {player: [[g["lr"] for g in o.param_groups] for o in made] for player, made in optimizers.items()}
    return Training(
        learner, Options(), views, optimizers, peaks, Facts("text"), 0, Horizon(((0, total),)), micro_batch=micro_batch
    )


def weights(job: Training) -> Tensor:
    return torch.cat([p.detach().flatten() for p in job.learner.parameters()])


def test_micro_batches_give_the_same_step_though_their_counts_differ() -> None:
    whole, parts = training(Ragged()), training(Ragged(), micro_batch=3)
    left, right = list(steps(whole, batch_at, MACHINE)), list(steps(parts, batch_at, MACHINE))
    assert len(left) == len(right) == 6
    assert torch.allclose(weights(whole), weights(parts), atol=1e-6)
    assert all(
        math.isclose(a.losses["model"], b.losses["model"], rel_tol=1e-5) for a, b in zip(left, right, strict=True)
    )
    assert left[0].units == float(batch_at(0).inputs["text"].keep.sum())
    assert left[0].metrics["kept"] == left[0].units / 2


def test_the_gradient_is_divided_once_by_the_global_count() -> None:
    job = training(Ragged(), total=1)
    before = [p.detach().clone() for p in job.learner.parameters()]
    loss = job.learner(views(batch_at(0), job.config, None), "model")  # type: ignore[arg-type]
    gradients = torch.autograd.grad(loss.total / loss.count, list(job.learner.parameters()))
    expected = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    (item,) = steps(job, batch_at, MACHINE)
    assert math.isclose(item.grad_norm, expected, rel_tol=1e-5)
    assert any(not torch.equal(a, b) for a, b in zip(before, job.learner.parameters(), strict=True))


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted() -> None:
    def sick(step: int) -> Batch:
        batch = batch_at(step)
        if step == 2:
            batch.inputs["text"].values[0, 0, 0] = math.inf
        return batch

    job = training(Ragged())
    seen = []
    for item in steps(job, sick, MACHINE):
        seen.append((item.skipped, weights(job)))
    assert [skipped for skipped, _ in seen] == [False, False, True, False, False, False]
    assert torch.equal(seen[1][1], seen[2][1]) and not torch.equal(seen[2][1], seen[3][1])
    assert job.skipped == [2]


def test_a_step_that_is_not_finite_leaves_batch_statistics_alone() -> None:
    def sick(step: int) -> Batch:
        batch = batch_at(step)
        batch.inputs["text"].values[0, 0, 0] = math.inf if step == 2 else 0.5
        return batch

    job = training(Normed())
    seen = [
        (item.skipped, {name: value.clone() for name, value in job.learner.state_dict().items()})
        for item in steps(job, sick, MACHINE)
    ]
    assert [skipped for skipped, _ in seen] == [False, False, True, False, False, False]
    assert all(value.isfinite().all() for _, state in seen for value in state.values())
    assert all(torch.equal(seen[1][1][name], value) for name, value in seen[2][1].items())
    assert not torch.equal(seen[2][1]["norm.running_mean"], seen[3][1]["norm.running_mean"])


def test_frozen_batch_statistics_stay_bit_equal_when_scoring_comes_between() -> None:
    learner = Normed()
    job = replace(training(learner), freeze=("norm",), frozen=frozenset({"norm.weight", "norm.bias"}))
    before = {name: value.clone() for name, value in learner.norm.state_dict().items()}
    for _ in steps(job, batch_at, MACHINE):
        evaluate(job, [batch_at(9)], MACHINE)
        assert learner.training and not learner.norm.training
    assert all(torch.equal(before[name], value) for name, value in learner.norm.state_dict().items())


def test_batch_norm_in_training_couples_examples_and_frozen_does_not() -> None:
    with pytest.raises(UsageError, match=r"micro_batch = 3 with Normed: batch norm couples .*") as caught:
        list(steps(training(Normed(), micro_batch=3), batch_at, MACHINE))
    assert "--trunk without it" in str(caught.value.fix)
    frozen = replace(
        training(Normed(), micro_batch=3), freeze=("norm",), frozen=frozenset({"norm.weight", "norm.bias"})
    )
    assert len(list(steps(frozen, batch_at, MACHINE))) == 6


@pytest.mark.parametrize(("learner", "why"), [(Normed(), "batch norm couples"), (Ragged(), "its loss couples")])
def test_one_example_is_no_batch_for_what_couples_examples(learner: Learner, why: str) -> None:
    learner.couples = isinstance(learner, Ragged) and not isinstance(learner, Normed)
    with pytest.raises(UsageError, match=f"A batch of one example with .*: {why}") as caught:
        list(steps(training(learner), lambda step: next(batch_at(step).split(1)), MACHINE))
    assert "batch_size to 2" in str(caught.value.fix)


def test_training_stops_when_too_many_steps_are_not_finite() -> None:
    def sick(step: int) -> Batch:
        batch = batch_at(step)
        batch.inputs["text"].values[:] = math.nan
        return batch

    job = training(Ragged(), total=40)
    with pytest.raises(TrainingError, match=r"stopped at step 3: .*not finite in steps 1, 2, 3") as caught:
        list(steps(job, sick, MACHINE))
    assert "0000000000000007" in str(caught.value) and "Lower it" in str(caught.value)


def test_a_batch_without_units_is_no_step_and_no_fault() -> None:
    def empty(step: int) -> Batch:
        batch = batch_at(step)
        batch.inputs["text"].keep[:] = False
        return batch

    job = training(Ragged(), total=2)
    before = weights(job)
    items = list(steps(job, empty, MACHINE))
    assert [item.skipped for item in items] == [False, False] and math.isnan(items[0].losses["model"])
    assert torch.equal(before, weights(job))


def test_each_player_asks_only_for_its_own_gradients() -> None:
    learner = Two()
    items = list(steps(training(learner, total=2), batch_at, MACHINE))
    assert learner.seen == [("left", True, False), ("right", False, True)] * 2
    assert set(items[0].losses) == {"left", "right"}


def test_a_coupled_learner_refuses_to_split_its_batch() -> None:
    learner = Ragged()
    learner.couples = True
    with pytest.raises(UsageError, match=r"micro_batch = 3 with Ragged"):
        list(steps(training(learner, micro_batch=3), batch_at, MACHINE))
    assert len(list(steps(training(learner, micro_batch=8), batch_at, MACHINE))) == 6


def test_frozen_parameters_stay_bit_equal() -> None:
    learner = Ragged()
    job = training(learner)
    job = replace(job, freeze=("linear.bias",), frozen=frozenset({"linear.bias"}))
    before = learner.linear.bias.detach().clone()
    list(steps(job, batch_at, MACHINE))
    assert torch.equal(before, learner.linear.bias)


def test_evaluation_adds_up_before_it_divides() -> None:
    job = training(Ragged())
    sums = Sums()
    for step in range(3):
        sums.add(job.learner(views(batch_at(step), job.config, None), "model"))  # type: ignore[arg-type]
    score = evaluate(job, [batch_at(step) for step in range(3)], MACHINE)
    assert math.isclose(score.loss, sums.total / sums.count, rel_tol=1e-6)
    assert score.chance is None and job.learner.training


def test_a_shortened_horizon_goes_on_where_it_stood_and_ends_at_one() -> None:
    horizon = Horizon(((0, 100),))
    shorter = horizon.shortened(25, 75)
    assert shorter.progress(10) == horizon.progress(10) and shorter.progress(25) == pytest.approx(0.25)
    assert shorter.progress(50) == pytest.approx(0.625) and shorter.progress(75) == pytest.approx(1.0)
    assert [shorter.known(step) for step in (0, 24, 25, 74)] == [100, 100, 75, 75]
    again = shorter.shortened(50, 60)
    assert again.progress(50) == pytest.approx(0.625) and again.progress(60) == pytest.approx(1.0)
    assert again.total == 60
