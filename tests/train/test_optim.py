"""Optimisers: who gets what, bit-exact continuation, the schedule, clipping, averages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Muon, RMSprop

from seedbed.core.errors import UsageError
from seedbed.train.checkpoint import pack, unpack_
from seedbed.train.optim import (
    OPTIMIZERS,
    Ema,
    Stepping,
    clip_,
    eval_frozen_,
    frozen_names,
    kinds,
    make_optimizers,
    param_groups,
)
from seedbed.train.row_adagrad import RowAdagrad
from tests.train.toys import Rig, Toy, batch_at, same_bits


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def held(learner: Toy, optimizer: torch.optim.Optimizer) -> list[str]:
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]


def loss_of(rig: Rig) -> float:
    with torch.no_grad():
        return float(rig.learner(batch_at(0), "model").total)


def test_every_parameter_has_the_kind_it_should() -> None:
    tied, sparse = kinds(Toy()), kinds(Toy(sparse=True))
    assert tied["encoders.text.stem.embedding.weight"] == "plain"
    assert "head.weight" not in tied  # tied: it is the table
    assert sparse["encoders.text.stem.embedding.weight"] == "sparse"
    assert sparse["head.weight"] == "matrix"
    assert [name for name, kind in tied.items() if kind == "hidden"] == [
        f"encoders.text.trunk.{block}.{layer}.weight" for block in (0, 1) for layer in ("up", "down")
    ]
    assert all(tied[name] == "plain" for name in tied if "norm" in name or name.endswith("bias") or "position" in name)
    assert len(tied) == 14 and len(sparse) == 15


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_share_out_each_parameter_once(name: str, sparse: bool) -> None:
    learner = Toy(sparse=sparse)
    optimizers = make_optimizers(learner, "model", Stepping(name, 0.01, 0.1))
    shared_out = [parameter for optimizer in optimizers for parameter in held(learner, optimizer)]
    assert sorted(shared_out) == sorted(parameter for parameter, _ in learner.named_parameters())
    dense: dict[str, list[type]] = {"adamw": [AdamW], "adam": [Adam], "muon": [Muon, AdamW], "adagrad": [Adagrad]}
    dense |= {"rmsprop": [RMSprop], "sgd": [SGD]}
    tables = [SGD if name == "sgd" else RowAdagrad] if sparse else []
    assert len(dense) == len(OPTIMIZERS) and [type(optimizer) for optimizer in optimizers] == dense[name] + tables
    assert all(group["lr"] == 0.01 for optimizer in optimizers for group in optimizer.param_groups)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_only_matrices_decay(name: str) -> None:
    learner = Toy(sparse=True)
    before = {key: value.detach().clone() for key, value in learner.named_parameters()}
    for parameter in learner.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in make_optimizers(learner, "model", Stepping(name, 0.01, 0.1)):
        optimizer.step()
    kind_of = kinds(learner)
    decayed = 0
    for key, value in learner.named_parameters():
        if kind_of[key] in ("hidden", "matrix"):
            torch.testing.assert_close(value, before[key] * (1 - 0.01 * 0.1), rtol=0, atol=1e-7)
            decayed += 1
        else:
            assert torch.equal(value, before[key]), key
    assert decayed == 5


def test_muon_moves_matrices_as_far_as_adamw_would() -> None:
    """One learning rate serves both: the update of a matrix has a root mean square of about 0.2 lr."""
    learner = Toy(width=64)
    before = {key: value.detach().clone() for key, value in learner.named_parameters()}
    for parameter in learner.parameters():
        parameter.grad = torch.randn_like(parameter)
    for optimizer in make_optimizers(learner, "model", Stepping("muon", 0.01)):
        optimizer.step()
    for key, value in learner.named_parameters():
        if kinds(learner)[key] == "hidden":
            moved = float((value - before[key]).detach().pow(2).mean().sqrt()) / 0.01
            assert 0.14 < moved < 0.24, (key, moved)


@pytest.mark.parametrize("name,sparse", [*((name, False) for name in OPTIMIZERS), ("muon", True), ("sgd", True)])
def test_training_goes_on_bit_for_bit_after_packing(name: str, sparse: bool) -> None:
    straight = Rig(name, sparse=sparse)
    straight.train(0, 12)
    first = Rig(name, sparse=sparse)
    first.train(0, 7)
    tensors, scalars = pack(first.learner, first.optimizers, first.ema)
    tensors = {key: value.detach().clone() for key, value in tensors.items()}
    second = Rig(name, sparse=sparse)
    second.train(90, 93)  # other weights and states, which must all go
    unpack_(tensors, scalars, second.learner, second.optimizers, second.ema)
    second.train(7, 12)
    assert same_bits(
        pack(second.learner, second.optimizers, second.ema)[0],
        pack(straight.learner, straight.optimizers, straight.ema)[0],
    )
    assert loss_of(second) == loss_of(straight)


def test_a_forgotten_state_would_show() -> None:
    """The planted fault of the test above: without the optimiser's state the bits differ."""
    straight, second = Rig("adamw"), Rig("adamw")
    straight.train(0, 3)
    second.learner.load_state_dict(straight.learner.state_dict())
    for rig in (straight, second):
        rig.train(3, 5)
    assert not same_bits(dict(second.learner.state_dict()), dict(straight.learner.state_dict()))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(name: str, sparse: bool) -> None:
    rig = Rig(name, sparse=sparse, ema=False)
    before = loss_of(rig)
    rig.train(0, 60)
    assert loss_of(rig) < 0.7 * before


def test_training_twice_gives_the_same_bits() -> None:
    runs = []
    for _ in range(2):
        rig = Rig("adamw", sparse=True, width=64)
        rig.train(0, 10)
        runs.append({key: value.clone() for key, value in rig.learner.state_dict().items()})
    assert same_bits(*runs)


