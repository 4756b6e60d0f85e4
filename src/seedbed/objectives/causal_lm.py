"""Predict each token from those before it: generators, and a good start for encoders."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import nn

from seedbed.core.settings import Section
from seedbed.core.tokens import BOS
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Setup, Views
from seedbed.models.encoder import encoder_of
from seedbed.models.losses import token_cross_entropy

SETUP = Setup(
    modalities=("text",),
    trunks=("transformer", "lstm", "gru", "tcn"),
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
        inputs_BN, targets_BN, keep_BN = views["inputs_BN"], views["targets_BN"], views["keep_BN"]
        encoder = encoder_of(self.encoders, "text")
        if bool(keep_BN.all()):
            states_ND, targets_N = encoder(inputs_BN, keep_BN, causal=True).flatten(0, 1), targets_BN.flatten()
        else:
            states_ND, targets_N = encoder.at(inputs_BN, keep_BN, keep_BN, causal=True), targets_BN[keep_BN]
        return Loss(token_cross_entropy(states_ND, encoder.table().weight, targets_N), keep_BN.sum(), {})

    def zero_head_(self, player: str) -> None:
        nn.init.zeros_(encoder_of(self.encoders, "text").table().weight)

    def at_zero(self, views: Views, player: str) -> float:
        return math.log(encoder_of(self.encoders, "text").table().num_embeddings)

    def chance(self, views: Views, player: str) -> float:
        return self._entropy
