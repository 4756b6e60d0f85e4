"""Errors a user can mend. Each says what was wrong and where, what was found, the nearest cause, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SeedbedError(Exception):
    """Base of all errors that are not bugs.

    Args:
        what: what was wrong, with its place (file:row:column).
        found: what was there instead.
        cause: the nearest match or the likely cause.
        fix: the command or change that mends it.
    """

    exit_code = 1

    def __init__(self, what: str, *, found: str = "", cause: str = "", fix: str = "") -> None:
        self.what, self.found, self.cause, self.fix = what, found, cause, fix
        super().__init__("\n".join(part for part in (what, found, cause, fix) if part))


class UsageError(SeedbedError):
    """The command or configuration cannot be meant: exit code 2."""

    exit_code = 2


class DataError(SeedbedError):
    """The data cannot be used as asked: exit code 3."""

    exit_code = 3


class MachineError(SeedbedError):
    """Something outside is missing or in the way (extra, permission, disk, lock): exit code 4."""

    exit_code = 4


class OutOfMemoryError(SeedbedError):
    """The job does not fit: exit code 5."""

    exit_code = 5


class BudgetError(SeedbedError):
    """The time given is too short for an honest result: exit code 6."""

    exit_code = 6


class TrainingError(SeedbedError):
    """Training cannot go on (non-finite losses): exit code 1."""


class Interrupted(SeedbedError):
    """Stopped by a signal after saving; the same command continues: exit code 130."""

    exit_code = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence offering the closest known word, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f'Did you mean "{matches[0]}"?' if matches else ""


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line of at most 300 characters; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
