"""Public weights as arms of the comparison: what somebody else pretrained, on the same labels and items.

They stand on the side without the user's pretraining: it paid only if it beats these too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.core.device import Machine
from seedbed.core.errors import UsageError
from seedbed.core.types import Say
from seedbed.data.clean import clean
from seedbed.data.store import Prepared, prepare
from seedbed.evaluate.verdict import PUBLIC, Arm
from seedbed.verbs.arms import Runner, fitted, pooled_of, probed
from seedbed.verbs.ground import Ground
from seedbed.verbs.model import require_fit
from seedbed.verbs.options import Options, resolve_options
from seedbed.verbs.start import Start, open_start

PROBE, TUNED = "public+probe", "public fine-tuned"


def public_names(paths: Sequence[str]) -> list[str]:
    """Names of the arms of `prove.public`; with several checkpoints each name says which.

    Raises:
        UsageError: two checkpoints have the same name.
    """
    if len(paths) < 2:
        return [PROBE, TUNED] if paths else []
    names = [Path(path).name for path in paths]
    if len(set(names)) < len(names):
        raise UsageError(
            "Two checkpoints of prove.public have the same name.",
            found=", ".join(paths),
            cause="Arms are told apart by the names of their folders or files.",
            fix="Rename one of the folders.",
        )
    return [f"{kind}: {name}" for name in names for kind in (PROBE, TUNED)]


def open_publics(options: Options, say: Say) -> list[Start]:
    """Read the checkpoints of `prove.public`, before anything else is done.

    Raises:
        UsageError, DataError, MachineError: as `open_start`.
    """
    paths = resolve_options(options).settings.prove.public
    public_names(paths)
    return [open_start(path, options, say) for path in paths]


def identities(starts: Sequence[Start]) -> dict[str, Any]:
    """What tells a comparison with these weights from one with others; nothing where there are none."""
    return {"public": [start.identity() for start in starts]} if starts else {}


def public_runners(ground: Ground, prepared: Prepared, starts: Sequence[Start], machine: Machine) -> list[Runner]:
    """Two arms for each checkpoint: frozen under a linear probe, and fine-tuned.

    Args:
        ground: the data as understood.
        prepared: what the other arms learn from; the same rows are prepared for each checkpoint as it wants them.
        starts: from `open_publics`.
        machine: to compute on.

    Raises:
        DataError: a checkpoint reads another kind of data.
    """
    settings, runners = ground.settings, list[Runner]()
    names = iter(public_names(settings.prove.public))
    for start in starts:
        require_fit(start.model, start.source, ground.cleaned)
        own = _prepared_as(ground, prepared, start)
        probe, tuned = Arm(next(names), PUBLIC, False), Arm(next(names), PUBLIC, False)
        encoder = start.model.encoder
        pooled = pooled_of(encoder, own, machine)
        runners += [probed(probe, pooled, settings), fitted(tuned, encoder, own, settings, machine)]
    return runners


def _prepared_as(ground: Ground, prepared: Prepared, start: Start) -> Prepared:
    """The same rows in the same splits, with the tokenizer or the image size of a checkpoint."""
    settings, cleaned = ground.settings, ground.cleaned
    for _, wants in start.layers:
        data = settings.data.model_copy(update=dict(wants["data"]))
        settings = settings.model_copy(update={"data": data})
        cleaned = clean(ground.source, settings)
    tokenizer = start.model.tokenizer
    kind = tokenizer.kind if tokenizer else ""
    own = prepare(cleaned, settings, kind, ground.out, ground.say, tokenizer=tokenizer)
    same = np.array_equal(own.ids, prepared.ids) and np.array_equal(own.splits, prepared.splits)
    assert same, "the rows of a comparison are the same for every arm"
    return own
