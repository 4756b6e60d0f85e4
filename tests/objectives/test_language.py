"""Causal and masked language models: what is shown, what is asked, and the loss of the plain expression."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from seedbed.core.find import find
from seedbed.core.rng import keys_for
from seedbed.core.tokens import BOS, MASK, NUM_SPECIAL
from seedbed.core.types import Batch, Moment, Padded
from seedbed.models.encoder import encoder_of
from seedbed.objectives import causal_lm, masked_lm
from tests.contract.subjects import FACTS, VOCAB_SIZE, Subject, scoring, text_batch

CAUSAL = Subject("objectives", find("objectives", "causal_lm"), "text", "transformer")
MASKED = Subject("objectives", find("objectives", "masked_lm"), "text", "transformer")


def long_batch(size: int = 64, length: int = 200) -> Batch:
    draw = torch.Generator().manual_seed(0)
    tokens_BN = torch.randint(NUM_SPECIAL, VOCAB_SIZE, (size, length), generator=draw)
    keep_BN = torch.arange(length) < torch.randint(length // 2, length, (size, 1), generator=draw)
    zeros_B = torch.zeros(size, dtype=torch.int64)
    return Batch({"text": Padded(tokens_BN * keep_BN, keep_BN)}, torch.arange(size) + 5, zeros_B, zeros_B, zeros_B)


def at(batch: Batch, progress: float, training: bool = True) -> Moment:
    return Moment(keys_for(3, batch, 1), 1, progress, training, FACTS["text"])


@pytest.mark.parametrize("full", [True, False])
def test_causal_loss_is_that_of_each_next_token(full: bool) -> None:
    learner, batch = CAUSAL.learner(), text_batch(0)
    tokens_BN, keep_BN = batch.inputs["text"]
    if full:
        batch = next(batch.split(1))
        tokens_BN, keep_BN = batch.inputs["text"]
        assert bool(keep_BN.all())
    encoder = encoder_of(learner.encoders, "text")
    table_VD = encoder.table().weight
    total, count = 0.0, 0
    for row, kept in zip(tokens_BN, keep_BN, strict=True):
        read = [BOS]
        for token in row[kept].tolist():
            context_1N = torch.tensor([read])
            state_D = encoder(context_1N, context_1N > 0, causal=True)[0, -1]
            total -= float(torch.log_softmax(table_VD @ state_D, dim=0)[token].detach())
            read.append(token)
            count += 1
    loss = learner(CAUSAL.views(batch), "model")
    assert int(loss.count) == count == int(keep_BN.sum())
    assert float(loss.total.detach()) == pytest.approx(total, rel=1e-4)


def test_masked_loss_is_that_of_hidden_tokens() -> None:
    learner, views = MASKED.learner(), MASKED.views(text_batch(0))
    states_BND = encoder_of(learner.encoders, "text")(views["inputs_BN"], views["keep_BN"])
    logits_BNV = states_BND @ encoder_of(learner.encoders, "text").table().weight.T
    all_BN = F.cross_entropy(logits_BNV.transpose(1, 2), views["targets_BN"], reduction="none")
    loss = learner(views, "model")
    assert int(loss.count) == int(views["hidden_BN"].sum()) > 0
    assert float(loss.total.detach()) == pytest.approx(float((all_BN * views["hidden_BN"]).sum().detach()), rel=1e-4)


@pytest.mark.parametrize(
    ("progress", "training", "rate"), [(0.0, True, 0.3), (0.5, True, 0.225), (1.0, True, 0.15), (0.0, False, 0.15)]
)
def test_share_of_hidden_tokens(progress: float, training: bool, rate: float) -> None:
    batch = long_batch()
    made = masked_lm.views(batch, masked_lm.Config(), at(batch, progress, training))
    keep_BN = batch.inputs["text"].keep
    hidden_BN = made["hidden_BN"]
    assert not bool((hidden_BN & ~keep_BN).any())
    kept = int(keep_BN.sum())
    assert int(hidden_BN.sum()) / kept == pytest.approx(rate, abs=4 * math.sqrt(rate / kept))


def test_hidden_tokens_are_masked_replaced_or_kept() -> None:
    batch = long_batch()
    made = masked_lm.views(batch, masked_lm.Config(rate_start=0.5), at(batch, 0.0))
    shown_N, true_N = made["inputs_BN"][made["hidden_BN"]], made["targets_BN"][made["hidden_BN"]]
    masked, same = (shown_N == MASK).double().mean(), (shown_N == true_N).double().mean()
    assert float(masked) == pytest.approx(0.8, abs=0.03)
    assert float(same) == pytest.approx(0.1 + 0.1 / (VOCAB_SIZE - NUM_SPECIAL), abs=0.02)
    replaced_N = shown_N[(shown_N != MASK) & (shown_N != true_N)]
    assert set(replaced_N.tolist()) == set(range(NUM_SPECIAL, VOCAB_SIZE))
    visible_BN = ~made["hidden_BN"]
    assert torch.equal(made["inputs_BN"][visible_BN], batch.inputs["text"].values[visible_BN])


def test_masks_change_with_the_epoch_and_are_frozen_when_scoring() -> None:
    batch = long_batch(4)
    later = Batch(batch.inputs, batch.ids_B, batch.epochs_B + 1, batch.starts_B, batch.labels_B)
    config = masked_lm.Config()
    first = masked_lm.views(batch, config, at(batch, 0.5))["hidden_BN"]
    assert not torch.equal(first, masked_lm.views(later, config, at(later, 0.5))["hidden_BN"])
    scored = scoring(batch)
    early, late = (masked_lm.views(scored, config, at(scored, p, False))["hidden_BN"] for p in (0.0, 1.0))
    assert torch.equal(early, late)


def test_two_windows_of_a_document_are_masked_differently() -> None:
    batch = long_batch(4)
    further = Batch(batch.inputs, batch.ids_B, batch.epochs_B, batch.starts_B + 200, batch.labels_B)
    config = masked_lm.Config()
    first, second = (masked_lm.views(b, config, at(b, 0.5))["hidden_BN"] for b in (batch, further))
    assert not torch.equal(first, second)


def test_causal_views_shift_by_one_and_begin_with_bos() -> None:
    batch = long_batch(3, 7)
    made = causal_lm.views(batch, causal_lm.Config(), at(batch, 0.0))
    assert made["inputs_BN"][:, 0].tolist() == [BOS] * 3
    assert torch.equal(made["inputs_BN"][:, 1:], batch.inputs["text"].values[:, :-1])
    assert torch.equal(made["targets_BN"], batch.inputs["text"].values)


@pytest.mark.parametrize("subject", [CAUSAL, MASKED], ids=str)
def test_chance_is_the_unigram_entropy(subject: Subject) -> None:
    """All 32 ordinary words are equally frequent in the facts of the tests."""
    assert subject.learner().chance({}, "model") == pytest.approx(math.log(VOCAB_SIZE - NUM_SPECIAL))
