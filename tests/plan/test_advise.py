from __future__ import annotations

import json
from typing import Any

import pytest

from seedbed.core.device import Machine
from seedbed.core.errors import BudgetError, OutOfMemoryError, UsageError
from seedbed.core.find import find
from seedbed.core.settings import Settings
from seedbed.plan.advise import EVIDENCE, Plan, advise, pretrain_stage, with_horizon, with_memory
from seedbed.plan.budget import Footprint
from seedbed.plan.profile import Profile

MACHINE = Machine("cpu", 2, "float32", 8 * 2**30, 2, "a processor")
REVIEWS = Profile("text", 45_000, 20_000, 2, {"num_chars": 6e7, "num_words": 1.2e7, "word_coverage": 0.95})
FEW_WORDS = Profile("text", 500, 100, 2, {"num_chars": 1e5, "num_words": 2e4, "word_coverage": 0.9})
CHINESE = Profile("text", 60_000, 100, 2, {"num_chars": 8e6, "num_words": 9e5, "word_coverage": 0.4})
DIGITS = Profile("image", 1400, 1400, 10, {"side": 8.0, "channels": 1.0})
CLOTHES = Profile("image", 20_000, 20_000, 10, {"side": 28.0, "channels": 1.0})
PHOTOS = Profile("image", 20_000, 100, 10, {"side": 32.0, "channels": 3.0})
FEW_PHOTOS = Profile("image", 2_000, 100, 10, {"side": 32.0, "channels": 3.0})


def settings(**given: Any) -> Settings:
    return Settings.model_validate(given)


@pytest.mark.parametrize(
    ("data", "minutes", "chosen"),
    [
        (REVIEWS, 5, ("skip_gram", "bag", "micro")),
        (REVIEWS, 600, ("skip_gram", "bag", "micro")),
        (FEW_WORDS, 5, ("skip_gram", "bag", "nano")),
        (CHINESE, 5, ("skip_gram", "bag", "nano")),
        (CHINESE, 600, ("skip_gram", "bag", "nano")),
        (DIGITS, 60, ("denoising", "mlp", "nano")),
        (CLOTHES, 10, ("denoising", "mlp", "nano")),
        (CLOTHES, 30, ("contrastive", "vgg", "micro")),
        (PHOTOS, 5, ("contrastive", "vgg", "nano")),
        (PHOTOS, 30, ("contrastive", "vgg", "micro")),
        (FEW_PHOTOS, 30, ("contrastive", "vgg", "nano")),
    ],
)
def test_what_to_train_is_chosen_by_evidence(data: Profile, minutes: float, chosen: tuple[str, str, str]) -> None:
    plan = advise(data, settings(minutes=minutes), MACHINE)
    assert (plan.objective, plan.trunk, plan.size) == chosen
    assert any(plan.objective in reason for reason in plan.reasons)
    named = advise(data, settings(minutes=minutes, objective=plan.objective), MACHINE)
    assert (named.objective, named.trunk, named.size) == chosen


def test_words_are_read_where_there_are_words_and_pieces_elsewhere() -> None:
    given = settings(minutes=60)
    assert advise(REVIEWS, given, MACHINE).tokenizer == find("objectives", "skip_gram").setup.tokenizer == "word"
    assert advise(CHINESE, given, MACHINE).tokenizer == "bpe"
    assert advise(CHINESE, settings(objective="skip_gram"), MACHINE).tokenizer == "bpe"
    assert advise(CHINESE, settings(data={"tokenizer": "char"}), MACHINE).tokenizer == "char"


@pytest.mark.parametrize(("minutes", "size"), [(5, "nano"), (60, "micro")])
def test_a_transformer_asked_for_is_as_large_as_text_and_time(minutes: float, size: str) -> None:
    plan = advise(CHINESE, settings(minutes=minutes, trunk="transformer"), MACHINE)
    assert (plan.objective, plan.size) == ("masked_lm", size)


def test_every_modality_has_a_choice_without_conditions() -> None:
    last = {row.modality: row for row in EVIDENCE}
    assert set(last) == {"text", "image", "vector"}
    assert all(not row.needs and not row.minutes for row in last.values())
    plan = advise(DIGITS, settings(minutes=2), MACHINE)
    assert plan.seq_len == 0 and plan.tokenizer == ""


def test_every_row_of_evidence_names_a_learner_that_can_train_its_trunk() -> None:
    assert len(EVIDENCE) >= 5
    for row in EVIDENCE:
        setup = find("objectives", row.objective).setup
        assert row.modality in setup.modalities and row.trunk in setup.trunks
        assert len(row.measured) > 20


def test_what_the_user_fixed_is_kept() -> None:
    fixed = settings(
        minutes=3,
        objective="masked_lm",
        size="micro",
        pretrain={"lr": 7e-4, "batch_size": 24, "seq_len": 48, "optimizer": "muon", "weight_decay": 0.0},
        data={"tokenizer": "char"},
    )
    plan = advise(REVIEWS, fixed, MACHINE)
    assert (plan.objective, plan.size, plan.tokenizer) == ("masked_lm", "micro", "char")
    assert (plan.lr, plan.batch_size, plan.seq_len, plan.optimizer, plan.weight_decay) == (7e-4, 24, 48, "muon", 0.0)


