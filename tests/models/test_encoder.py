"""Encoders of every trunk found: shapes, padding, causality, starts, errors."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from importlib import import_module

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from seedbed.core.errors import UsageError
from seedbed.core.tokens import NUM_SPECIAL, PAD, UNK
from seedbed.core.types import Facts
from seedbed.models import transformer
from seedbed.models.encoder import (
    Encoder,
    EncoderSpec,
    available_trunks,
    build_encoder,
    make_spec,
    num_parameters,
)
from seedbed.models.losses import token_cross_entropy
from seedbed.models.stems import Patches, TfIdf, inverse_document_frequency, patch_size
from tests.models.making import (
    BOTH_SIDES,
    FACTS,
    IMAGE,
    KINDS,
    READINGS,
    TEXT,
    TEXT_READINGS,
    make,
    table,
    values_of,
)


def test_every_trunk_is_found_and_tested() -> None:
    assert available_trunks() == [
        *("bag", "bigru", "bilstm", "conv1d", "conv2d", "gru", "lstm", "mlp", "resnet", "tcn", "transformer", "vgg")
    ]
    assert {trunk for _, trunk in KINDS} == set(available_trunks())


@pytest.mark.parametrize("size", ["nano", "micro"])
@pytest.mark.parametrize(("modality", "trunk"), KINDS)
def test_shapes_and_a_spec_that_survives_json(modality: str, trunk: str, size: str) -> None:
    encoder = make(modality, trunk, size)
    values, keep = values_of(modality)
    states_BND = encoder.eval()(values, keep)
    assert states_BND.shape[0] == 5 and states_BND.shape[2] == encoder.width
    assert encoder.pooled(values, keep).shape == (5, encoder.width)
    assert states_BND.isfinite().all() and float(states_BND.detach().std()) > 0
    spec = EncoderSpec(**json.loads(json.dumps(asdict(encoder.spec))))
    assert spec == encoder.spec
    again = build_encoder(spec, FACTS[modality]).eval()
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(values, keep), states_BND)


@pytest.mark.parametrize(("modality", "trunk"), KINDS)
def test_the_same_seed_gives_the_same_start(modality: str, trunk: str) -> None:
    torch.manual_seed(3)
    first = make(modality, trunk).state_dict()
    torch.manual_seed(3)
    assert all(torch.equal(value, first[name]) for name, value in make(modality, trunk).state_dict().items())


@pytest.mark.parametrize(("modality", "trunk", "causal"), READINGS)
def test_padding_and_neighbours_do_not_matter(modality: str, trunk: str, causal: bool) -> None:
    encoder = make(modality, trunk).eval()  # batch norm is meant to see its neighbours while training
    values, keep = values_of(modality)
    states_BND, pooled_BD = encoder(values, keep, causal), encoder.pooled(values, keep)
    for row in range(5):
        alone, alone_keep = values[row : row + 1], keep[row : row + 1]
        if modality == "text":
            alone, alone_keep = alone[:, : int(keep[row].sum())], alone_keep[:, : int(keep[row].sum())]
        alone_states = encoder(alone, alone_keep, causal)[0]
        # Other shapes are summed in another order: the transformer was seen to differ by 2.5e-6.
        torch.testing.assert_close(alone_states, states_BND[row, : len(alone_states)], atol=5e-6, rtol=1e-5)
        torch.testing.assert_close(encoder.pooled(alone, alone_keep)[0], pooled_BD[row], atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize(("trunk", "causal"), TEXT_READINGS)
def test_what_stands_under_the_padding_does_not_matter(trunk: str, causal: bool) -> None:
    encoder = make("text", trunk)
    values, keep = values_of("text")
    other = torch.where(keep, values, 7)
    torch.testing.assert_close(encoder(values, keep, causal)[keep], encoder(other, keep, causal)[keep])
    torch.testing.assert_close(encoder.pooled(values, keep), encoder.pooled(other, keep))


@pytest.mark.parametrize(("trunk", "causal"), [reading for reading in TEXT_READINGS if reading[0] != "bag"])
def test_causal_positions_see_only_the_past_and_others_see_all(trunk: str, causal: bool) -> None:
    encoder = make("text", trunk)
    values, _ = values_of("text", 2)
    keep = torch.ones_like(values, dtype=torch.bool)
    changed = values.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 35 + 5
    differs_N = (encoder(values, keep, causal) != encoder(changed, keep, causal)).any(-1).any(0)
    backwards = trunk in BOTH_SIDES or (trunk == "transformer" and not causal)
    assert differs_N[6:].all() and bool(differs_N[:6].any()) is backwards
    assert bool(differs_N[:6].all()) is backwards


@pytest.mark.parametrize("trunk", BOTH_SIDES)
def test_what_sees_both_sides_cannot_be_asked_for_the_next_word(trunk: str) -> None:
    instead = {"conv1d": "tcn", "bilstm": "lstm", "bigru": "gru"}[trunk]
    with pytest.raises(UsageError, match=f"trunk {trunk} cannot predict the next word") as caught:
        make("text", trunk)(*values_of("text"), causal=True)
    assert f"--trunk {instead}," in str(caught.value.fix)


@pytest.mark.parametrize(("trunk", "causal"), TEXT_READINGS)
def test_states_of_wanted_positions_are_the_same(trunk: str, causal: bool) -> None:
    encoder = make("text", trunk)
    values, keep = values_of("text")
    wanted_BN = (torch.rand(values.shape) < 0.3) & keep
    expected = encoder(values, keep, causal)[wanted_BN]
    found = encoder.at(values, keep, wanted_BN, causal)
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=1e-5)
    if trunk != "bag":
        parameters = list(encoder.parameters())
        expected_grads = torch.autograd.grad(expected.square().sum(), parameters)
        found_grads = torch.autograd.grad(found.square().sum(), parameters)
        torch.testing.assert_close(found_grads, expected_grads, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", ["nano", "micro"])
def test_the_first_loss_is_about_ln_v(size: str) -> None:
    facts = replace(TEXT, vocab_size=2000, document_counts=(1,) * 2000, token_counts=(1,) * 2000)
    encoder = build_encoder(make_spec("text", "transformer", size, facts), facts)
    tokens_BN = torch.randint(NUM_SPECIAL, 2000, (8, 32))
    states_BND = encoder(tokens_BN, torch.ones_like(tokens_BN, dtype=torch.bool), causal=True)
    total = token_cross_entropy(states_BND[:, :-1].flatten(0, 1), table(encoder), tokens_BN[:, 1:].flatten())
    assert float(total.detach()) / (8 * 31) == pytest.approx(math.log(2000), abs=0.15)


@pytest.mark.parametrize(("modality", "trunk"), KINDS)
def test_a_gradient_reaches_every_parameter(modality: str, trunk: str) -> None:
    encoder = make(modality, trunk)
    values, keep = values_of(modality)
    encoder.pooled(values, keep).square().mul(torch.arange(encoder.width)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        grad = parameter.grad.to_dense()
        assert grad.isfinite().all() and grad.any(), name


def test_bfloat16_autocast_is_close_to_full_precision_and_repeats_itself() -> None:
    encoder = make("text", "transformer")
    values, keep = values_of("text")

    def step() -> list[torch.Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states_BND = encoder(values, keep)
        found = [states_BND, *torch.autograd.grad(states_BND[keep].float().cos().sum(), list(encoder.parameters()))]
        return found

    first, second = step(), step()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.testing.assert_close(first[0][keep].float(), encoder(values, keep)[keep], atol=0.1, rtol=0.1)


@pytest.mark.parametrize("trunk", [trunk for modality, trunk in KINDS if modality == "text"])
def test_an_empty_text_is_finite(trunk: str) -> None:
    pooled_BD = make("text", trunk).pooled(torch.full((2, 3), PAD), torch.zeros(2, 3, dtype=torch.bool))
    assert not pooled_BD.any()


def test_positions_beyond_the_table_are_computed() -> None:
    encoder = make("text", "transformer")
    num = encoder.spec.options["context"] + 3
    tokens_BN = torch.randint(5, 40, (1, num))
    states_BND = encoder(tokens_BN, torch.ones_like(tokens_BN, dtype=torch.bool), causal=True)
    short_BND = encoder(tokens_BN[:, :9], torch.ones(1, 9, dtype=torch.bool), causal=True)
    torch.testing.assert_close(states_BND[:, :9], short_BND, atol=5e-6, rtol=1e-5)


def test_bag_pools_by_inverse_document_frequency() -> None:
    encoder = make("text", "bag")
    idf_V = inverse_document_frequency(TEXT)
    assert not idf_V[:NUM_SPECIAL].any() and (idf_V[NUM_SPECIAL:] > 0).all()
    assert float(idf_V[9]) == pytest.approx(math.log(51 / 10))
    tokens_BN, keep_BN = torch.tensor([[9, 30, UNK, PAD]]), torch.tensor([[True, True, True, False]])
    vectors = table(encoder)
    expected = (idf_V[9] * vectors[9] + idf_V[30] * vectors[30]) / (idf_V[9] + idf_V[30])
    torch.testing.assert_close(encoder.pooled(tokens_BN, keep_BN)[0], expected)
    encoder.pooled(tokens_BN, keep_BN).sum().backward()
    assert vectors.grad is not None and vectors.grad.is_sparse


@pytest.mark.parametrize(
    ("rows", "columns", "patch"),
    [(8, 8, 2), (28, 28, 4), (32, 32, 4), (64, 64, 8), (96, 96, 12), (30, 30, 5), (29, 29, 4), (1, 1, 1), (2, 2, 2)],
)
def test_patches_are_at_most_64_and_leave_no_border_where_possible(rows: int, columns: int, patch: int) -> None:
    assert patch_size(rows, columns) == patch
    assert (rows // patch) * (columns // patch) <= 64


def test_pixels_are_normalised_the_same_from_bytes_and_from_floats() -> None:
    for trunk in ("transformer", "mlp"):
        encoder = make("image", trunk)
        values, keep = values_of("image")
        torch.testing.assert_close(encoder(values, keep), encoder(values / 255, keep))
    stem = make("image", "transformer").stem
    assert isinstance(stem, Patches)
    assert float(stem.normalise(torch.full((1, 1, 8, 8), 0.4)).abs().max()) < 1e-6
    flat = replace(IMAGE, channel_std=(0.0,))
    assert build_encoder(make_spec("image", "mlp", "nano", flat), flat)(values, keep).isfinite().all()


def parameters_of(modality: str, trunk: str) -> dict[str, int]:
    """Parameters of each size of a trunk, without its stem; nothing is drawn."""
    module = import_module(f"seedbed.models.{trunk}")
    with torch.device("meta"):
        return {size: num_parameters(module.Trunk(config)) for size, config in module.SIZES[modality].items()}


# Entries of the vocabulary and million parameters with a tied table, of decoders of these shapes.
# Source: counts of Qwen3ForCausalLM at 4 x 128, 6 x 256, 8 x 384, 12 x 512 and 16 x 768.
DECODERS = {
    "nano": (4_096, 1.38),
    "micro": (8_192, 6.92),
    "mini": (16_384, 20.5),
    "small": (16_384, 46.9),
    "base": (32_768, 138.0),
}


def test_sizes_of_the_text_transformer_are_those_of_known_decoders() -> None:
    counts = parameters_of("text", "transformer")
    assert list(counts) == list(DECODERS)
    assert (counts["nano"], counts["micro"]) == (803_968, 4_672_768)
    for size, (vocab_size, millions) in DECODERS.items():
        width = transformer.SIZES["text"][size].width
        assert counts[size] + vocab_size * width == pytest.approx(millions * 1e6, rel=0.04), size


@pytest.mark.parametrize(
    ("modality", "trunk", "expected"),
    [
        # ViT-S and ViT-B without patches, positions and class token.
        ("image", "transformer", {"nano": 0.79, "micro": 4.74, "mini": 14.2, "small": 21.3, "base": 85.1}),
        ("image", "mlp", {"nano": 0.13, "micro": 0.79, "mini": 3.15, "small": 12.6, "base": 50.4}),
        # VGG-11 and VGG-16 without their fully connected layers: 9.2 and 14.7 million.
        ("image", "vgg", {"nano": 0.097, "micro": 1.13, "mini": 2.53, "small": 9.22, "base": 14.7}),
        ("image", "conv2d", {"nano": 0.092, "micro": 0.39, "mini": 0.87, "small": 1.55, "base": 6.19}),
        ("image", "resnet", {"nano": 0.30, "micro": 2.79, "mini": 6.28, "small": 11.2, "resnet34": 21.3, "base": 23.5}),
        ("text", "conv1d", {"nano": 0.53, "micro": 3.15, "mini": 9.45, "small": 25.2, "base": 75.6}),
        ("text", "tcn", {"nano": 0.53, "micro": 3.15, "mini": 9.45, "small": 25.2, "base": 75.6}),
        ("text", "lstm", {"nano": 0.13, "micro": 1.05, "mini": 3.55, "small": 6.31, "base": 18.9}),
        ("text", "gru", {"nano": 0.099, "micro": 0.79, "mini": 2.66, "small": 4.73, "base": 14.2}),
        ("text", "bilstm", {"nano": 0.099, "micro": 0.79, "mini": 2.66, "small": 4.73, "base": 14.2}),
        ("text", "bigru", {"nano": 0.074, "micro": 0.59, "mini": 2.0, "small": 3.55, "base": 10.6}),
        ("text", "bag", {"nano": 0.0, "micro": 0.0}),
    ],
)
def test_sizes(modality: str, trunk: str, expected: dict[str, float]) -> None:
    counts = parameters_of(modality, trunk)
    assert list(counts) == list(expected)
    assert {size: count / 1e6 for size, count in counts.items()} == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("modality", "trunk", "size", "facts", "says"),
    [
        ("text", "transfromer", "nano", TEXT, 'Did you mean "transformer"?'),
        ("text", "transformer", "micr", TEXT, 'Did you mean "micro"?'),
        ("image", "bag", "nano", IMAGE, "--trunk conv2d or mlp or "),
        ("text", "bag", "nano", Facts("text"), "vocabulary"),
        ("image", "mlp", "nano", Facts("image"), "size"),
    ],
)
def test_errors_say_what_to_do(modality: str, trunk: str, size: str, facts: Facts, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_spec(modality, trunk, size, facts)
    assert says in str(caught.value) and caught.value.fix


def test_parameter_names_are_fit_for_freezing_by_pattern() -> None:
    encoder: Encoder = make("text", "transformer")
    layers = {name.rsplit(".layers.")[-1] for name, _ in encoder.named_parameters() if ".layers.0." in name}
    assert layers == {
        "0.attention_norm.weight", "0.attention.q.weight", "0.attention.k.weight", "0.attention.v.weight",
        "0.attention.o.weight", "0.mlp_norm.weight", "0.mlp.gate.weight", "0.mlp.up.weight", "0.mlp.down.weight",
    }  # fmt: skip
    outside = {name for name, _ in encoder.named_parameters() if ".layers." not in name}
    assert outside == {"stem.embedding.weight", "trunk.norm.weight"}


def test_tfidf_is_that_of_scikit_learn() -> None:
    """On tokens as words, with rows of no known token, of one, and of repeated ones."""
    draw = torch.Generator().manual_seed(0)
    tokens_BN = torch.randint(NUM_SPECIAL - 1, 12, (40, 9), generator=draw)
    keep_BN = torch.arange(9) < torch.randint(1, 10, (40, 1), generator=draw)
    tokens_BN[0] = UNK
    tokens_BN = tokens_BN.masked_fill(~keep_BN, PAD)
    rows = [row[keep].tolist() for row, keep in zip(tokens_BN, keep_BN, strict=True)]
    found_V = torch.tensor([sum(token in row for row in rows) for token in range(13)])
    vocabulary = [str(token) for token in range(NUM_SPECIAL, 13)]
    reference = TfidfVectorizer(analyzer=lambda row: map(str, row), vocabulary=vocabulary, sublinear_tf=True)
    reference.fit(rows)
    facts = Facts("text", 13, (0,) * 13, tuple(found_V.tolist()), num_documents=40)
    stem = TfIdf(facts, width=4)
    shares_BV = stem.shares(tokens_BN, keep_BN)
    expected = reference.transform(rows).toarray()
    assert shares_BV[:, NUM_SPECIAL:].numpy() == pytest.approx(expected, abs=1e-6)
    assert not shares_BV[:, :NUM_SPECIAL].any() and not shares_BV[0].any() and float(shares_BV.sum()) > 30
    known_B = shares_BV.any(1)
    assert stem.vector(tokens_BN, keep_BN)[known_B].square().mean(1).numpy() == pytest.approx(1.0, rel=1e-5)