def test_freezing() -> None:
    learner = Toy()
    layers = ("norm.weight", "norm.bias", "up.weight", "down.weight", "down.bias")
    assert frozen_names(learner, [r"trunk\.0\."]) == {f"encoders.text.trunk.0.{layer}" for layer in layers}
    groups = param_groups(learner, "model", ["encoders"])
    assert [len(groups[kind]) for kind in ("sparse", "hidden", "matrix", "plain")] == [0, 0, 0, 2]
    learner.train()
    eval_frozen_(learner, ["^norm", r"trunk\.1"])
    assert not learner.norm.training and not learner.coupled
    trunk = {name: module.training for name, module in learner.named_modules() if re.search(r"trunk\.\d$", name)}
    assert trunk == {"encoders.text.trunk.0": True, "encoders.text.trunk.1": False}
    assert learner.training and learner.encoders["text"].training


def test_a_pattern_must_match_something() -> None:
    with pytest.raises(UsageError, match="matches no parameter") as caught:
        frozen_names(Toy(), ["encoders.text.trunk.0.up.wieght"])
    assert caught.value.cause == 'Did you mean "encoders.text.trunk.0.up.weight"?'
    with pytest.raises(UsageError, match="no regular expression"):
        frozen_names(Toy(), ["encoders.*["])
    with pytest.raises(UsageError, match="Nothing is left to train"):
        make_optimizers(Toy(), "model", Stepping("adamw", 0.1), ["."])
    with pytest.raises(UsageError, match="no optimizer") as caught:
        make_optimizers(Toy(), "model", Stepping("adamax", 0.1))
    assert "adam" in caught.value.cause


def graded(*, sparse: bool) -> Toy:
    learner = Toy(sparse=sparse)
    views = batch_at(0)
    views["tokens_BN"][:, :4] = 3  # one row of the table is used sixteen times
    learner(views, "model").total.backward()
    return learner


def table_of(learner: Toy) -> nn.Parameter:
    return dict(learner.named_parameters())["encoders.text.stem.embedding.weight"]


def norm_of(grads: list[torch.Tensor]) -> float:
    return float(torch.cat([grad.flatten() for grad in grads]).norm())


def test_clipping_counts_sparse_gradients_as_dense_ones() -> None:
    learner = graded(sparse=True)
    table = table_of(learner)
    assert table.grad is not None and table.grad.is_sparse
    grads = [p.grad.to_dense() if p.grad.is_sparse else p.grad for p in learner.parameters() if p.grad is not None]
    expected = norm_of(grads)
    assert norm_of([table.grad._values()]) != pytest.approx(norm_of([table.grad.to_dense()]), rel=0.01)
    assert clip_([table], 0.0) == pytest.approx(norm_of([table.grad.to_dense()]), rel=1e-5)
    assert clip_(learner.parameters(), 0.0) == pytest.approx(expected, rel=1e-5)
    assert clip_(learner.parameters(), 2 * expected) == pytest.approx(expected, rel=1e-5)
    assert clip_(learner.parameters(), expected / 4) == pytest.approx(expected, rel=1e-5)
    assert clip_(learner.parameters(), 0.0) == pytest.approx(expected / 4, rel=1e-5)
    assert table.grad.is_sparse


def test_clipping_leaves_what_is_not_finite_and_what_has_no_gradient() -> None:
    learner = graded(sparse=False)
    assert clip_([nn.Parameter(torch.ones(2))], 1.0) == 0.0
    assert learner.norm.weight.grad is not None
    learner.norm.weight.grad[0] = float("nan")
    kept = learner.norm.weight.grad.clone()
    assert math.isnan(clip_(learner.parameters(), 1.0))
    assert torch.equal(learner.norm.weight.grad[1:], kept[1:])
    learner.norm.weight.grad[0] = float("inf")
    assert math.isinf(clip_(learner.parameters(), 1.0))
    assert torch.equal(learner.norm.weight.grad[1:], kept[1:])


def test_ema_follows_its_formula() -> None:
    learner = Toy().bfloat16()
    ema = Ema(learner, 0.5)
    expected = learner.head.weight.detach().float()
    for update in range(12):
        with torch.no_grad():
            learner.head.weight.add_(0.25)
        ema.update(update)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * learner.head.weight.detach().float()
    table = ema.averages["encoders.text.stem.embedding.weight"]
    assert table.dtype == torch.float32
    torch.testing.assert_close(table, expected)
    assert "norm.running_mean" in ema.averages and "norm.num_batches_tracked" not in ema.averages


def test_ema_swaps_in_and_out() -> None:
    rig = Rig("adamw")
    rig.train(0, 5)
    assert rig.ema is not None
    own = {key: value.clone() for key, value in rig.learner.state_dict().items()}
    with pytest.raises(RuntimeError, match="inside"), rig.ema.swapped():
        assert torch.equal(rig.learner.norm.running_mean, rig.ema.averages["norm.running_mean"])  # type: ignore[arg-type]
        assert not torch.equal(rig.learner.head.weight, own["head.weight"])
        raise RuntimeError("inside")
    assert same_bits(dict(rig.learner.state_dict()), own)
    rig.ema.copy_()
    assert torch.equal(rig.learner.head.weight, rig.ema.averages["encoders.text.stem.embedding.weight"])


def test_ema_loads_what_it_saved() -> None:
    rig, other = Rig("adamw"), Rig("adamw")
    rig.train(0, 5)
    assert rig.ema is not None and other.ema is not None
    other.ema.load_state_dict({key: value.clone() for key, value in rig.ema.state_dict().items()})
    assert same_bits(rig.ema.state_dict(), other.ema.state_dict())
