"""How verbs tell what they do. Apart from the other types, so that looking at data need not load torch."""

from __future__ import annotations

from typing import Protocol


class Say(Protocol):
    """Where verbs tell what they do: the command line draws it, a program may listen or not."""

    def __call__(self, event: str, **fields: object) -> None:
        """Take one event with its named values."""


def silent(event: str, **fields: object) -> None:
    """Listen to nothing."""
