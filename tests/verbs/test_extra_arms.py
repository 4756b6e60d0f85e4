"""Stacked and self-trained arms: what they are compared with, and that what they leave answers as they did."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seedbed.core.device import Machine
from seedbed.core.settings import Settings
from seedbed.data.store import Prepared, prepare
from seedbed.evaluate.stats import difference
from seedbed.evaluate.verdict import Arm, Contestant, decide
from seedbed.models.encoder import make_spec
from seedbed.verbs.answer import load_answerer
from seedbed.verbs.arms import classics_of, pooled_of, untrained
from seedbed.verbs.cells import Cell, field_of
from seedbed.verbs.extra_arms import CLASSIC_SELF_TRAINED, SELF_TRAINED, STACKED, extra_pretrained, extra_runners
from tests.data.making import cleaned_of, ignore, settings_with
from tests.verbs.conftest import Kept
from tests.verbs.making import QUICK, Shell, reviews

MACHINE = Machine("cpu", 1, "float32", 0, 1, "test")
SETTINGS = Settings(task="classify")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    rows = [*reviews(120), *reviews(40, 1)]
    cleaned = cleaned_of([text for text, _ in rows], [label for _, label in rows], ["train"] * 120 + ["test"] * 40)
    return prepare(cleaned, settings_with(validation_share=0.0), "word", tmp_path_factory.mktemp("extra"), ignore)


@pytest.mark.parametrize("name", [STACKED, SELF_TRAINED, CLASSIC_SELF_TRAINED])
def test_what_an_arm_leaves_answers_as_the_arm_did(prepared: Prepared, tmp_path: Path, name: str) -> None:
    field = field_of(prepared, SETTINGS)
    classics = classics_of(field, SETTINGS)
    encoder = untrained(make_spec("text", "bag", "nano", prepared.facts), prepared.facts, 0)
    pooled = pooled_of(encoder, prepared, MACHINE)
    runners = [*extra_runners(classics, SETTINGS), *extra_pretrained(pooled, classics, SETTINGS)]
    (runner,) = [one for one in runners if one.arm.name == name]
    cell = Cell(30, 0, 0, field.pool[:30], field.items)
    probs_IC, selection = runner.answer(cell)
    assert probs_IC.shape == (40, 2) and np.allclose(probs_IC.sum(1), 1.0) and 0.4 <= selection <= 1.0
    runner.keep(cell.train, tmp_path)
    answerer = load_answerer(tmp_path, MACHINE)
    contents = [str(text) for text in prepared.raw(field.items)]
    np.testing.assert_allclose(answerer.answer(contents), probs_IC, atol=1e-4)
    assert answerer.facts.classes == ("bad", "good")


def test_self_training_never_sees_the_rows_to_be_answered(prepared: Prepared) -> None:
    """Not even their inputs: with other test rows the answers for the same row are the same."""
    field = field_of(prepared, SETTINGS)
    (runner,) = extra_runners(classics_of(field, SETTINGS), SETTINGS)
    cell = Cell(30, 0, 0, field.pool[:30], field.items)
    every, _ = runner.answer(cell)
    some, _ = runner.answer(replace(cell, test=field.items[5:9]))
    np.testing.assert_allclose(some, every[5:9], atol=1e-6)


def test_they_run_when_asked_for_with_their_companions(shell: Shell, images: Kept, tmp_path: Path) -> None:
    arms = f"prove.arms=['majority', '{STACKED}', '{SELF_TRAINED}']"
    words = ("prove", images.data, "--from", images.out, "--out", tmp_path, *QUICK)
    shell.ok(*words, "--set", arms, "--set", "prove.draws=2")
    (run,) = tmp_path.glob("prove-*")
    proof = json.loads((run / "eval" / "proof.json").read_text())
    names = [arm["name"] for arm in proof["arms"]]
    assert names == [
        "majority",
        "pixels",
        "untrained+probe",
        CLASSIC_SELF_TRAINED,
        "frozen+probe",
        STACKED,
        SELF_TRAINED,
    ]
    assert proof["seconds"][STACKED] > 0
    told = shell.refused(2, *words, "--set", "prove.arms=['stackd']")
    assert 'Did you mean "stacked"?' in told


def contestant(name: str, right: float, selection: float, against: str = "", *, pretrained: bool = False) -> Contestant:
    scores_SI = np.tile(np.arange(2000) < round(2000 * right), (5, 1)).astype(float)
    return Contestant(Arm(name, "stacked" if against else "classic", pretrained, against), scores_SI, selection)


def test_a_stacked_arm_has_to_beat_the_features_it_lives_on_as_well() -> None:
    """On training labels tfidf looked best; the features inside are really better, and the stack adds nothing."""
    stacked = contestant(STACKED, 0.85, 0.9, "lsa", pretrained=True)
    others = [contestant("tfidf", 0.80, 0.85), contestant("lsa", 0.85, 0.84)]
    verdict = decide([stacked, *others], 200)
    assert verdict.outcome == "did not pay" and verdict.best_other.name == "lsa"
    assert "stacked also uses the features of lsa" in verdict.sentence
    without = decide([replace(stacked, arm=replace(stacked.arm, against="")), *others], 200)
    assert without.outcome == "paid", "the planted fault"
    assert verdict.interval.high == difference(stacked.scores_SI, others[1].scores_SI).high
    assert "compared with that" not in without.sentence
