"""Look-up of learners: the file's name is the name in the configuration, and a new file needs no edit elsewhere.

A name that ends in .py is the path of a file of the user's own, with the same things in it.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import xxhash

from seedbed.core.errors import UsageError, nearest
from seedbed.core.settings import Section

if TYPE_CHECKING:
    from seedbed.core.types import Learner, Setup, Views

NEEDED = ("SETUP", "Config", "views")

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
    if name.endswith(".py"):
        return _found(name, _own_module(Path(name)))
    known = names(kind)
    if name not in known:
        flag = "--objective" if kind == "objectives" else "--set task="
        raise UsageError(
            f'There is no {kind.removesuffix("s")} "{name}".',
            found=f"There are: {', '.join(known)}.",
            cause=nearest(name, known),
            fix=f"Choose one of them with {flag}, or give the path of your own file, which ends in .py.",
        )
    return _found(name, importlib.import_module(f"seedbed.{kind}.{name}"))


def content_of_own(name: str) -> str:
    """A hash of the user's own file, "" where the name is one of ours: a changed file is another learner."""
    return xxhash.xxh3_128_hexdigest(Path(name).read_bytes()) if name.endswith(".py") else ""


def _own_module(path: Path) -> ModuleType:
    """Run the user's file, which only the user can have named."""
    if not path.is_file():
        beside = [each.name for each in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise UsageError(
            f"{path}: there is no such file.",
            found=f"Python files in that folder: {', '.join(sorted(beside)[:10]) or 'none'}.",
            cause=nearest(path.name, beside),
            fix="Give the path of a file that holds SETUP, Config, views and one Learner.",
        )
    spec = importlib.util.spec_from_file_location(f"seedbed_own_{path.stem}", path)
    assert spec is not None and spec.loader is not None, "a name in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pydantic look their annotations up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        line = next(
            (frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)), None
        )
        line = error.lineno if isinstance(error, SyntaxError) else line
        raise UsageError(
            f"{path}{f':{line}' if line else ''}: this file cannot be used.",
            found=f"{type(error).__name__}: {error}",
            fix="Mend it; python runs it when it is named.",
        ) from error
    missing = [word for word in NEEDED if word not in vars(module)]
    if missing:
        raise UsageError(
            f"{path} is no learner.",
            found=f"It lacks {', '.join(missing)}.",
            cause="A learner's file holds SETUP, a Config, a function views and one class.",
            fix="Write it as the files of seedbed/objectives are written.",
        )
    return module


def _found(name: str, module: ModuleType) -> LearnerModule:
    return LearnerModule(name, module.SETUP, module.Config, module.views, _learner_of(module))


def _learner_of(module: ModuleType) -> Any:
    """The one public class of the file that is not its Config."""
    classes = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not key.startswith("_")
    ]
    learners = [value for value in classes if not issubclass(value, Section)]
    if len(learners) != 1:
        raise UsageError(
            f"{module.__file__} holds {len(learners)} learners.",
            found=f"Its public classes: {', '.join(found.__name__ for found in classes)}.",
            fix="A file holds exactly one; begin the names of other classes with an underscore.",
        )
    return learners[0]
