"""Pretrain on the data you have, fine-tune on the labels you have got, and be told with intervals whether it paid.

Every verb of the command line is a function here. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seedbed.core.types import Facts
    from seedbed.data.source import Source
    from seedbed.models.encoder import Encoder
    from seedbed.verbs.check import check as check
    from seedbed.verbs.config import config as config
    from seedbed.verbs.demo import demo as demo
    from seedbed.verbs.doctor import doctor as doctor
    from seedbed.verbs.embed import embed as embed
    from seedbed.verbs.evaluate import evaluate as evaluate
    from seedbed.verbs.export import export as export
    from seedbed.verbs.finetune import finetune as finetune
    from seedbed.verbs.plan import plan as plan
    from seedbed.verbs.predict import predict as predict
    from seedbed.verbs.prepare import prepare as prepare
    from seedbed.verbs.pretrain import pretrain as pretrain
    from seedbed.verbs.prove import prove as prove
    from seedbed.verbs.report import report as report
    from seedbed.verbs.run import run as run
    from seedbed.verbs.runs import runs as runs
    from seedbed.verbs.suggest import suggest as suggest

    __version__: str

VERBS = (
    "run",
    "demo",
    "check",
    "prepare",
    "plan",
    "pretrain",
    "finetune",
    "evaluate",
    "prove",
    "predict",
    "suggest",
    "embed",
    "report",
    "export",
    "runs",
    "config",
    "doctor",
)

__all__ = ("load", "open", *VERBS)  # names of strings, fetched when first used


def open(data: Any, /, **options: Any) -> Source:
    """What `data` is understood as: `source.understood` says it in sentences, iterating gives its rows.

    Args:
        data: a path, a list of paths, an array, or a pair of arrays.
        options: options by the names of the configuration, such as `label="topic"`.
    """
    from seedbed.core.config import resolve
    from seedbed.data.source import open_source

    return open_source(data, resolve([("argument", options)]).settings)


def load(where: str | Path, /) -> tuple[Encoder, Facts, dict[str, Any]]:
    """The encoder of a run or of a model folder, with what is known of its data and what else was saved."""
    from seedbed.core.locate import locate_run
    from seedbed.models.folder import load_encoder

    folder = Path(where)
    return load_encoder(folder if (folder / "seedbed.json").is_file() else locate_run(folder) / "model")


class _Package(ModuleType):
    """Keeps `seedbed.report` the verb: importing the folder of the same name would put the folder in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in VERBS:
        value = getattr(importlib.import_module(f"seedbed.verbs.{name}"), name)
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("seedbed")
    else:
        raise AttributeError(f"module 'seedbed' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *VERBS, "__version__"})
