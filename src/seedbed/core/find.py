"""Look-up of learners: the file's name is the name in the configuration, and a new file needs no edit elsewhere."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from seedbed.core.errors import UsageError, nearest
from seedbed.core.settings import Section

if TYPE_CHECKING:
    from seedbed.core.types import Learner, Setup, Views

Kind = Literal["objectives", "tasks"]


@dataclass(frozen=True)
class LearnerModule:
    """One file of seedbed/objectives or seedbed/tasks.

    Attributes:
        name: of the file, and in the configuration.
        setup: what it asks of data, model and optimiser.
        config_class: its own options.
        views: (batch, config, moment) -> views.
        learner_class: called with (config, encoders, facts).
    """

    name: str
    setup: Setup
    config_class: type[Section]
    views: Callable[..., Views]
    learner_class: Callable[..., Learner]


def names(kind: str) -> list[str]:
    """Names of all learners of a kind, sorted; imports none of them.

    Args:
        kind: "objectives" or "tasks".
    """
    folder = importlib.import_module(f"seedbed.{kind}")
    return sorted(found.name for found in pkgutil.iter_modules(folder.__path__))


def find(kind: str, name: str) -> LearnerModule:
    """Import one learner's file.

    Args:
        kind: "objectives" or "tasks".
        name: of its file.

    Raises:
        UsageError: there is no such file.
    """
    known = names(kind)
    if name not in known:
        flag = "--objective" if kind == "objectives" else "--set task="
        raise UsageError(
            f'There is no {kind.removesuffix("s")} "{name}".',
            found=f"There are: {', '.join(known)}.",
            cause=nearest(name, known),
            fix=f"Choose one of them with {flag}.",
        )
    module = importlib.import_module(f"seedbed.{kind}.{name}")
    return LearnerModule(name, module.SETUP, module.Config, module.views, _learner_of(module))


def _learner_of(module: ModuleType) -> Any:
    """The one public class of the file that is not its Config."""
    classes = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not key.startswith("_")
    ]
    learners = [value for value in classes if not issubclass(value, Section)]
    assert len(learners) == 1, f"{module.__name__} holds {len(learners)} learners; a file holds exactly one"
    return learners[0]