def test_the_setup_of_the_objective_fills_the_rest() -> None:
    plan = advise(REVIEWS, settings(objective="masked_lm"), MACHINE)
    setup = find("objectives", "masked_lm").setup
    assert (plan.lr, plan.batch_size, plan.seq_len) == (setup.lr, setup.batch_size, setup.seq_len)
    assert (plan.optimizer, plan.weight_decay, plan.items) == (setup.optimizer, setup.weight_decay, setup.items)
    assert plan.seconds == 1800


def test_a_batch_is_not_larger_than_the_data() -> None:
    assert advise(Profile("image", 9, 0, 0, DIGITS.traits), settings(), MACHINE).batch_size == 9


@pytest.mark.parametrize(
    ("data", "given", "words"),
    [
        (DIGITS, {"objective": "masked_lm"}, "does not work on image data"),
        (REVIEWS, {"objective": "masked_lm", "trunk": "bag"}, "cannot train the trunk bag"),
        (REVIEWS, {"trunk": "mlp"}, "No objective has been measured"),
        (REVIEWS, {"objective": "contrastive", "trunk": "resnet"}, 'The trunk "resnet" cannot read text'),
        (REVIEWS, {"objective": "causal_lm", "trunk": "bilstm"}, "cannot train the trunk bilstm"),
        (DIGITS, {"size": "smal"}, 'The trunk "mlp" has no size "smal" for image'),
    ],
)
def test_choices_that_do_not_go_together_are_refused(data: Profile, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        advise(data, settings(**given), MACHINE)
    assert caught.value.fix


def test_a_budget_of_one_second_is_refused_at_once() -> None:
    with pytest.raises(BudgetError, match=r"1\.0 s for the whole command") as caught:
        advise(REVIEWS, settings(minutes=1 / 60), MACHINE)
    assert "--minutes 0." in caught.value.fix and caught.value.exit_code == 6


def timed(plan: Plan, given: Settings, **changes: float) -> Plan:
    values = {"step_s": 0.1, "epoch_steps": 1000.0, "left_s": 1000.0, "prove_s": 100.0}
    return with_horizon(plan, given, **{**values, **changes})


def test_minutes_become_steps_and_a_reason() -> None:
    given = settings(minutes=20)
    plan = timed(advise(REVIEWS, given, MACHINE), given)
    assert plan.steps == 3000 and plan.shares is not None
    assert plan.shares.pretrain_s == pytest.approx(750)
    assert "not worth their time" in plan.reasons[-1]
    plan = timed(advise(REVIEWS, given, MACHINE), given, left_s=450.0)
    assert plan.steps == int((450 - 67.5 - 100) / 0.1)
    assert "not worth" not in plan.reasons[-1]


def test_steps_are_taken_as_they_are() -> None:
    given = settings(steps=120)
    plan = timed(advise(REVIEWS, given, MACHINE), given, left_s=1.0)
    assert plan.steps == 120 and plan.seconds is None and plan.shares is None


def test_too_little_time_left_is_an_error_with_a_way_out() -> None:
    given = settings(minutes=1)
    with pytest.raises(BudgetError):
        timed(advise(REVIEWS, given, MACHINE), given, left_s=2.0)


FOOTPRINT = Footprint(num_parameters=3_000_000, kept=8 << 20, kept_each=3 << 20)


def test_memory_decides_the_micro_batch() -> None:
    plan = advise(REVIEWS, settings(objective="masked_lm"), MACHINE)
    whole = with_memory(plan, FOOTPRINT, MACHINE, coupled=False, chosen=False)
    assert whole.micro_batch == plan.batch_size and "whole batch at once" in whole.reasons[-1]
    tight = Machine("cpu", 2, "float32", 300 * 2**20, 2, "a processor")
    split = with_memory(plan, FOOTPRINT, tight, coupled=False, chosen=False)
    assert 0 < split.micro_batch < plan.batch_size
    assert split.memory_bytes < 0.6 * tight.memory_bytes
    assert pretrain_stage(split, settings()).micro_batch == split.micro_batch
    assert with_memory(plan, FOOTPRINT, tight, coupled=False, chosen=True).micro_batch == plan.micro_batch
    with pytest.raises(OutOfMemoryError):
        with_memory(plan, FOOTPRINT, tight, coupled=True, chosen=False)


def test_a_plan_survives_json() -> None:
    given = settings(minutes=20)
    plan = timed(advise(REVIEWS, given, MACHINE), given)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    bare = advise(REVIEWS, given, MACHINE)
    assert Plan.from_json(json.loads(json.dumps(bare.to_json()))) == bare


def test_the_stage_is_the_plan_and_the_settings() -> None:
    given = settings(steps=30, seed=9, pretrain={"ema": 0.9, "freeze": ("stem",), "keep": 2})
    stage = pretrain_stage(timed(advise(REVIEWS, given, MACHINE), given), given)
    assert (stage.kind, stage.name, stage.steps, stage.seed) == ("objectives", "skip_gram", 30, 9)
    assert (stage.ema, stage.freeze, stage.keep, stage.micro_batch) == (0.9, ("stem",), 2, None)
