from __future__ import annotations

import json

import numpy as np
import pytest

from seedbed.evaluate.verdict import CANNOT_TELL, DID_NOT_PAY, PAID, Arm, Contestant, Verdict, arm_to_keep, decide
from tests.evaluate.planted import World

DRAWS, ITEMS = 5, 600


def arms(num_pretrained: int, num_other: int) -> list[Arm]:
    return [
        Arm(f"arm {index}", "finetuned" if index < num_pretrained else "classic", index < num_pretrained)
        for index in range(num_pretrained + num_other)
    ]


def judged(
    world: World, rng: np.random.Generator, num_pretrained: int, telling: float = 0.0, num_items: int = ITEMS
) -> Verdict:
    """A verdict on planted answers; selection scores are as noisy as 200 labels make them.

    Args:
        telling: how much of a draw's luck for an arm shows in its selection score too.
    """
    correct, effects = world.answers(rng, DRAWS, num_items)
    selections = world.accuracies + 0.035 / np.sqrt(DRAWS) * rng.standard_normal(len(correct))
    selections += telling * 0.3 * effects.mean(axis=1)
    names = arms(num_pretrained, len(correct) - num_pretrained)
    contestants = [Contestant(*each) for each in zip(names, correct, selections.tolist(), strict=True)]
    return decide(contestants, 200)


def share_paid(world: World, num_pretrained: int, repeats: int, telling: float = 0.0) -> float:
    rng = np.random.default_rng(0)
    return float(np.mean([judged(world, rng, num_pretrained, telling).outcome == PAID for _ in range(repeats)]))


def test_nothing_planted_seldom_pays() -> None:
    assert share_paid(World((0.6, 0.6)), 1, 250) <= 0.05


@pytest.mark.parametrize("num_pretrained", [1, 3, 5])
def test_choosing_among_six_equal_arms_does_not_inflate(num_pretrained: int) -> None:
    assert share_paid(World((0.6,) * 6), num_pretrained, 250) <= 0.05


def test_a_choice_that_shares_the_luck_of_the_draws_inflates_little() -> None:
    assert share_paid(World((0.6,) * 6), 5, 250, telling=1.0) <= 0.05


def test_choosing_on_the_test_items_would_inflate() -> None:
    """The planted fault: the best of five equal arms on the test items, against one other."""
    rng, paid = np.random.default_rng(0), 0
    for _ in range(200):
        correct, _ = World((0.6,) * 6, draw=0.0, cell=0.1).answers(rng, DRAWS, ITEMS)
        contestants = [Contestant(a, c, float(c.mean())) for a, c in zip(arms(5, 1), correct, strict=True)]
        paid += decide(contestants, 200).outcome == PAID
    assert paid > 0.06 * 200


def test_ten_points_pay() -> None:
    world = World((0.93, 0.55))
    assert world.accuracies[0] - world.accuracies[1] == pytest.approx(0.102, abs=0.005)
    assert share_paid(world, 1, 100) >= 0.8
    assert share_paid(World((0.93, 0.8, 0.55, 0.5, 0.2, 0.0)), 2, 100) >= 0.8


def test_a_loss_is_never_called_a_gain() -> None:
    rng = np.random.default_rng(1)
    outcomes = [judged(World((0.3, 0.8)), rng, 1).outcome for _ in range(50)]
    assert outcomes.count(DID_NOT_PAY) >= 45 and outcomes.count(PAID) == 0


def contestants(rights: tuple[float, float], num_items: int = 2000, spread: float = 0.0) -> list[Contestant]:
    """Two arms whose answers agree as far as they can; in alternate draws the second gets `spread` more or less."""
    made = []
    for arm, right in zip(arms(1, 1), rights, strict=True):
        counts = [
            round(num_items * (right + (0 if arm.pretrained else spread * (-1) ** draw))) for draw in range(DRAWS)
        ]
        made.append(Contestant(arm, np.arange(num_items) < np.array(counts)[:, None], right))
    return made


def test_the_three_outcomes_and_their_sentences() -> None:
    paid = decide(contestants((0.85, 0.80)), 200)
    assert (paid.outcome, paid.draws_to_tell, paid.labels_to_tell) == (PAID, None, None)
    assert paid.sentence.startswith("With 200 labels, arm 0 (pretrained) is right 5.0 points more often than arm 1")
    assert "5 draws of labels, 2,000 items" in paid.sentence and paid.sentence.endswith("Pretraining paid.")

    no = decide(contestants((0.75, 0.80)), 200)
    assert (
        no.outcome == DID_NOT_PAY and "5.0 points less often" in no.sentence and "any gain is ruled out" in no.sentence
    )

    none = decide(contestants((0.8, 0.8)), 1000)
    assert none.outcome == DID_NOT_PAY and "a gain of 1 point or more is ruled out" in none.sentence

    open_question = decide(contestants((0.82, 0.80), spread=0.015), 200)
    assert open_question.outcome == CANNOT_TELL and open_question.draws_to_tell is not None
    assert f"{open_question.draws_to_tell} draws instead of 5 would" in open_question.sentence


def test_a_small_sure_gain_pays_and_is_called_small() -> None:
    small = decide(contestants((0.804, 0.800), num_items=5000), 200)
    assert small.outcome == PAID and small.interval.high < 0.01 and "The gain is small" in small.sentence


def test_all_labels_in_each_draw_limits_the_claim() -> None:
    assert "holds for these labels" in decide(contestants((0.85, 0.80)), 200, pool_share=1.0).sentence


def test_each_side_is_chosen_by_its_selection_score_not_by_its_answers() -> None:
    good, bad = np.ones((5, 50), dtype=bool), np.zeros((5, 50), dtype=bool)
    first, second, other = arms(2, 1)
    verdict = decide([Contestant(first, good, 0.6), Contestant(second, bad, 0.7), Contestant(other, good, 0.5)], 50)
    assert verdict.best_pretrained == second and verdict.outcome == DID_NOT_PAY


@pytest.mark.parametrize("outcome, kept", [(PAID, "encoder"), (DID_NOT_PAY, "tfidf"), (CANNOT_TELL, "lucky")])
def test_what_is_kept_follows_a_verdict_that_tells(outcome: str, kept: str) -> None:
    told = {"outcome": outcome, "best_pretrained": "encoder", "best_other": "tfidf"}
    assert arm_to_keep(told, {"tfidf": 0.7, "lucky": 0.8, "encoder": 0.75}) == kept


def test_a_verdict_is_flat_json() -> None:
    told = decide(contestants((0.85, 0.80)), 200).to_json()
    assert json.loads(json.dumps(told)) == told
    assert told["best_pretrained"] == "arm 0" and told["best_other"] == "arm 1"
    assert {
        "value",
        "low",
        "high",
        "num_draws",
        "num_items",
        "draw_sd",
        "item_sd",
        "outcome",
        "n_labels",
    } <= told.keys()


def test_a_comparison_needs_both_sides() -> None:
    with pytest.raises(AssertionError, match="each side"):
        decide(contestants((0.8, 0.8))[:1], 200)
