"""Answering for rows that were never prepared: decoded as in training, nothing dropped, every row told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from seedbed.core.device import Machine
from seedbed.core.settings import Settings
from seedbed.core.types import EVALUATION_EPOCH, NO_LABEL, Batch, Facts, Say
from seedbed.data.rows import Row, Unreadable
from seedbed.data.store import Prepared
from seedbed.evaluate.baselines import thinned
from seedbed.evaluate.kept import is_classic, load_classic
from seedbed.evaluate.linear import Features
from seedbed.evaluate.probes import pool_batches
from seedbed.evaluate.stacking import together
from seedbed.evaluate.trust import MOST_REFERENCES, Trust, fit_trust, load_trust, save_trust
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
        features: the same contents -> what the model sees in them, (I, F), dense or sparse.
        images: settings of the data by which images get that shape.
        trust: how far its answers can be trusted, by which they are calibrated; None where that was not learnt.
    """

    facts: Facts
    answer: Callable[[Contents], np.ndarray]
    features: Callable[[Contents], Features]
    images: Mapping[str, Any]
    trust: Trust | None = None


def load_answerer(folder: Path, machine: Machine) -> Answerer:
    """Read a model folder that can answer, every byte of it verified.

    Raises:
        DataError: something is missing or damaged, or the folder holds an encoder alone.
    """
    trust = load_trust(folder)
    plain = _plain_answerer(folder, machine)
    if trust is None:
        return plain
    return replace(plain, answer=lambda contents: trust.calibrated(plain.answer(contents)), trust=trust)


def _plain_answerer(folder: Path, machine: Machine) -> Answerer:
    if is_classic(folder):
        classic, facts, extra = load_classic(folder)
        return Answerer(facts, classic.answers, classic.features, extra.get("images", {}))
    model = load_model(folder)
    members, images = require_network(model, folder), model.extra.get("images", {})

    def alone(contents: Contents) -> np.ndarray:
        return _answers(model, members, contents, machine)

    def look(contents: Contents) -> np.ndarray:
        return pool_contents(model, contents, machine)

    if not (folder / BESIDE).exists():
        return Answerer(model.facts, alone, look, images)
    beside = load_classic(folder / BESIDE)[0]

    def both(contents: Contents) -> np.ndarray:
        return together(alone(contents), beside.answers(contents))

    return Answerer(model.facts, both, look, images)


def learn_trust(
    folder: Path, answers_IC: np.ndarray, held: np.ndarray, prepared: Prepared, machine: Machine
) -> dict[str, Any]:
    """Learn how far a model that has just been kept can be trusted, and write that beside it.

    Args:
        folder: of the model.
        answers_IC: of a model like it, for rows whose labels it had not seen; may be none.
        held: those rows.
        prepared: the data: their training rows are what has been seen.
        machine: what features are computed on.

    Returns: what was learnt, for the summary.
    """
    rows = thinned(prepared.rows(split=("train", "validation", "held")), MOST_REFERENCES)
    features = _plain_answerer(folder, machine).features
    trust = fit_trust(answers_IC, prepared.labels[held], features(list(prepared.raw(rows))))
    save_trust(folder, trust)
    return trust.about()


class Read(NamedTuple):
    """Rows as they were read.

    Attributes:
        contents: of those that can be read, decoded as in training.
        reasons: of every row, why it cannot be read; "" where it can.
    """

    contents: list[str | np.ndarray]
    reasons: list[str]

    def warn(self, say: Say) -> None:
        """Say how many rows could not be read."""
        unread = sum(map(bool, self.reasons))
        if unread:
            told = f"{unread:,} of {len(self.reasons):,} rows could not be read; their reasons are in the answers."
            say("warning", text=told)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of the rows that could be read (I, ...) as values of all rows, nan where there is none."""
        readable = np.array([not reason for reason in self.reasons], bool)
        every = np.full((len(self.reasons), *values.shape[1:]), np.nan)
        every[readable] = values
        return every


def read_rows(facts: Facts, images: Mapping[str, Any], rows: Sequence[Row], settings: Settings) -> Read:
    """Decode rows as a model wants them, images brought to its size in the way its training data were."""
    decoder = import_module(f"seedbed.data.decode_{facts.modality}")
    settings = settings.model_copy(update={"data": settings.data.model_copy(update=dict(images))})
    read = Read([], [])
    for row in rows:
        try:
            content = decoder.read(row, settings, facts.image_shape)
            reason = decoder.rule(content) or ""
        except Unreadable as error:
            content, reason = None, str(error)
        read.reasons.append(reason)
        if not reason:
            read.contents.append(decoder.fit(content, facts.image_shape, settings))
    return read


def answer_rows(answerer: Answerer, rows: Sequence[Row], settings: Settings) -> tuple[np.ndarray, list[str]]:
    """Answers for rows, float64 (I, C), nan where a row cannot be read; and the reasons, "" where it can."""
    read = read_rows(answerer.facts, answerer.images, rows, settings)
    none = np.empty((0, answerer.facts.num_outputs))
    return read.spread(answerer.answer(read.contents) if read.contents else none), read.reasons


def pool_contents(model: Model, contents: Contents, machine: Machine) -> np.ndarray:
    """The features that a model's encoder gives cleaned texts or images of its shape, float32 (I, D)."""
    order, batches = _sorted(model, contents, read_length(model.encoder.spec))
    x_ID = np.empty((len(contents), model.encoder.width), np.float32)
    x_ID[order] = pool_batches(model.encoder, batches, model.facts.modality, machine)
    return x_ID


def _answers(model: Model, members: Sequence[Training], contents: Contents, machine: Machine) -> np.ndarray:
    order, batches = _sorted(model, contents, model.seq_len)
    answers_IC = np.empty((len(contents), model.facts.num_outputs))
    answers_IC[order] = predict_batches(members, batches, machine)
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
