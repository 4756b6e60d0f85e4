"""Optimisers, clipping and moving averages of a learner's parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seedbed.core.errors import UsageError, nearest
from seedbed.core.types import Learner, Setup
from seedbed.train.row_adagrad import RowAdagrad

OPTIMIZERS = ("adamw", "adam", "muon", "adagrad", "rmsprop", "sgd")
# Those whose decay is taken apart from the gradient, which is what a learner's own weight decay is meant for.
DECOUPLED = ("adamw", "muon")
BETAS = (0.9, 0.99)
# A step of the others is about as long as the rate, whatever the gradient; that of SGD is the gradient itself.
SGD_RATE = 100.0

# What a parameter is to an optimiser.
SPARSE, HIDDEN, MATRIX, PLAIN = "sparse", "hidden", "matrix", "plain"

_MATRIX_MODULES = (nn.Linear, nn.modules.conv._ConvNd)
_IN_TRUNK = re.compile(r"encoders\.[^.]+\.trunk\.")
_LAYER = re.compile(r"trunk\.(?:[^.]+\.)*?(\d+)\.")

Group = dict[str, Any]


def frozen_names(learner: Learner, patterns: Iterable[str]) -> frozenset[str]:
    """Names of the parameters in which one of the regular expressions is found.

    Raises:
        UsageError: a pattern matches nothing, or is no regular expression.
    """
    names = [name for name, _ in learner.named_parameters()]
    frozen: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if _regex(pattern).search(name)}
        if not matched:
            modules = sorted({name.rpartition(".")[0] or name for name in names})
            raise UsageError(
                f'The freeze pattern "{pattern}" matches no parameter.',
                found=f"Parameters are in: {', '.join(modules[:12])}{', ...' if len(modules) > 12 else ''}.",
                cause=nearest(pattern, names),
                fix="Correct the pattern; it is a regular expression searched in the full name.",
            )
        frozen |= matched
    return frozenset(frozen)


def _regex(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f'The freeze pattern "{pattern}" is no regular expression.',
            found=str(error),
            fix=f'Escape its special characters, for example "{re.escape(pattern)}".',
        ) from error


def eval_frozen_(learner: Learner, freeze: Iterable[str]) -> None:
    """Put modules whose parameters are all frozen into evaluation mode: batch statistics move without gradients too.

    Args:
        learner: changed in place; call it after `learner.train()`.
        freeze: patterns of names that do not train.
    """
    frozen = frozen_names(learner, freeze)
    still = {id(parameter) for name, parameter in learner.named_parameters() if name in frozen}
    for module in learner.modules():
        own = list(module.parameters())
        if own and all(id(parameter) in still for parameter in own):
            module.eval()


def kinds(learner: Learner) -> dict[str, str]:
    """Parameter name -> "sparse", "hidden", "matrix" or "plain".

    sparse: a table whose gradient is sparse. hidden: a 2-D weight inside a trunk. matrix: any other weight of a linear
    or convolution layer. plain: embeddings, positions, norms and biases, which never decay.
    """
    tables: dict[int, str] = {}
    weights: set[int] = set()
    for module in learner.modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            tables[id(module.weight)] = SPARSE if module.sparse else PLAIN
        elif isinstance(module, _MATRIX_MODULES):
            weights.add(id(module.weight))
    found = {}
    for name, parameter in learner.named_parameters():
        if id(parameter) in tables:
            found[name] = tables[id(parameter)]
        elif parameter.ndim == 2 and _IN_TRUNK.match(name):
            found[name] = HIDDEN
        else:
            found[name] = MATRIX if id(parameter) in weights else PLAIN
    return found


def param_groups(learner: Learner, player: str, freeze: Iterable[str] = ()) -> dict[str, list[nn.Parameter]]:
    """A player's parameters that train, by kind, in the learner's order.

    Raises:
        UsageError: a pattern matches nothing, or nothing is left to train.
    """
    own = {id(parameter) for parameter in learner.parameters_of(player)}
    frozen, kind_of = frozen_names(learner, freeze), kinds(learner)
    groups: dict[str, list[nn.Parameter]] = {SPARSE: [], HIDDEN: [], MATRIX: [], PLAIN: []}
    for name, parameter in learner.named_parameters():
        if id(parameter) in own and name not in frozen:
            groups[kind_of[name]].append(parameter)
    if not any(groups.values()):
        raise UsageError(
            f'Nothing is left to train for "{player}".',
            found=f"{len(own)} parameters, {len(frozen)} frozen by {list(freeze)}",
            fix="Take a pattern out of `freeze`.",
        )
    return groups


@dataclass(frozen=True)
class Stepping:
    """How the parameters of a player step.

    Attributes:
        name: one of OPTIMIZERS.
        lr: peak learning rate of the head, and of everything where layers do not differ.
        weight_decay: on matrices only.
        momentum, nesterov: of "sgd".
        layer_decay: factor of the learning rate from each layer to the one below it; 1: all alike.
    """

    name: str
    lr: float
    weight_decay: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    layer_decay: float = 1.0


def usual(name: str, setup: Setup) -> tuple[float, float]:
    """Learning rate and weight decay to start from: the learner's own, changed where they were meant for another."""
    lr = setup.lr * SGD_RATE if name == "sgd" and setup.optimizer != "sgd" else setup.lr
    return lr, setup.weight_decay if name in (setup.optimizer, *DECOUPLED) else 0.0


