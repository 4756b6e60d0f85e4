"""Answering for rows that were never prepared: decoded as in training, nothing dropped, every row told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seedbed.core.device import Machine
from seedbed.core.settings import Settings
from seedbed.core.types import EVALUATION_EPOCH, NO_LABEL, Batch, Facts
from seedbed.data.rows import Row, Unreadable
from seedbed.evaluate.kept import is_classic, load_classic
from seedbed.evaluate.probes import pool_batches
from seedbed.evaluate.stacking import together
from seedbed.train.state import Training
from seedbed.verbs.arms import read_length
from seedbed.verbs.extra_arms import BESIDE
from seedbed.verbs.fit import predict_batches
from seedbed.verbs.model import Model, load_model, require_network

BATCH = 64

Contents = Sequence[str | np.ndarray]


@dataclass(frozen=True)
class Answerer:
    """What a model folder holds, as far as answers go: a network or a classic model.

    Attributes:
        facts: of the data it learnt from, with its classes.
        answer: cleaned texts or images of the working shape -> answers, float64 (I, C); see Task.answers.
        images: settings of the data by which images get that shape.
    """

    facts: Facts
    answer: Callable[[Contents], np.ndarray]
    images: Mapping[str, Any]


def load_answerer(folder: Path, machine: Machine) -> Answerer:
    """Read a model folder that can answer, every byte of it verified.

    Raises:
        DataError: something is missing or damaged, or the folder holds an encoder alone.
    """
    if is_classic(folder):
        classic, facts, extra = load_classic(folder)
        return Answerer(facts, classic.answers, extra.get("images", {}))
    model = load_model(folder)
    training, images = require_network(model, folder), model.extra.get("images", {})
    if not (folder / BESIDE).exists():
        return Answerer(model.facts, lambda contents: _answers(model, training, contents, machine), images)
    beside = load_classic(folder / BESIDE)[0]

    def both(contents: Contents) -> np.ndarray:
        return together(_answers(model, training, contents, machine), beside.answers(contents))

    return Answerer(model.facts, both, images)


def answer_rows(answerer: Answerer, rows: Sequence[Row], settings: Settings) -> tuple[np.ndarray, list[str]]:
    """Answers for rows, float64 (I, C), nan where a row cannot be read; and the reasons, "" where it can."""
    decoder = import_module(f"seedbed.data.decode_{answerer.facts.modality}")
    # Images are brought to the model's size in the way its training data were.
    fixed = settings.data.model_copy(update=answerer.images)
    settings = settings.model_copy(update={"data": fixed})
    contents: list[str | np.ndarray] = []
    reasons = []
    for row in rows:
        try:
            content = decoder.read(row, settings, answerer.facts.image_shape)
            reason = decoder.rule(content) or ""
        except Unreadable as error:
            content, reason = None, str(error)
        reasons.append(reason)
        if not reason:
            contents.append(decoder.fit(content, answerer.facts.image_shape, settings))
    answers_IC = np.full((len(rows), answerer.facts.num_outputs), np.nan)
    if contents:
        readable = np.array([not reason for reason in reasons])
        answers_IC[readable] = answerer.answer(contents)
    return answers_IC, reasons


def pool_contents(model: Model, contents: Contents, machine: Machine) -> np.ndarray:
    """The features that a model's encoder gives cleaned texts or images of its shape, float32 (I, D)."""
    order, batches = _sorted(model, contents, read_length(model.encoder.spec))
    x_ID = np.empty((len(contents), model.encoder.width), np.float32)
    x_ID[order] = pool_batches(model.encoder, batches, model.facts.modality, machine)
    return x_ID


def _answers(model: Model, training: Training, contents: Contents, machine: Machine) -> np.ndarray:
    order, batches = _sorted(model, contents, model.seq_len)
    answers_IC = np.empty((len(contents), model.facts.num_outputs))
    answers_IC[order] = predict_batches(training, batches, machine)
    return answers_IC


def _sorted(model: Model, contents: Contents, seq_len: int) -> tuple[np.ndarray, Iterator[Batch]]:
    """Contents as the model reads them, in batches of like length; and the order they come in."""
    if model.tokenizer is None:
        items = [np.asarray(content) for content in contents]
    else:
        items = [ids[: seq_len or None] for ids in model.tokenizer.encode_batch([str(text) for text in contents])]
    order = np.argsort([len(item) for item in items], kind="stable")
    return order, _batches(model.facts.modality, [items[at] for at in order])


def _batches(modality: str, items: list[np.ndarray]) -> Iterator[Batch]:
    collate = import_module(f"seedbed.data.{modality}").collate
    for low in range(0, len(items), BATCH):
        part = items[low : low + BATCH]
        zeros = torch.zeros(len(part), dtype=torch.int64)
        yield Batch({modality: collate(part)}, zeros, zeros + EVALUATION_EPOCH, zeros, zeros + NO_LABEL)
