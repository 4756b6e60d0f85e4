"""Errors a user can mend: their exit codes, their four parts, the nearest word."""

from __future__ import annotations

import inspect

import pytest

from seedbed.core import errors
from seedbed.core.errors import SeedbedError, first_line, nearest

EXIT_CODES = {
    "SeedbedError": 1,
    "TrainingError": 1,
    "UsageError": 2,
    "DataError": 3,
    "MachineError": 4,
    "OutOfMemoryError": 5,
    "BudgetError": 6,
    "Interrupted": 130,
}


def classes() -> dict[str, type[SeedbedError]]:
    found = dict(inspect.getmembers(errors, inspect.isclass))
    return {name: one for name, one in found.items() if issubclass(one, SeedbedError)}


def test_every_error_has_the_exit_code_it_promises() -> None:
    assert {name: one.exit_code for name, one in classes().items()} == EXIT_CODES


def test_every_error_says_its_exit_code_where_it_is_described() -> None:
    for name, one in classes().items():
        if name != "SeedbedError":
            assert f"exit code {one.exit_code}." in (one.__doc__ or ""), name


@pytest.mark.parametrize("name", EXIT_CODES)
def test_the_four_parts_in_their_order(name: str) -> None:
    error = classes()[name]("What.", found="Found.", cause="Cause.", fix="Fix.")
    assert (error.what, error.found, error.cause, error.fix) == ("What.", "Found.", "Cause.", "Fix.")
    assert str(error) == "What.\nFound.\nCause.\nFix."
    assert isinstance(error, SeedbedError)


def test_empty_parts_leave_no_empty_line() -> None:
    assert str(SeedbedError("What.", fix="Fix.")) == "What.\nFix."
    assert str(SeedbedError("What.")) == "What."


@pytest.mark.parametrize(
    "word,known,expected",
    [
        ("masked_ml", ["masked_lm", "causal_lm"], 'Did you mean "masked_lm"?'),
        ("lable", ["text", "label"], 'Did you mean "label"?'),
        ("lr", ["batch_size", "steps"], ""),
        ("anything", [], ""),
        ("text", iter(["texts", "text"]), 'Did you mean "text"?'),
    ],
)
def test_nearest(word: str, known: list[str], expected: str) -> None:
    assert nearest(word, known) == expected


def test_what_another_library_says_in_one_line() -> None:
    assert first_line(ValueError(" one\ntwo ")) == "one"
    assert first_line(AssertionError()) == "AssertionError"
    assert len(first_line(ValueError("x" * 999))) == 300
