"""Small learners for the tests of training: no data, no text, a batch is drawn from the step number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seedbed.core.types import Learner, Loss, Views
from seedbed.train.optim import Ema, Stepping, clip_, make_optimizers


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width)

    def forward(self, states_BND: Tensor) -> Tensor:
        hidden: Tensor = self.down(nn.functional.gelu(self.up(self.norm(states_BND))))
        return states_BND + hidden


class Stem(nn.Module):
    def __init__(self, vocab_size: int, width: int, sparse: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width, sparse=sparse)
        self.position = nn.Parameter(torch.zeros(1, 8, width))

    def forward(self, tokens_BN: Tensor) -> Tensor:
        states_BND: Tensor = self.embedding(tokens_BN) + self.position
        return states_BND


class ToyEncoder(nn.Module):
    def __init__(self, vocab_size: int, width: int, sparse: bool) -> None:
        super().__init__()
        self.stem = Stem(vocab_size, width, sparse)
        self.trunk = nn.Sequential(Block(width), Block(width))

    def forward(self, tokens_BN: Tensor) -> Tensor:
        states_BND: Tensor = self.trunk(self.stem(tokens_BN))
        return states_BND


class Toy(Learner):
    """Predict the token at each place, with a head that is tied unless the table is sparse."""

    def __init__(self, *, sparse: bool = False, width: int = 16, vocab_size: int = 30) -> None:
        super().__init__()
        encoder = ToyEncoder(vocab_size, width, sparse)
        self.encoders = nn.ModuleDict({"text": encoder})
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, vocab_size, bias=False)
        if not sparse:
            self.head.weight = encoder.stem.embedding.weight

    def forward(self, views: Views, player: str) -> Loss:
        states_BND = self.encoders["text"](views["tokens_BN"])
        states_BND = self.norm(states_BND.transpose(1, 2)).transpose(1, 2)
        logits_BNV = self.head(states_BND)
        total = nn.functional.cross_entropy(logits_BNV.flatten(0, 1), views["targets_BN"].flatten(), reduction="sum")
        return Loss(total, torch.tensor(views["tokens_BN"].numel()), {})


def batch_at(step: int) -> Views:
    generator = torch.Generator().manual_seed(step)
    tokens_BN = torch.randint(0, 20, (4, 8), generator=generator)
    return {"tokens_BN": tokens_BN, "targets_BN": (tokens_BN + 1) % 30}


class Rig:
    """A learner with its optimisers and moving average, always built the same."""

    def __init__(self, name: str, *, sparse: bool = False, ema: bool = True, width: int = 16) -> None:
        torch.manual_seed(1)
        self.learner = Toy(sparse=sparse, width=width)
        how = Stepping(name, 0.01, 0.1)
        self.optimizers: dict[str, list[Optimizer]] = {"model": make_optimizers(self.learner, "model", how)}
        self.ema = Ema(self.learner, 0.9) if ema else None

    def train(self, first: int, last: int, watch: Callable[[int], None] | None = None) -> None:
        for step in range(first, last):
            loss = self.learner(batch_at(step), "model")
            (loss.total / loss.count).backward()
            clip_(self.learner.parameters(), 1.0)
            for optimizer in self.optimizers["model"]:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            if self.ema is not None:
                self.ema.update(step)
            if watch is not None:
                watch(step)


def same_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    def raw(value: Tensor) -> Tensor:
        return value.detach().contiguous().reshape(-1).view(torch.uint8)

    return left.keys() == right.keys() and all(
        left[name].shape == right[name].shape
        and left[name].dtype == right[name].dtype
        and torch.equal(raw(left[name]), raw(right[name]))
        for name in left
    )
