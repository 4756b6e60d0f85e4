"""Predict each token from those before it: generators, and a good start for encoders."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedbed.core.settings import Section
from seedbed.core.tokens import BOS
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Setup, Views
from seedbed.models.losses import token_cross_entropy

SETUP = Setup(
    modalities=("text",),
    trunks=("transformer",),
    tokenizer="bpe",
    items="chunks",
    seq_len=256,
    batch_size=32,
    optimizer="muon",
    lr=4e-3,
    weight_decay=0.1,
)


class Config(Section):
    """No options: the loss has none."""


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """Shift a window right by one place; BOS stands before its first token, so that every token is predicted once."""
    tokens_BN, keep_BN = batch.inputs["text"]
    return {"inputs_BN": F.pad(tokens_BN[:, :-1], (1, 0), value=BOS), "targets_BN": tokens_BN, "keep_BN": keep_BN}


@final
class CausalLM(Learner):
    """Next-token prediction with the head tied to the embedding table.

    Units: tokens.
    Chance: the entropy of the counted token frequencies.
    Source: Bengio et al. 2003, A neural probabilistic language model; tied head: Press and Wolf 2017.
    """

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.encoders = encoders
        counts_V = torch.tensor(facts.token_counts, dtype=torch.float64)
        self._entropy = float(torch.special.entr(counts_V / counts_V.sum()).sum())

    def forward(self, views: Views, player: str) -> Loss:
        keep_BN = views["keep_BN"]
        encoder = self.encoders["text"]
        states_BND = encoder(views["inputs_BN"], keep_BN, causal=True)
        if not bool(keep_BN.all()):
            real = keep_BN.flatten().nonzero().squeeze(1)
            states_ND = states_BND.flatten(0, 1).index_select(0, real)
            targets_N = views["targets_BN"].flatten().index_select(0, real)
        else:
            states_ND, targets_N = states_BND.flatten(0, 1), views["targets_BN"].flatten()
        total = token_cross_entropy(states_ND, self._table(), targets_N)
        return Loss(total, keep_BN.sum(), {})

    def _table(self) -> Tensor:
        table_VD: Tensor = self.encoders["text"].stem.embedding.weight
        return table_VD

    def zero_head_(self, player: str) -> None:
        nn.init.zeros_(self._table())

    def at_zero(self, views: Views, player: str) -> float:
        return math.log(len(self._table()))

    def chance(self, views: Views, player: str) -> float:
        return self._entropy
