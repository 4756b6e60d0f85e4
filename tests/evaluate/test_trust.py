"""Answers as sure as they are right, and rows of a kind that was never seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit, softmax

from seedbed.core.errors import DataError
from seedbed.evaluate.scoring import scoring
from seedbed.evaluate.trust import LEAST_HELD, SKETCH, Trust, fit_trust, load_trust, save_trust, sketch


def answers(sharper: float, count: int = 4000, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Truths drawn from true probabilities, and answers whose logits are multiplied by `sharper`."""
    draw = np.random.default_rng(0)
    logits_IC = draw.normal(0.0, 1.5, (count, classes))
    true_IC = softmax(logits_IC, axis=1)
    truth_I = (true_IC.cumsum(axis=1) < draw.random((count, 1))).sum(axis=1)
    return softmax(logits_IC * sharper, axis=1), truth_I


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_was_too_sure_or_not_sure_enough(sharper: float) -> None:
    probs_IC, truth_I = answers(sharper)
    trust = fit_trust(probs_IC, truth_I, np.random.default_rng(0).normal(size=(50, 8)))
    assert trust.temperature == pytest.approx(sharper, rel=0.08) and trust.held == len(truth_I)
    calibrated_IC = trust.calibrated(probs_IC)
    assert np.array_equal(calibrated_IC.argmax(1), probs_IC.argmax(1))
    assert calibrated_IC.sum(axis=1) == pytest.approx(np.ones(len(truth_I)))
    confidence, right = calibrated_IC.max(axis=1), calibrated_IC.argmax(axis=1) == truth_I
    for low in (0.4, 0.6, 0.8):
        inside = (confidence >= low) & (confidence < low + 0.2)
        assert right[inside].mean() == pytest.approx(confidence[inside].mean(), abs=0.05)


def test_few_held_out_answers_change_nothing() -> None:
    probs_IC, truth_I = answers(3.0, LEAST_HELD - 1)
    trust = fit_trust(probs_IC, truth_I, np.eye(8))
    assert trust.temperature == 1.0 and trust.held == 0
    assert trust.calibrated(probs_IC) == pytest.approx(probs_IC)


def test_a_certain_answer_stays_finite() -> None:
    assert np.isfinite(scoring("class").tempered(np.array([[1.0, 0.0]]), 0.05)).all()
    assert np.isfinite(scoring("set").tempered(np.array([[1.0, 0.0]]), 0.05)).all()


@pytest.mark.parametrize("sharper", [0.5, 3.0])
def test_sets_of_names_have_a_temperature_too(sharper: float) -> None:
    draw = np.random.default_rng(0)
    logits_IC = draw.normal(0.0, 1.5, (3000, 3))
    targets = (draw.random((3000, 3)) < expit(logits_IC)).astype(np.int8)
    trust = fit_trust(expit(logits_IC * sharper), targets, np.eye(8))
    assert trust.kind == "set" and trust.temperature == pytest.approx(sharper, rel=0.08)
    calibrated = trust.calibrated(expit(logits_IC * sharper))
    assert np.array_equal(calibrated > 0.5, logits_IC > 0)


def test_numbers_have_a_margin_that_covers_nine_in_ten() -> None:
    draw = np.random.default_rng(0)
    truth, answers = draw.normal(size=600), draw.normal(size=(600, 1))
    trust = fit_trust(answers[:300], truth[:300], np.eye(8))
    assert trust.kind == "number" and trust.temperature == 1.0
    covered = (np.abs(answers[300:, 0] - truth[300:]) <= trust.margin).mean()
    assert 0.85 <= covered <= 0.95
    assert np.array_equal(trust.calibrated(answers), answers)


def test_it_is_written_and_read_to_the_bit_and_damage_is_seen(tmp_path: Path) -> None:
    probs_IC, truth_I = answers(3.0, 100)
    trust = fit_trust(probs_IC, truth_I, np.random.default_rng(0).normal(size=(50, 8)))
    assert load_trust(tmp_path) is None
    save_trust(tmp_path, trust)
    read = load_trust(tmp_path)
    assert read is not None and read.about() == trust.about() and np.array_equal(read.reference_ID, trust.reference_ID)
    weights = tmp_path / "trust" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        load_trust(tmp_path)


def cloud(draw: np.random.Generator, centre: np.ndarray, count: int) -> np.ndarray:
    return centre + draw.normal(0.0, 0.3, (count, len(centre)))


@pytest.mark.parametrize("width", [16, 4 * SKETCH])
@pytest.mark.parametrize("sparse", [False, True])
def test_rows_of_another_kind_are_unlike_and_rows_of_the_same_kind_are_not(width: int, sparse: bool) -> None:
    draw = np.random.default_rng(1)
    here, there = draw.normal(size=(2, width))
    seen, same, other = cloud(draw, here, 600), cloud(draw, here, 400), cloud(draw, there, 400)
    form = sp.csr_matrix if sparse else np.asarray
    probs_IC, truth_I = answers(1.0, 100)
    trust = fit_trust(probs_IC, truth_I, form(seen))
    assert trust.unlike(form(same)).mean() <= 0.05
    assert trust.unlike(form(other)).mean() >= 0.99
    assert trust.unlike(form(np.zeros((1, width)))).all()


def test_a_sketch_keeps_angles() -> None:
    draw = np.random.default_rng(2)
    x = draw.normal(size=(30, 20 * SKETCH))
    near = x + draw.normal(0.0, 0.5, x.shape)
    kept = (sketch(x) * sketch(near)).sum(axis=1)
    assert kept == pytest.approx(np.full(30, 1 / np.sqrt(1.25)), abs=0.15)
    small = draw.normal(size=(5, 3))
    assert np.linalg.norm(sketch(small), axis=1) == pytest.approx(np.ones(5), abs=1e-6)


def test_one_training_row_is_enough_to_stand() -> None:
    trust = fit_trust(np.ones((1, 2)) / 2, np.zeros(1, int), np.ones((1, 4)))
    assert isinstance(trust, Trust) and not trust.unlike(np.ones((1, 4))).any()


def test_columns_first_is_kept_like_rows_first(tmp_path: Path) -> None:
    probs_IC, truth_I = answers(1.0, 100)
    x = np.random.default_rng(0).normal(size=(50, 8))
    trust = fit_trust(probs_IC, truth_I, np.asfortranarray(x))
    save_trust(tmp_path, trust)
    assert np.array_equal(trust.reference_ID, fit_trust(probs_IC, truth_I, x).reference_ID)
