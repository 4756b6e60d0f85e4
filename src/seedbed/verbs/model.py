"""Model folders as verbs use them: an encoder, or an encoder with a head that answers, read and written whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from seedbed.core.config import validate_options
from seedbed.core.errors import DataError
from seedbed.core.find import find
from seedbed.core.runs import fingerprint
from seedbed.core.types import Facts, Task
from seedbed.data.clean import Cleaned
from seedbed.data.store import Prepared
from seedbed.data.tokenizer import Tokenizer, load_tokenizer
from seedbed.models.encoder import Encoder, encoder_of
from seedbed.models.folder import TOKENIZER, load_encoder, load_head_, save_model
from seedbed.train.state import Horizon, Training

ENCODER, NETWORK = "encoder", "network"
MEMBERS = "members"


@dataclass(frozen=True)
class Model:
    """What a model folder holds.

    Attributes:
        members: the task with its weights, ready to predict; several, whose answers are averaged, for an ensemble; none
            for an encoder alone.
        extra: kind, task, seq_len, and what else was noted.
    """

    encoder: Encoder
    facts: Facts
    tokenizer: Tokenizer | None
    members: tuple[Training, ...]
    extra: dict[str, Any]

    @property
    def training(self) -> Training | None:
        """Its one network; of an ensemble the first."""
        return self.members[0] if self.members else None

    @property
    def seq_len(self) -> int:
        """Tokens of a text it reads; 0 for images."""
        return int(self.extra.get("seq_len", 0))


def save_encoder(folder: Path, encoder: Encoder, prepared: Prepared, extra: dict[str, Any]) -> None:
    """Write an encoder with its tokenizer."""
    save_model(folder, encoder, prepared.facts, extra={"kind": ENCODER, **extra, **_tokenizer_hash(prepared)})
    _save_tokenizer(folder, prepared)


def save_network(folder: Path, members: Sequence[Training], prepared: Prepared, extra: dict[str, Any]) -> None:
    """Write a trained task: its encoder, its head and the tokenizer; further networks of an ensemble in members/."""
    told = {**extra, **_tokenizer_hash(prepared), "images": prepared.manifest.get("images", {})}
    # The folder itself comes last: what it counts is then there.
    for number, training in reversed(list(enumerate(members, 1))):
        learner = training.learner
        encoder = encoder_of(learner.encoders, prepared.modality)
        place = folder if number == 1 else folder / MEMBERS / str(number)
        about = {**told, "members": len(members)}
        save_model(place, encoder, training.facts, head=learner.get_submodule("head"), extra=about)
    _save_tokenizer(folder, prepared)


def load_model(folder: Path) -> Model:
    """Read a model folder, every byte of it verified.

    Raises:
        DataError: something is missing or damaged.
    """
    encoder, facts, extra = load_encoder(folder)
    tokenizer = load_tokenizer(folder / TOKENIZER) if (folder / TOKENIZER).exists() else None
    if tokenizer is None and facts.modality == "text":
        raise DataError(
            f"{folder / TOKENIZER} is missing.",
            cause="The model folder was copied in part.",
            fix="Restore it from a copy, or repeat the command that made it.",
        )
    if tokenizer is not None and fingerprint(tokenizer.to_json()) != extra.get("tokenizer"):
        raise DataError(
            f"{folder / TOKENIZER} is damaged: it is not the one the model was trained with.",
            cause="It was edited, or the disk changed it.",
            fix="Restore it from a copy, or repeat the command that made it.",
        )
    members = [_task(folder, encoder, facts, extra)] if extra.get("kind") == NETWORK else []
    for number in range(2, extra.get("members", 1) + 1):
        place = folder / MEMBERS / str(number)
        members.append(_task(place, *load_encoder(place)))
    return Model(encoder, facts, tokenizer, tuple(members), extra)


def load_encoder_of(run: Path) -> Model:
    """The encoder of a run as pretraining left it."""
    return load_model(run / "encoder" if (run / "encoder").exists() else run / "model")


def load_pretrained(run: Path, cleaned: Cleaned) -> Model:
    """The encoder of a run as pretraining left it, for data that it can read.

    Raises:
        DataError: the data are of another modality, or their images of another shape.
    """
    model = load_encoder_of(run)
    require_fit(model, run, cleaned)
    return model


def require_fit(model: Model, run: Path, cleaned: Cleaned) -> None:
    """Refuse data that an encoder cannot read.

    Raises:
        DataError: the data are of another modality, or their images of another shape.
    """
    if model.facts.modality != cleaned.modality:
        raise DataError(
            f"The encoder of {run} reads {model.facts.modality}, these data are {cleaned.modality}.",
            cause="An encoder reads the kind of data it was pretrained on.",
            fix="Give data of the encoder's kind, or pretrain another encoder.",
        )
    shape = cleaned.raw.shape[1:] if isinstance(cleaned.raw, np.ndarray) else model.facts.image_shape
    if model.extra.get("foreign") and shape[0] in (1, model.facts.image_shape[0]):
        return  # networks made for photographs take any size, and grey for colour
    if shape != model.facts.image_shape:
        raise DataError(
            f"The encoder of {run} reads images of {_shown(model.facts.image_shape)}, these are {_shown(shape)}.",
            cause="The working size and the channels of images are fixed when an encoder is pretrained.",
            fix=f"Try --set data.image_size={model.facts.image_shape[1]}, or pretrain another encoder.",
        )


def _shown(shape: tuple[int, ...]) -> str:
    channels, rows, columns = shape
    return f"{columns} x {rows} pixels in {channels} channel{'s' if channels > 1 else ''}"


def require_network(model: Model, folder: Path) -> tuple[Training, ...]:
    """The networks of a model that can answer.

    Raises:
        DataError: it is an encoder alone.
    """
    if not model.members:
        raise DataError(
            f"{folder} holds an encoder, which cannot answer yet.",
            cause="It was pretrained and not fine-tuned.",
            fix="Train it with labels first: seedbed finetune RUN DATA --label COLUMN.",
        )
    return model.members


def _task(folder: Path, encoder: Encoder, facts: Facts, extra: dict[str, Any]) -> Training:
    module = find("tasks", extra["task"])
    config = validate_options(module.config_class, extra.get("options", {}), "task_options")
    learner = module.learner_class(config, nn.ModuleDict({facts.modality: encoder}), facts)
    assert isinstance(learner, Task), "a network answers"
    load_head_(folder, learner.get_submodule("head"))
    learner.eval()
    return Training(learner, config, module.views, {}, {}, facts, 0, Horizon(((0, 0),)))


def _tokenizer_hash(prepared: Prepared) -> dict[str, str]:
    return {} if prepared.tokenizer is None else {"tokenizer": fingerprint(prepared.tokenizer.to_json())}


def _save_tokenizer(folder: Path, prepared: Prepared) -> None:
    if prepared.tokenizer is not None:
        prepared.tokenizer.save(folder / TOKENIZER)