def make_optimizers(learner: Learner, player: str, how: Stepping, freeze: Iterable[str] = ()) -> list[Optimizer]:
    """The optimisers of one player; together they hold each of its trainable parameters once.

    "adamw" is AdamW. "muon" is Muon on the 2-D weights inside the trunk and AdamW for the rest, with one learning rate
    because Muon's update is scaled to AdamW's size. "adam", "adagrad", "rmsprop" and "sgd" add the decay to the
    gradient, as they were published. Tables with sparse gradients are row-wise Adagrad's under every name but "sgd",
    and never decay.

    Args:
        learner: whose parameters.
        player: which of its players.
        how: name and numbers.
        freeze: patterns of names that do not train.

    Raises:
        UsageError: an unknown name, a pattern that matches nothing, or nothing to train.

    Source: Loshchilov and Hutter 2019 (AdamW); Kingma and Ba 2015 (Adam); Jordan 2024 (Muon); Liu et al. 2025,
        arXiv:2502.16982 (one learning rate for both); Duchi et al. 2011 (Adagrad); Tieleman and Hinton 2012 (RMSprop);
        Sutskever et al. 2013 (momentum).
    """
    if how.name not in OPTIMIZERS:
        raise UsageError(
            f'There is no optimizer "{how.name}".',
            cause=nearest(how.name, OPTIMIZERS),
            fix=f"One of: {', '.join(OPTIMIZERS)}.",
        )
    groups = param_groups(learner, player, freeze)
    sparse, hidden = groups[SPARSE], groups[HIDDEN]
    matrices, plain = groups[MATRIX], groups[PLAIN]
    if how.name != "muon":
        matrices, hidden = hidden + matrices, []
    share = lr_shares(learner, how.layer_decay)
    optimizers: list[Optimizer] = []
    if hidden:
        made = _by_rate(hidden, share, how.lr, how.weight_decay)
        optimizers.append(torch.optim.Muon(made, how.lr, how.weight_decay, adjust_lr_fn="match_rms_adamw"))
    dense = _by_rate(matrices, share, how.lr, how.weight_decay) + _by_rate(plain, share, how.lr, 0.0)
    if dense:
        optimizers.append(_dense(how, dense))
    if sparse and how.name == "sgd":
        optimizers.append(torch.optim.SGD(_by_rate(sparse, share, how.lr, 0.0), how.lr))
    elif sparse:
        # Gradients are sparse tensors of checked parts; without this torch warns that it does not check them again.
        torch.sparse.check_sparse_tensor_invariants.disable()
        optimizers.append(RowAdagrad(_by_rate(sparse, share, how.lr), how.lr))
    return optimizers


