from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from seedbed.core.device import Machine
from seedbed.core.types import NO_LABEL, silent
from seedbed.data.store import Prepared, prepare
from seedbed.evaluate import probes
from seedbed.evaluate.probes import (
    cross_validate,
    effective_rank,
    feature_std,
    features,
    linear,
    logistic_probe,
    neighbour_accuracy,
    scaled,
)
from seedbed.models import bag
from seedbed.models.encoder import EncoderSpec, build_encoder
from tests.data.making import cleaned_of, settings_with, texts_of

MACHINE = Machine("cpu", 1, "float32", 0, 1, "test")


def blobs(num: int, seed: int, num_classes: int = 3, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(num) % num_classes
    x = rng.standard_normal((num, 20))
    x[np.arange(num), y] += apart
    return x, y


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


@pytest.mark.parametrize("num", [60, 240])
def test_a_probe_finds_what_is_there_and_tells_it_from_training_labels_alone(num: int) -> None:
    (x, y), (test_x, test_y) = blobs(num, 0), blobs(2000, 1)
    probs_IC, selection = logistic_probe(x, y, test_x, 3, seed=0)
    assert probs_IC.shape == (2000, 3) and np.allclose(probs_IC.sum(1), 1.0)
    accuracy = (probs_IC.argmax(1) == test_y).mean()
    assert accuracy > 0.75 and selection == pytest.approx(accuracy, abs=0.12)
    assert logistic_probe(x, y, test_x[:5], 3, seed=0)[1] == selection


def test_without_structure_the_selection_score_is_chance() -> None:
    x, y = blobs(600, 2, apart=0.0)
    assert logistic_probe(x, y, x[:2], 3, seed=0)[1] == pytest.approx(1 / 3, abs=0.06)


def test_a_probe_survives_one_class_rare_classes_and_constant_features() -> None:
    x, y = blobs(12, 0)
    probs_IC, selection = logistic_probe(x, np.zeros(12, dtype=int), x, 3, seed=0)
    assert (probs_IC[:, 0] == 1).all() and selection == 1.0
    y = np.array([0] * 11 + [2])
    probs_IC, selection = logistic_probe(x, y, x, 4, seed=0)
    assert (probs_IC[:, [1, 3]] == 0).all() and 0 < selection < 1
    probs_IC, _ = logistic_probe(np.ones((12, 3)), y, np.ones((2, 3)), 4, seed=0)
    assert np.isfinite(probs_IC).all()


def test_scaling_is_one_number_so_a_probe_ignores_units_and_rotations() -> None:
    (x, y), (test_x, _) = blobs(60, 0), blobs(50, 1)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 20)))[0]
    expected = logistic_probe(x, y, test_x, 3, seed=0)[0]
    turned = logistic_probe(1000 * x @ rotation + 7, y, 1000 * test_x @ rotation + 7, 3, seed=0)[0]
    np.testing.assert_allclose(turned, expected, atol=2e-3)
    assert np.sqrt((scaled(x, x) ** 2).sum(1).mean()) == pytest.approx(1.0)


def test_every_labelled_row_is_held_out_once_and_never_learnt_from_then() -> None:
    y = np.array([0] * 20 + [1] * 5)
    held: list[int] = []

    def fit(learn: np.ndarray, answer: np.ndarray) -> np.ndarray:
        assert not set(learn) & set(answer) and len(learn) + len(answer) == 25
        assert (y[answer] == 1).sum() == 1
        held.extend(answer.tolist())
        return np.eye(2)[y[answer]] * 0.8 + 0.1

    selection = cross_validate(fit, y, seed=3)
    assert sorted(held) == list(range(25))
    assert selection.accuracy == 1.0 and selection.log_loss == pytest.approx(-np.log(0.9))


def test_many_labels_are_judged_on_one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "MANY", 50)
    sizes: list[int] = []

    def fit(learn: np.ndarray, answer: np.ndarray) -> np.ndarray:
        sizes.append(len(answer))
        return np.full((len(answer), 3), 1 / 3)

    cross_validate(fit, np.arange(60) % 3, seed=0)
    assert sizes == [12]


def test_linear_gives_absent_classes_nothing() -> None:
    x, y = blobs(30, 0, num_classes=2)
    assert linear(x, y * 2, x, 4, 1.0)[:, [1, 3]].max() == 0.0


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
