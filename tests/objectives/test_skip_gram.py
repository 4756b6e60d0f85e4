"""Skip-gram against a slow transcription: word by word, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seedbed.core.rng import keys_for
from seedbed.core.tokens import NUM_SPECIAL, PAD
from seedbed.core.types import Batch, Facts, Moment, Padded, Views
from seedbed.models.encoder import EncoderSpec, build_encoder, encoder_of
from seedbed.objectives.skip_gram import Config, SkipGram, views
from seedbed.train.optim import Stepping, make_optimizers

VOCAB_SIZE, WIDTH = 60, 8
COUNTS = tuple([0] * NUM_SPECIAL + [2000, 900, 300] + [3 + i for i in range(VOCAB_SIZE - NUM_SPECIAL - 3)])
FACTS = Facts("text", VOCAB_SIZE, COUNTS, COUNTS, 100)


def learner(config: Config) -> SkipGram:
    torch.manual_seed(0)
    spec = EncoderSpec("text", "words", "bag", "test", {"width": WIDTH})
    made = SkipGram(config, nn.ModuleDict({"text": build_encoder(spec, FACTS)}), FACTS)
    nn.init.normal_(made.output.weight)
    nn.init.normal_(encoder_of(made.encoders, "text").table().weight)
    return made


def batch(lengths: tuple[int, ...], seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    size = len(lengths)
    tokens_BN = torch.randint(1, VOCAB_SIZE, (size, max(lengths)), generator=draw)  # UNK, MASK and the like among them
    keep_BN = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    zeros_B = torch.zeros(size, dtype=torch.int64)
    padded = Padded(torch.where(keep_BN, tokens_BN, PAD), keep_BN)
    return Batch({"text": padded}, torch.arange(size) + 11, zeros_B, zeros_B, zeros_B - 1)


def views_of(made: Batch, config: Config, step: int = 2) -> Views:
    return views(made, config, Moment(keys_for(1, made, step), step, 0.5, True, FACTS))


def slow(made: SkipGram, seen: Views) -> tuple[float, float]:
    """Mikolov et al. 2013: thinning of section 2.3 (in the form of the released program), loss of equation 4."""
    config, total_count = made.config, sum(COUNTS)
    inputs, outputs = encoder_of(made.encoders, "text").table().weight.detach(), made.output.weight.detach()
    powers = [count**config.power for count in COUNTS]
    negatives = []
    for luck in seen["luck_M"].tolist():
        reached = 0.0
        for word, power in enumerate(powers):
            reached += power / sum(powers)
            if luck < reached:
                negatives.append(word)
                break
    total = pairs = 0.0
    for row in range(len(seen["tokens_BN"])):
        left = []
        for place, word in enumerate(seen["tokens_BN"][row].tolist()):
            share = COUNTS[word] / total_count
            stays = share and math.sqrt(config.frequent / share) + config.frequent / share
            if seen["keep_BN"][row, place] and seen["luck_BN"][row, place] < stays:
                left.append(word)
        for i, word in enumerate(left):
            for j, other in enumerate(left):
                distance = abs(i - j)
                if distance == 0 or distance > config.window:
                    continue
                weight = (config.window + 1 - distance) / config.window
                loss = -F.logsigmoid(inputs[word] @ outputs[other])
                for negative in negatives:
                    loss = loss - config.negatives / config.shared * F.logsigmoid(-inputs[word] @ outputs[negative])
                total += weight * float(loss)
                pairs += weight
    return total, pairs


@pytest.mark.parametrize("lengths", [(9, 4, 1, 12), (40, 70, 33), (3,)])
@pytest.mark.parametrize("window", [1, 3, 40])
def test_loss_equals_the_slow_transcription(lengths: tuple[int, ...], window: int) -> None:
    config = Config(window=window, shared=7, negatives=4.0, frequent=0.05)
    made, seen = learner(config), views_of(batch(lengths), config)
    total, pairs = slow(made, seen)
    loss = made(seen, "model")
    assert float(loss.count) == pytest.approx(pairs, rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(total, rel=1e-4)


def test_gradients_equal_those_of_the_plain_expression() -> None:
    config = Config(window=4, shared=5, frequent=0.5)
    made, seen = learner(config), views_of(batch((20, 37, 8)), config)
    table = encoder_of(made.encoders, "text").table()
    made(seen, "model").total.backward()
    assert table.weight.grad is not None and made.output.weight.grad is not None
    got = [table.weight.grad.to_dense(), made.output.weight.grad.to_dense()]
    inputs, outputs = (weight.detach().clone().requires_grad_() for weight in (table.weight, made.output.weight))
    blocks = made._blocks(*made._thin(seen))
    centres, neighbours = blocks.words_V[blocks.centres_BN], blocks.words_V[blocks.neighbours_BM]
    scores = torch.einsum("bnd,bmd->bnm", inputs[centres], outputs[neighbours])
    against = inputs[centres] @ outputs[made._negatives(seen["luck_M"])].T
    pairs_BN = blocks.weight_BNM.sum(2)
    plain = (F.softplus(-scores) * blocks.weight_BNM).sum()
    plain = plain + (F.softplus(against).sum(-1) * pairs_BN).sum() * config.negatives / config.shared
    plain.backward()
    for ours, reference in zip(got, (inputs.grad, outputs.grad), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)


def test_special_tokens_are_neither_centre_nor_context_nor_negative() -> None:
    config = Config(frequent=1.0)
    made, seen = learner(config), views_of(batch((40, 40)), config)
    kept_N, _ = made._thin(seen)
    assert int(kept_N.min()) >= NUM_SPECIAL
    assert int(made._negatives(torch.linspace(0, 1 - 2**-24, 1000)).min()) >= NUM_SPECIAL


def test_negatives_are_drawn_by_count_to_the_power() -> None:
    config = Config(shared=200_000)
    made, seen = learner(config), views_of(batch((4,)), config)
    drawn_V = torch.bincount(made._negatives(seen["luck_M"]), minlength=VOCAB_SIZE) / config.shared
    powers_V = torch.tensor(COUNTS, dtype=torch.float64) ** 0.75
    torch.testing.assert_close(drawn_V.double(), powers_V / powers_V.sum(), rtol=0, atol=4e-3)


def test_negatives_change_with_the_step_and_stay_when_scoring() -> None:
    made, config = batch((5, 5)), Config()
    assert not torch.equal(views_of(made, config, 1)["luck_M"], views_of(made, config, 2)["luck_M"])
    assert torch.equal(views_of(made, config, -1)["luck_M"], views_of(made, config, -1)["luck_M"])


def test_a_batch_that_is_thinned_out_altogether_counts_nothing() -> None:
    config = Config()
    made, seen = learner(config), views_of(batch((6, 3)), config)
    loss = made({**seen, "luck_BN": torch.ones_like(seen["luck_BN"]) * 10}, "model")
    assert float(loss.count) == 0 and float(loss.total.detach()) == 0
    loss.total.backward()


def test_chance_is_the_best_of_one_score_a_word() -> None:
    """Found again by gradient descent on the scores, with the frequencies after thinning."""
    config = Config(frequent=0.01, negatives=3.0)
    frequency_V = torch.tensor(COUNTS, dtype=torch.float64) / sum(COUNTS)
    ratio_V = 0.01 / frequency_V
    true_V = torch.where(frequency_V > 0, frequency_V * (ratio_V.sqrt() + ratio_V).clamp(max=1), 0)
    true_V = (true_V / true_V.sum())[NUM_SPECIAL:]
    false_V = (frequency_V**0.75 / (frequency_V**0.75).sum())[NUM_SPECIAL:]
    scores_V = torch.zeros_like(true_V, requires_grad=True)
    search = torch.optim.LBFGS([scores_V], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        value = (F.softplus(-scores_V) * true_V).sum() + 3 * (F.softplus(scores_V) * false_V).sum()
        value.backward()
        return value

    search.step(loss)
    assert learner(config).chance({}, "model") == pytest.approx(float(loss().detach()), abs=1e-4)


def test_words_that_stand_together_end_up_alike() -> None:
    """Two topics of ten words each, one a text: words of a topic have closer vectors."""
    config = Config(window=5, frequent=1.0, shared=32)
    counts = tuple([0] * NUM_SPECIAL + [100] * 20)
    facts = Facts("text", NUM_SPECIAL + 20, counts, counts, 200)
    spec = EncoderSpec("text", "words", "bag", "test", {"width": WIDTH})
    torch.manual_seed(0)
    made = SkipGram(config, nn.ModuleDict({"text": build_encoder(spec, facts)}), facts)
    (optimizer,) = make_optimizers(made, "model", Stepping("adagrad", 0.3))
    draw = torch.Generator().manual_seed(0)
    for step in range(60):
        topic_B1 = torch.arange(16)[:, None] % 2
        tokens_BN = torch.randint(10, (16, 12), generator=draw) + 10 * topic_B1 + NUM_SPECIAL
        zeros_B = torch.zeros(16, dtype=torch.int64)
        ids_B = torch.arange(16) + 16 * step
        texts = Batch({"text": Padded(tokens_BN, tokens_BN > 0)}, ids_B, zeros_B, zeros_B, zeros_B)
        loss = made(views(texts, config, Moment(keys_for(0, texts, step), step, 0.5, True, facts)), "model")
        (loss.total / loss.count).backward()
        optimizer.step()
        optimizer.zero_grad()
    vectors = F.normalize(encoder_of(made.encoders, "text").table().weight.detach()[NUM_SPECIAL:], dim=1)
    alike = vectors @ vectors.T
    within = (alike[:10, :10].sum() + alike[10:, 10:].sum() - 20) / 180
    assert within > alike[:10, 10:].mean() + 0.5
