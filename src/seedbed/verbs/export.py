"""Weights for use elsewhere, checked before they are handed out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seedbed.core.errors import DataError, UsageError, nearest
from seedbed.core.extras import missing, require
from seedbed.core.locate import locate_run
from seedbed.core.runs import Run, environment, friendly, write_atomic
from seedbed.core.types import Padded, Say, Task, silent
from seedbed.export.gate import LONGEST, Sample, check, record, sample, staged
from seedbed.export.hf import export_hf
from seedbed.export.onnx import Logits, States, export_onnx
from seedbed.export.tensorboard import export_tensorboard
from seedbed.export.tensors import export_safetensors
from seedbed.models.folder import TOKENIZER
from seedbed.verbs.accepts import TRAINED
from seedbed.verbs.model import Model, load_model
from seedbed.verbs.options import Result

TENSORBOARD = "tensorboard"
EXTRA = {"onnx": "export", TENSORBOARD: "tensorboard"}  # formats that need more than a plain installation


@dataclass(frozen=True)
class Subject:
    """What is exported.

    Attributes:
        run: the run folder.
        folder: of the encoder; a whole run keeps its winner in model/, which may be a network without pretraining.
        encoder: the model in that folder.
        network: what answers, None where nothing does yet.
        longest: most tokens of a text it can read.
    """

    run: Path
    folder: Path
    encoder: Model
    network: Model | None

    @property
    def longest(self) -> int | None:
        """Most positions the encoder has a place for; None: any number."""
        return self.encoder.encoder.spec.options.get("context")

    def sample(self) -> Sample:
        """Rows to check the export on."""
        most = min(LONGEST, self.longest or LONGEST)
        return sample(self.run, self.encoder.facts, self.encoder.tokenizer, most)


def export(run: str | Path, /, *, to: str = "hf", out: str | Path = "export", say: Say = silent) -> Result:
    """Write a run's network for other programs, and check it: read in a new process, it must compute the same.

    Args:
        run: a run folder, or an --out folder.
        to: "hf": the pretrained encoder in the layout of Hugging Face transformers. "onnx": the encoder, and the whole
            network where it answers, as ONNX files. "safetensors": encoder and head as they are, with JSON.
            "tensorboard": not the network but its log, every figure a scalar.
        out: folder to write to; what was there under the same names is replaced.
        say: listener to events.

    Returns: the folder; export.json in it says what was written and what the check found.

    Raises:
        UsageError: an unknown format, or a network that has no place in it.
        MachineError: an extra is missing, or the check failed; then nothing is left.
    """
    known = (*FORMATS, TENSORBOARD)
    if to not in known:
        raise UsageError(
            f'There is no format "{to}".',
            found=f"Formats: {', '.join(known)}.",
            cause=nearest(to, known),
            fix=f"Choose --to {' or '.join(known)}.",
        )
    if to in EXTRA:
        require(EXTRA[to], f"Export to {to}")
    where = locate_run(run, TRAINED)
    if to == TENSORBOARD:
        return _log(where, Path(out))
    folder = where / "encoder" if (where / "encoder").exists() else where / "model"
    encoder = load_model(folder)  # verifies every file of it
    answering = encoder if folder.name == "model" else load_model(where / "model")
    subject = Subject(where, folder, encoder, answering if answering.training else None)
    with staged(Path(out)) as temporary:
        told = {"to": to, **FORMATS[to](subject, temporary)}
        record(temporary, told | {"run": where.name, "environment": environment()["versions"]})
    passed = told["gate"]["passed"]
    say("gate", **told["gate"]) if passed else say("warning", text=told["gate"]["why"])
    return Result(Path(out), told)


def _log(run: Path, out: Path) -> Result:
    events = Run(run).events()
    if not events:
        raise DataError(
            f"{run} has logged nothing.", cause="It has not trained yet.", fix="Give a run that has begun to train."
        )
    with friendly(out):
        out.mkdir(parents=True, exist_ok=True)
        return Result(out, {"to": TENSORBOARD, "points": export_tensorboard(events, out)})


def _to_hf(subject: Subject, out: Path) -> dict[str, Any]:
    written = export_hf(subject.folder, out)
    absent = [name for name in missing("hub") if name == "transformers"]
    if absent:
        why = "The export is not checked: transformers, which reads it, is not installed (pip install 'seedbed[hub]')."
        return written | {"gate": {"passed": None, "why": why}}
    causal = written["class"] == "LlamaForCausalLM"
    given, encoder = subject.sample(), subject.encoder.encoder
    ours = _computed(given, lambda values, keep: {"states": encoder(values, keep, causal)})
    tokenizer = subject.encoder.tokenizer
    ids = tokenizer.encode_batch(given.texts) if tokenizer is not None and given.texts else []
    return written | {"gate": check("hf", out, given, ours, ids)}


def _to_onnx(subject: Subject, out: Path) -> dict[str, Any]:
    encoder, network = subject.encoder, subject.network
    states = States(encoder.encoder.eval())
    files = {"encoder.onnx": export_onnx(states, encoder.facts, out / "encoder.onnx", subject.longest)}
    logits = None
    if network is not None and network.training is not None:
        assert isinstance(network.training.learner, Task), "a network answers"
        logits = Logits(network.training.learner.eval())
        files["model.onnx"] = export_onnx(logits, network.facts, out / "model.onnx", subject.longest)
    _put_tokenizer(encoder, out)

    def compute(values: Tensor, keep: Tensor) -> dict[str, Tensor]:
        mask = keep.long() if keep.dim() == 2 else None
        state, pooled = states(values, mask)
        found = {"encoder.states": state, "encoder.pooled": pooled}
        return found if logits is None else found | {"model.logits": logits(values, mask)}

    given = subject.sample()
    classes = {} if network is None else {"classes": list(network.facts.classes)}
    return {"files": files, **classes, "gate": check("onnx", out, given, _computed(given, compute))}


def _to_safetensors(subject: Subject, out: Path) -> dict[str, Any]:
    model = subject.network or subject.encoder
    head = None if model.training is None else model.training.learner.get_submodule("head")
    files = export_safetensors(model.encoder, model.facts, head, out)
    _put_tokenizer(model, out)
    given = subject.sample()
    ours = _computed(given, lambda values, keep: {"states": model.encoder(values, keep)})
    return {"files": files, "gate": check("safetensors", out, given, ours)}


def _put_tokenizer(model: Model, out: Path) -> None:
    if model.tokenizer is not None:
        write_atomic(out / TOKENIZER, model.tokenizer.to_json().encode())


@torch.no_grad()
def _computed(given: Sample, compute: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    def one(batch: Padded) -> dict[str, Tensor]:
        return compute(batch.values, batch.keep)

    return [one(batch) for batch in given.batches]


FORMATS: dict[str, Callable[[Subject, Path], dict[str, Any]]] = {
    "hf": _to_hf,
    "onnx": _to_onnx,
    "safetensors": _to_safetensors,
}
