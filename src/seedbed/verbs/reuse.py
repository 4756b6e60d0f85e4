"""An encoder that an earlier run pretrained on the very same rows: new labels on them need no new pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from seedbed.core.errors import DataError
from seedbed.core.find import content_of_own
from seedbed.core.runs import RECORD, Run, fingerprint
from seedbed.core.settings import Settings
from seedbed.data.store import Prepared
from seedbed.models.encoder import Encoder
from seedbed.plan.advise import Plan
from seedbed.verbs.model import load_encoder_of

# What of a plan and of the settings decides which encoder comes out, besides the rows.
_PLANNED = ("objective", "trunk", "size", "items", "seq_len", "batch_size", "optimizer", "lr", "weight_decay")
_APART = {"label", "task", "task_options", "finetune", "prove", "threads", "device"}
_TOLD = ("objective", "trunk", "size", "parameters", "steps", "loss", "chance", "train_seconds", "skipped_steps")


@dataclass(frozen=True)
class Earlier:
    """What an earlier run left that fits.

    Attributes:
        run: its folder.
        encoder: as pretraining left it.
        plan: how it was pretrained.
        summary: how that went.
    """

    run: Path
    encoder: Encoder
    plan: Plan
    summary: dict[str, Any]

    @property
    def reason(self) -> str:
        """The sentence that says so."""
        return f"The encoder of {self.run} was pretrained on these very rows: it is used again."

    @property
    def pair(self) -> tuple[Encoder, dict[str, Any]]:
        """The encoder, and how its training went."""
        return self.encoder, self.summary


def pretraining_key(plan: Plan, prepared: Prepared, settings: Settings, rows: Sequence[np.ndarray]) -> str:
    """Fingerprint of a pretraining: equal ones give equal encoders, up to how far their time reached.

    Args:
        plan: before its steps are counted.
        prepared: the data.
        settings: of the run.
        rows: those that are learnt from, and those that are watched.
    """
    files = prepared.manifest["files"]
    inputs = {name: files[name]["xxh3_128"] for name in files if name.startswith(("tokens-", "images-", "tokenizer"))}
    planned = {name: getattr(plan, name) for name in _PLANNED}
    learnt = [xxhash.xxh3_128_hexdigest(np.ascontiguousarray(part).data) for part in rows]
    own = content_of_own(settings.objective)
    return fingerprint([planned, settings.model_dump(mode="json", exclude=_APART), own, inputs, learnt])


def earlier_encoder(out: Path, key: str, run: Run) -> Earlier | None:
    """The encoder of another run with the same key of its pretraining; None where there is none.

    Args:
        out: folder of runs.
        key: see `pretraining_key`.
        run: the one that looks for it; a run that has begun without stays without.
    """
    if (run.folder / "plan.json").exists() and run.read_json(RECORD).get("encoder_of") is None:
        return None
    for path in sorted(out.glob(f"*/{RECORD}")):
        other = Run(path.parent)
        try:
            told = other.read_json(RECORD)
            if path.parent == run.folder or told.get("pretraining") != key or told.get("status") != "finished":
                continue
            model = load_encoder_of(other.folder)
            plan = Plan.from_json(other.read_json("plan.json"))
        except DataError:
            continue  # a damaged run is told of by those that need it; here another will do
        summary = {name: value for name, value in told["summary"].items() if name in _TOLD}
        run.record(encoder_of=str(other.folder))
        return Earlier(other.folder, model.encoder, plan, summary | {"encoder": str(other.folder)})
    return None
