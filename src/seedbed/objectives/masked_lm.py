"""Predict hidden tokens from both sides: encoders of text."""

from __future__ import annotations

import math
from typing import Annotated, final

import torch
from pydantic import Field
from torch import nn

from seedbed.core.settings import Section
from seedbed.core.tokens import MASK, NUM_SPECIAL
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Setup, Views
from seedbed.models.encoder import encoder_of
from seedbed.models.losses import token_cross_entropy

SETUP = Setup(
    modalities=("text",),
    trunks=("transformer", "bilstm", "bigru", "conv1d"),
    tokenizer="bpe",
    items="chunks",
    seq_len=128,
    batch_size=64,
    optimizer="muon",
    lr=3e-3,
    weight_decay=0.1,
)

Rate = Annotated[float, Field(gt=0.0, lt=1.0)]


class Config(Section):
    """How much is hidden."""

    rate_start: Rate = Field(0.30, description="share of tokens hidden at the first step")
    rate_end: Rate = Field(0.15, description="share at the last step, and whenever scoring; in between a line")


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """Hide tokens: 80 % become MASK, 10 % a random token, 10 % stay."""
    tokens_BN, keep_BN = batch.inputs["text"]
    start, end = config.rate_start, config.rate_end
    rate = start + (end - start) * at.progress if at.training else end
    num_places = tokens_BN.shape[1]
    hidden_BN = (at.keys.uniform("hidden", num_places) < rate) & keep_BN
    how_BN = at.keys.uniform("how", num_places)
    num_words = at.facts.vocab_size - NUM_SPECIAL
    random_BN = (at.keys.uniform("word", num_places).double() * num_words).long() + NUM_SPECIAL
    shown_BN = torch.where(hidden_BN & (how_BN < 0.8), MASK, tokens_BN)
    shown_BN = torch.where(hidden_BN & (how_BN >= 0.9), random_BN, shown_BN)
    return {"inputs_BN": shown_BN, "targets_BN": tokens_BN, "hidden_BN": hidden_BN, "keep_BN": keep_BN}


@final
class MaskedLM(Learner):
    """Masked-token prediction with a tied head; logits are computed at hidden positions only.

    Units: hidden tokens.
    Chance: the entropy of the counted token frequencies.
    Source: Devlin et al. 2019, BERT, section 3.1.
    """

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.encoders = encoders
        counts_V = torch.tensor(facts.token_counts, dtype=torch.float64)
        self._entropy = float(torch.special.entr(counts_V / counts_V.sum()).sum())

    def forward(self, views: Views, player: str) -> Loss:
        hidden_BN = views["hidden_BN"]
        encoder = encoder_of(self.encoders, "text")
        states_ND = encoder.at(views["inputs_BN"], views["keep_BN"], hidden_BN)
        total = token_cross_entropy(states_ND, encoder.table().weight, views["targets_BN"][hidden_BN])
        return Loss(total, hidden_BN.sum(), {})

    def zero_head_(self, player: str) -> None:
        nn.init.zeros_(encoder_of(self.encoders, "text").table().weight)

    def at_zero(self, views: Views, player: str) -> float:
        return math.log(encoder_of(self.encoders, "text").table().num_embeddings)

    def chance(self, views: Views, player: str) -> float:
        return self._entropy
