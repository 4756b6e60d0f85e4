"""Every learner found keeps the contract of core/types.py."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest
from pydantic import BaseModel

from seedbed.core.find import names
from seedbed.core.types import Learner, Setup, Task
from tests.contract.checks import CHECKS, Check
from tests.contract.subjects import Subject, subjects

LEARNERS = {
    "objectives": [
        "adversarial",
        "causal_lm",
        "contrastive",
        "denoising",
        "masked_image",
        "masked_lm",
        "skip_gram",
        "stacked",
    ],
    "tasks": ["classify", "multilabel", "regress"],
}
SUBJECTS = subjects()


def test_all_learners_are_found() -> None:
    """A new learner is checked without an edit of the checks; it is counted here, so that none is lost."""
    assert {kind: names(kind) for kind in LEARNERS} == LEARNERS
    assert len(SUBJECTS) == 51
    assert len(CHECKS) == 14


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_contract(subject: Subject, check: Check) -> None:
    check(subject)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, found in LEARNERS.items() for name in found])
def test_a_file_holds_one_final_learner_and_nothing_else_public(kind: str, name: str) -> None:
    module = importlib.import_module(f"seedbed.{kind}.{name}")
    own: dict[str, Any] = {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and not inspect.ismodule(value) and _defined_in(value, module.__name__)
    }
    learners = [value for value in own.values() if inspect.isclass(value) and issubclass(value, Learner)]
    assert len(learners) == 1
    learner = learners[0]
    assert learner.__bases__ == ((Task,) if kind == "tasks" else (Learner,))
    assert learner.__dict__.get("__final__") is True
    assert set(own) == {"Config", "views", learner.__name__}
    assert isinstance(module.SETUP, Setup) and issubclass(module.Config, BaseModel)
    assert learner.__doc__ and "Units:" in learner.__doc__ and "Chance:" in learner.__doc__


def _defined_in(value: object, module: str) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module
