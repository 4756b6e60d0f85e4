"""Weights for use elsewhere, checked before they are handed out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seedbed.core.errors import DataError, UsageError, nearest
from seedbed.core.extras import missing, require
from seedbed.core.locate import locate_run
from seedbed.core.runs import RECORD, Run, environment, friendly, write_atomic
from seedbed.core.types import Padded, Say, Task, silent
from seedbed.export.autoencoder import AUTOENCODER, Autoencoder, export_autoencoder, load_autoencoder
from seedbed.export.gate import LONGEST, Sample, check, record, sample, staged
from seedbed.export.hf import export_classifier, export_hf
from seedbed.export.layouts import CLASSIFIER
from seedbed.export.onnx import Logits, States, export_onnx
from seedbed.export.tensorboard import export_tensorboard
from seedbed.export.tensors import export_safetensors
from seedbed.models import hub
from seedbed.models.encoder import Encoder
from seedbed.models.folder import TOKENIZER, read_manifest
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

    def logits(self, values: Tensor, keep: Tensor) -> Tensor:
        """What the network that answers says of a batch."""
        logits_BC: Tensor = self.task().predict({"values": values, "keep": keep}).logits_BC
        return logits_BC

    def task(self) -> Task:
        """The network that answers."""
        assert self.network is not None and self.network.training is not None, "a network answers"
        learner = self.network.training.learner
        assert isinstance(learner, Task), "a network answers"
        return learner

    def autoencoder(self) -> Autoencoder | None:
        """The encoder with the decoder it was pretrained with, kept by the run that did; None where that is none."""
        if "objective" not in self.encoder.extra:
            return None  # it was trained further, the decoder was not
        pretrained = Run(self.run).read_json(RECORD).get("encoder_of", self.run)
        return load_autoencoder(Path(pretrained), self.encoder.encoder, self.encoder.facts)

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
        to: "hf": the pretrained encoder in the layout of Hugging Face transformers, and in classifier/ beside it the
            whole network where it answers and its head has a class there; in autoencoder/ a masked autoencoder with
            its decoder. "onnx": the encoder, and the whole network where it answers, as ONNX files. "safetensors":
            encoder and head as they are, with JSON. "tensorboard": not the network but its log, every figure a scalar.
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
    subject = _subject(where)
    if subject.network is not None:
        _refuse_ensemble(subject.network, where)
    with staged(Path(out)) as temporary:
        told = {"to": to, **FORMATS[to](subject, temporary)}
        record(temporary, told | {"run": subject.run.name, "environment": environment()["versions"]})
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


def _states(encoder: Encoder, values: Tensor, keep: Tensor, causal: bool) -> Tensor:
    """States of inputs as they are: what a checkpoint wants around its texts is its tokenizer's affair elsewhere."""
    if isinstance(encoder.trunk, hub.Trunk) and keep.dim() == 2:
        states_BND: Tensor = encoder.trunk.net(input_ids=values, attention_mask=keep.long()).last_hidden_state
        return states_BND
    return encoder(values, keep, causal)


def _subject(run: Path) -> Subject:
    """The pretrained encoder and the network that answers; where that grew from other weights, it stands for both."""
    folder = run / "encoder" if (run / "encoder").exists() else run / "model"
    encoder = load_model(folder)  # verifies every file of it
    if folder.name == "model":
        return Subject(run, folder, encoder, encoder if encoder.training else None)
    if "spec" not in read_manifest(run / "model"):
        return Subject(run, folder, encoder, None)  # a classic arm won
    answering = load_model(run / "model")
    if not _reads_alike(encoder, answering):
        folder, encoder = run / "model", answering
    return Subject(run, folder, encoder, answering if answering.training else None)


def _refuse_ensemble(network: Model, where: Path) -> None:
    if len(network.members) > 1:
        raise UsageError(
            f"{where / 'model'} holds an ensemble of {len(network.members)} networks.",
            cause="An export is one network; the first alone would answer otherwise than the ensemble does.",
            fix="Fine-tune again with --set finetune.ensemble=1. `seedbed predict` serves the ensemble as it is.",
        )


def _reads_alike(one: Model, other: Model) -> bool:
    tokenizers = [model.tokenizer.to_json() if model.tokenizer else "" for model in (one, other)]
    return one.facts.image_shape == other.facts.image_shape and tokenizers[0] == tokenizers[1]


def _to_hf(subject: Subject, out: Path) -> dict[str, Any]:
    written = export_hf(subject.folder, out)
    if subject.network is not None and (name := _classifier(subject, out)):
        written["classifier"] = name
    whole = subject.autoencoder()
    if whole is not None:
        written["autoencoder"] = export_autoencoder(subject.folder, whole, out / AUTOENCODER)
    absent = [name for name in missing("hub") if name == "transformers"]
    if absent:
        why = "The export is not checked: transformers, which reads it, is not installed (pip install 'seedbed[hub]')."
        return written | {"gate": {"passed": None, "why": why}}
    causal = written["class"] == "LlamaForCausalLM"
    given, encoder = subject.sample(), subject.encoder.encoder

    def compute(values: Tensor, keep: Tensor) -> dict[str, Tensor]:
        found = {"states": _states(encoder, values, keep, causal)}
        if whole is not None:
            found["restored"] = whole(values, keep)
        return found | ({"logits": subject.logits(values, keep)} if "classifier" in written else {})

    ours = _computed(given, compute)
    tokenizer = subject.encoder.tokenizer
    ids: list[np.ndarray] = []
    if tokenizer is not None and given.texts:
        before, after = tokenizer.around
        ids = [np.concatenate([before, row, after]).astype(np.int64) for row in tokenizer.encode_batch(given.texts)]
    return written | {"gate": check("hf", out, given, ours, ids)}


def _classifier(subject: Subject, out: Path) -> str:
    """Write the network with its head, where it has a class for classification; the name of the class."""
    network, head = subject.network, subject.task().get_submodule("head")
    assert network is not None, "a network answers"
    task = str(network.extra["task"])
    return export_classifier(subject.run / "model", network.encoder, network.facts, head, task, out / CLASSIFIER)


def _to_onnx(subject: Subject, out: Path) -> dict[str, Any]:
    encoder, network = subject.encoder, subject.network
    states = States(encoder.encoder.eval())
    files = {"encoder.onnx": export_onnx(states, encoder.facts, out / "encoder.onnx", subject.longest)}
    if network is not None:
        files["model.onnx"] = export_onnx(Logits(subject.task()), network.facts, out / "model.onnx", subject.longest)
    _put_tokenizer(encoder, out)

    def compute(values: Tensor, keep: Tensor) -> dict[str, Tensor]:
        mask = keep.long() if keep.dim() == 2 else None
        state, pooled = states(values, mask)
        found = {"encoder.states": state, "encoder.pooled": pooled}
        return found if network is None else found | {"model.logits": subject.logits(values, keep)}

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
