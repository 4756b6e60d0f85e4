"""Answering for rows that were never prepared: decoded as in training, nothing dropped, every row told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module

import numpy as np
import torch

from seedbed.core.device import Machine
from seedbed.core.settings import Settings
from seedbed.core.types import EVALUATION_EPOCH, NO_LABEL, Batch
from seedbed.data.rows import Row, Unreadable
from seedbed.train.state import Training
from seedbed.verbs.fit import predict_batches
from seedbed.verbs.model import Model

BATCH = 64


def answer_rows(
    model: Model, training: Training, rows: Sequence[Row], settings: Settings, machine: Machine
) -> tuple[np.ndarray, list[str]]:
    """Class probabilities of rows, float64 (I, C), nan where a row cannot be read; and the reasons, "" where it can."""
    decoder = import_module(f"seedbed.data.decode_{model.facts.modality}")
    # Images are brought to the model's size in the way its training data were.
    fixed = settings.data.model_copy(update=model.extra.get("images", {}))
    settings = settings.model_copy(update={"data": fixed})
    contents: list[str | np.ndarray] = []
    reasons = []
    for row in rows:
        try:
            content = decoder.read(row, settings)
            reason = decoder.rule(content) or ""
        except Unreadable as error:
            content, reason = None, str(error)
        reasons.append(reason)
        if not reason:
            contents.append(decoder.fit(content, model.facts.image_shape, settings))
    probs_IC = np.full((len(rows), len(model.facts.classes)), np.nan)
    if contents:
        readable = np.array([not reason for reason in reasons])
        probs_IC[readable] = _answers(model, training, contents, machine)
    return probs_IC, reasons


def _answers(model: Model, training: Training, contents: list[str | np.ndarray], machine: Machine) -> np.ndarray:
    if model.tokenizer is None:
        items = [np.asarray(content) for content in contents]
    else:
        items = [ids[: model.seq_len or None] for ids in model.tokenizer.encode_batch([str(text) for text in contents])]
    order = np.argsort([len(item) for item in items], kind="stable")
    probs_IC = np.empty((len(items), len(model.facts.classes)))
    probs_IC[order] = predict_batches(training, _batches(model.facts.modality, [items[at] for at in order]), machine)
    return probs_IC


def _batches(modality: str, items: list[np.ndarray]) -> Iterator[Batch]:
    collate = import_module(f"seedbed.data.{modality}").collate
    for low in range(0, len(items), BATCH):
        part = items[low : low + BATCH]
        zeros = torch.zeros(len(part), dtype=torch.int64)
        yield Batch({modality: collate(part)}, zeros, zeros + EVALUATION_EPOCH, zeros, zeros + NO_LABEL)
