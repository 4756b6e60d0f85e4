"""The package itself: verbs are functions of it, lazily, also where a folder has the same name."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest

from seedbed.cli.flags import VERBS

seedbed: Any = importlib.import_module("seedbed")


def test_the_same_verbs_as_the_command_line() -> None:
    assert sorted(seedbed.VERBS) == sorted(verb.name for verb in VERBS)
    assert {"open", "load", "__version__", *seedbed.VERBS} <= set(dir(seedbed))


def test_a_verb_is_fetched_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("seedbed.verbs.report")
    module.__dict__["report"] = lambda run: f"report of {run}"
    monkeypatch.setitem(sys.modules, "seedbed.verbs.report", module)
    monkeypatch.delitem(vars(seedbed), "report", raising=False)
    seedbed.report = importlib.import_module("seedbed.report")
    assert seedbed.report("r") == "report of r"
    monkeypatch.delitem(vars(seedbed), "report")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'pretrian'"):
        _ = seedbed.pretrian
    assert seedbed.__version__[0].isdigit()
