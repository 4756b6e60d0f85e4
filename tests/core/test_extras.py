"""Extras are those of pyproject.toml, and a missing one is named with the line that installs it."""

from __future__ import annotations

import re
import tomllib

import pytest

from seedbed.core import extras
from seedbed.core.errors import MachineError
from tests.conftest import ROOT


def test_extras_are_those_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {
        extra: {re.split(r"[<>=\[ ]", need)[0] for need in needs} for extra, needs in declared.items() if extra != "dev"
    }
    assert {extra: set(packages) for extra, packages in extras.EXTRAS.items()} == named
    assert len(named) >= 3


def test_a_missing_extra_stops_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "hub", ("json", "no_such_package"))
    assert extras.missing("hub") == ["no_such_package"]
    with pytest.raises(MachineError, match="Reading a checkpoint needs") as caught:
        extras.require("hub", "Reading a checkpoint")
    assert caught.value.fix == "pip install 'seedbed[hub]'" and "no_such_package" in caught.value.found
    monkeypatch.setitem(extras.EXTRAS, "hub", ("json",))
    extras.require("hub", "Reading a checkpoint")
