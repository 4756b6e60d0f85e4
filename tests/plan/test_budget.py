from __future__ import annotations

import math

import pytest

from seedbed.core.errors import BudgetError, OutOfMemoryError
from seedbed.plan import budget
from seedbed.plan.budget import LEAST_ITEMS, Footprint, Price


@pytest.mark.parametrize("seconds", [10.0, 60.0, 3600.0])
@pytest.mark.parametrize("prove_share", [0.0, 0.1, 0.45, 0.9])
def test_shares_add_up_and_keep_their_bounds(seconds: float, prove_share: float) -> None:
    shares = budget.divide(seconds, prove_share * seconds)
    assert shares.pretrain_s + shares.prove_s + shares.reserve_s == pytest.approx(seconds)
    assert shares.prove_s <= 0.45 * seconds + 1e-9
    assert shares.pretrain_s >= 0.40 * seconds - 1e-9
    assert shares.reserve_s == pytest.approx(0.15 * seconds)


def test_what_the_comparison_does_not_need_goes_to_pretraining() -> None:
    assert budget.divide(100.0, 5.0).pretrain_s == pytest.approx(80.0)


def test_horizon_is_bounded_by_time_then_by_epochs() -> None:
    assert budget.horizon(100.0, 0.1, epoch_steps=1000, cap_epochs=5) == 1000
    assert budget.horizon(10_000.0, 0.1, epoch_steps=1000, cap_epochs=5) == 5000
    assert budget.horizon(100.0, 0.1, epoch_steps=0.5, cap_epochs=5) == 3


def test_horizon_too_short_names_a_budget_that_would_do() -> None:
    with pytest.raises(BudgetError) as caught:
        budget.horizon(1.0, 0.5, epoch_steps=1000, cap_epochs=5)
    assert caught.value.exit_code == 6
    assert "enough for 2 steps" in caught.value.what
    minutes = float(caught.value.fix.split("--minutes ")[1].split(",")[0])
    given = budget.divide(60 * minutes, 0.45 * 60 * minutes).pretrain_s
    assert budget.horizon(given, 0.5, epoch_steps=1000, cap_epochs=5) >= budget.LEAST_STEPS


@pytest.mark.parametrize("seconds", [0.1, 1.0, 59.0, 61.0, 600.0, 12_345.0])
def test_rounded_minutes_are_enough_and_not_lavish(seconds: float) -> None:
    minutes = budget.rounded_minutes(seconds)
    assert 60 * minutes >= seconds
    assert minutes <= max(1.35 * seconds / 60, 0.1)


def test_epoch_caps_go_by_trunk_then_by_modality() -> None:
    assert budget.epoch_cap("bag", "text") == 3
    assert budget.epoch_cap("transformer", "text") == 40
    assert budget.epoch_cap("transformer", "image") == 200


def arm(name: str, fit_s: float, *, required: bool = False, item_s: float = 0.0) -> Price:
    return Price(name, {n: fit_s * n for n in (50, 200, 1000)}, item_s=item_s, required=required)


def test_price_is_the_sum_of_its_parts() -> None:
    price = Price("a", {10: 1.0, 20: 2.0}, once_s=5.0, once_item_s=0.1, item_s=0.01)
    assert price.seconds((10, 20), draws=5, items=100) == pytest.approx(5 + 10 + 5 * (1 + 2 + 2 * 1))


def test_a_comparison_that_fits_is_left_alone() -> None:
    proof = budget.fit_proof([arm("majority", 0.0)], [200, 50], 1000, 5, math.inf)
    assert proof.labels == (50, 200) and proof.items == 1000 and proof.reasons == ()


def test_cuts_come_in_order_label_counts_then_arms_then_items() -> None:
    prices = [
        arm("classic", 0.001, required=True, item_s=0.001),
        arm("frozen", 0.001, required=True, item_s=0.001),
        arm("finetuned", 0.01, item_s=0.001),
        arm("untrained", 0.001, item_s=0.001),
    ]
    full = budget.fit_proof(prices, [50, 200, 1000], 5000, 5, math.inf)
    cut = [
        budget.fit_proof(prices, [50, 200, 1000], 5000, 5, full.seconds * share)
        for share in (0.99, 0.45, 0.38, 0.2, 0.1, 0.04)
    ]
    for proof in cut:
        assert proof.labels[-1] == 1000 and proof.draws == 5
        if "untrained" not in proof.arms:
            assert proof.labels == (1000,)
        if proof.items < 5000:
            assert proof.arms == ("classic", "frozen")
            assert proof.items >= LEAST_ITEMS
        assert proof.seconds <= full.seconds
    assert cut[0].labels == (50, 1000)
    assert cut[-1].items < 5000
    costs = [proof.seconds for proof in cut]
    assert costs == sorted(costs, reverse=True)
    assert len(cut[-1].reasons) == 2 + 2 + 1


def test_a_comparison_that_cannot_fit_names_the_least_that_would() -> None:
    prices = [arm("classic", 0.1, required=True, item_s=0.01)]
    with pytest.raises(BudgetError) as caught:
        budget.fit_proof(prices, [50, 200], 5000, 5, allowed_s=1.0, spent_s=30.0)
    minutes = float(caught.value.fix.split("--minutes ")[1].split(",")[0])
    fits = budget.fit_proof(prices, [50, 200], 5000, 5, allowed_s=0.45 * (60 * minutes - 30))
    assert fits.items >= LEAST_ITEMS and fits.draws == 5


FOOTPRINT = Footprint(num_parameters=3_000_000, kept=8 << 20, kept_each=16 << 20)


def test_micro_batch_halves_until_it_fits() -> None:
    assert budget.micro_batch(FOOTPRINT, 64, 64 * 2**30, coupled=False) == 64
    small = int((FOOTPRINT.fixed_bytes() + 10 * FOOTPRINT.example_bytes()) / budget.MEMORY_SHARE)
    assert budget.micro_batch(FOOTPRINT, 64, small, coupled=False) == 8
    assert budget.micro_batch(FOOTPRINT, 64, 0, coupled=True) == 64
    assert budget.memory_bytes(FOOTPRINT, 8) <= budget.MEMORY_SHARE * small


def test_what_cannot_be_split_or_does_not_fit_is_refused() -> None:
    small = int((FOOTPRINT.fixed_bytes() + 10 * FOOTPRINT.example_bytes()) / budget.MEMORY_SHARE)
    with pytest.raises(OutOfMemoryError, match="couples") as caught:
        budget.micro_batch(FOOTPRINT, 64, small, coupled=True)
    assert caught.value.exit_code == 5 and "batch_size=8" in caught.value.fix
    with pytest.raises(OutOfMemoryError, match="too large"):
        budget.micro_batch(FOOTPRINT, 64, 2**20, coupled=False)


def test_an_average_of_the_weights_costs_one_more_copy() -> None:
    assert Footprint(1000, 8, 4).fixed_bytes() == 16_008
    assert Footprint(1000, 8, 4, ema=True).fixed_bytes() == 20_008
