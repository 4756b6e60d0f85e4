from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from seedbed.core.device import Machine
from seedbed.core.types import NO_LABEL, silent
from seedbed.data.store import Prepared, prepare
from seedbed.evaluate.probes import Pooled, effective_rank, feature_std, features, neighbour_accuracy
from seedbed.models import bag
from seedbed.models.encoder import EncoderSpec, build_encoder
from tests.data.making import cleaned_of, settings_with, texts_of
from tests.evaluate.planted import blobs

MACHINE = Machine("cpu", 1, "float32", 0, 1, "test")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    out: Path = tmp_path_factory.mktemp("probes")
    return prepare(cleaned_of(texts_of(150)), settings_with(validation_share=0.0), "word", out, silent)


def test_features_are_those_of_each_row_alone_in_the_order_asked_for(prepared: Prepared) -> None:
    torch.manual_seed(0)
    spec = EncoderSpec("text", "words", "bag", "test", asdict(bag.Config(width=24)))
    encoder = build_encoder(spec, prepared.facts).train()
    rows = np.random.default_rng(0).permutation(len(prepared))[:100]
    x_ID = features(encoder, prepared, rows, MACHINE, 32)
    assert encoder.training and x_ID.shape == (100, 24) and x_ID.dtype == np.float32
    for at in (0, 17, 99):
        tokens = torch.tensor(prepared.item(rows[at], 0, min(int(prepared.lengths[rows[at]]), 32)).astype(np.int64))[
            None
        ]
        with torch.no_grad():
            alone = encoder.eval().pooled(tokens, torch.ones_like(tokens, dtype=torch.bool))[0].numpy()
        np.testing.assert_allclose(x_ID[at], alone, atol=1e-5)
        encoder.train()
    pooled = Pooled(encoder, prepared, MACHINE, 32)
    for some in (rows[:30], rows[20:60], rows[[5, 5, 70]]):
        place = [rows.tolist().index(row) for row in some.tolist()]
        np.testing.assert_allclose(pooled(some), x_ID[place], atol=1e-5)


def test_neighbours_see_structure_and_no_more_than_chance_without() -> None:
    x, y = blobs(300, 0, apart=4.0)
    assert neighbour_accuracy(x, y) > 0.9
    noise, _ = blobs(300, 1, apart=0.0)
    assert neighbour_accuracy(noise, y) == pytest.approx(1 / 3, abs=0.1)
    some = y.copy()
    some[::2] = NO_LABEL
    assert neighbour_accuracy(x, some) > 0.9


def test_feature_std_and_effective_rank_tell_collapse() -> None:
    rng = np.random.default_rng(0)
    spread = rng.standard_normal((2000, 16)).astype(np.float32)
    assert feature_std(spread) == pytest.approx(1.0, abs=0.03) and effective_rank(spread) == pytest.approx(16, abs=0.1)
    line = rng.standard_normal((200, 1)) * np.ones((1, 16))
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-6)
    point = np.ones((200, 16), dtype=np.float32)
    assert feature_std(point) == pytest.approx(0.0, abs=1e-6) and effective_rank(point) == 0.0
    halves = np.r_[np.eye(4), -np.eye(4)] * np.array([3.0, 1.0, 0.0, 0.0])
    shares = np.array([0.75, 0.25])
    assert effective_rank(halves) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