def _dense(how: Stepping, groups: list[Group]) -> Optimizer:
    # The fused forms are one pass over memory: ten times faster than the loops on a CPU. RMSprop has none.
    match how.name:
        case "adam":
            return torch.optim.Adam(groups, how.lr, BETAS, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(groups, how.lr, foreach=True)
        case "sgd":
            return torch.optim.SGD(groups, how.lr, how.momentum, nesterov=how.nesterov, fused=True)
        case "adagrad":
            return torch.optim.Adagrad(groups, how.lr, fused=True)
    return torch.optim.AdamW(groups, how.lr, BETAS, fused=True)


def _by_rate(
    parameters: Iterable[nn.Parameter], share: Mapping[int, float], lr: float, weight_decay: float | None = None
) -> list[Group]:
    """Groups of parameters with the same learning rate, in the order in which each rate first occurs."""
    found: dict[float, Group] = {}
    for parameter in parameters:
        rate = lr * share[id(parameter)]
        group = found.setdefault(rate, {"params": [], "lr": rate})
        group["params"].append(parameter)
    return [group if weight_decay is None else {**group, "weight_decay": weight_decay} for group in found.values()]


def lr_shares(learner: Learner, layer_decay: float) -> dict[int, float]:
    """By the parameter's id its share of the learning rate: 1 for heads, less by a factor for each layer below them.

    Layers of an encoder are told by the first number in the name of a trunk's parameter; what comes before the first
    of them (the stem) is the lowest, what comes after the last (a final norm) belongs to the topmost.

    Source: Howard and Ruder 2018, ULMFiT, section 3.2 (rates by layer); Bao et al. 2022, BEiT, appendix (one factor).
    """
    shares = {id(parameter): 1.0 for parameter in learner.parameters()}
    for encoder in learner.encoders.values():
        layer_of: dict[int, int] = {}
        seen: list[str] = []
        for name, parameter in encoder.named_parameters():
            number = _LAYER.match(name)
            if number and number[1] not in seen:
                seen.append(number[1])
            layer_of[id(parameter)] = seen.index(number[1]) + 1 if number else len(seen)
        for key, layer in layer_of.items():
            shares[key] = layer_decay ** (len(seen) + 1 - layer)
    return shares


def clip_(parameters: Iterable[Tensor], norm: float) -> float:
    """Scale all gradients together so that their norm is at most `norm`.

    Gradients are left alone when `norm` is 0, and when their norm is not finite: the caller skips that step. Sparse
    gradients are merged first (the norm of unmerged ones is wrong), which their optimiser would do anyway.

    Returns:
        The norm before clipping.
    """
    values: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values.append(parameter.grad.values())
        else:
            values.append(parameter.grad)
    if not values:
        return 0.0
    total = float(nn.utils.get_total_norm(values))
    if 0.0 < norm < total < float("inf"):
        for value in values:
            value.mul_(norm / total)
    return total


class Ema:
    """A moving average of a learner's floating parameters and buffers, kept in float32.

    Args:
        learner: what is averaged.
        decay: weight of the past once warm; it starts lower, so that a short run does not remember its first weights.

    Source: the warm-up is that of TensorFlow's ExponentialMovingAverage, min(decay, (1 + n) / (10 + n)).
    """

    def __init__(self, learner: Learner, decay: float) -> None:
        self.learner, self.decay = learner, decay
        self.averages = {name: value.detach().to(torch.float32, copy=True) for name, value in self._live()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step `step`, 0 being the first."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self._live():
            self.averages[name].lerp_(value.float(), 1 - decay)

    @torch.no_grad()
    def copy_(self) -> None:
        """Give the learner the averages for good."""
        for name, value in self._live():
            value.copy_(self.averages[name])

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside, the learner holds the averages; afterwards its own values again, bit for bit."""
        own = [value.detach().clone() for _, value in self._live()]
        try:
            self.copy_()
            yield
        finally:
            with torch.no_grad():
                for (_, value), before in zip(self._live(), own, strict=True):
                    value.copy_(before)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by name; with the step they are the whole state."""
        return dict(self.averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the saved averages of the same learner."""
        for name, average in self.averages.items():
            average.copy_(state[name])

    def _live(self) -> list[tuple[str, Tensor]]:
        named: list[tuple[str, Tensor]] = [*self.learner.named_parameters(), *self.learner.named_buffers()]
        return [(name, value) for name, value in named if value.is_floating_point()]
