"""Weights for use elsewhere."""

from __future__ import annotations

from pathlib import Path

from seedbed.core.errors import UsageError, nearest
from seedbed.core.locate import locate_run
from seedbed.core.types import Say, silent
from seedbed.export.hf import export_hf
from seedbed.verbs.accepts import TRAINED
from seedbed.verbs.model import load_model
from seedbed.verbs.options import Result

FORMATS = ("hf",)


def export(run: str | Path, /, *, to: str = "hf", hf: str | Path = "hf", say: Say = silent) -> Result:
    """Write the pretrained encoder of a run in another library's layout.

    Args:
        run: a run folder, or an --out folder.
        to: "hf", the layout of Hugging Face transformers.
        hf: folder to write to.
        say: listener to events.

    Raises:
        UsageError: an unknown format, or a trunk that has no class there.
    """
    if to not in FORMATS:
        raise UsageError(
            f'There is no format "{to}".',
            found=f"Formats: {', '.join(FORMATS)}.",
            cause=nearest(to, FORMATS),
            fix=f"Choose --to {' or '.join(FORMATS)}.",
        )
    where = locate_run(run, TRAINED)
    # A whole run keeps its winner in model/, which may be a network without pretraining.
    folder = where / "encoder" if (where / "encoder").exists() else where / "model"
    load_model(folder)  # verifies every file of it
    written = export_hf(folder, Path(hf))
    return Result(Path(hf), dict(written))
