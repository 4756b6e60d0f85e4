"""Training a task on some labelled rows, and its predictions: the fine-tuned and the from-scratch arm, and finetune."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from seedbed.core.device import Machine, autocast
from seedbed.core.find import find
from seedbed.core.rng import hash_rows, keys_for
from seedbed.core.settings import TrainSettings
from seedbed.core.types import Batch, Moment, Task, silent
from seedbed.data.loader import Loader
from seedbed.data.store import Prepared
from seedbed.evaluate.scoring import scoring
from seedbed.models.encoder import Encoder, EncoderSpec
from seedbed.train.assemble import Stage, assemble, chosen, loader_of
from seedbed.train.optim import usual
from seedbed.train.state import Training
from seedbed.verbs.drive import Job, drive

# Below this many labels a held-out part is too small to stop by: the recipe is fixed, the same for every arm.
EARLY_STOPPING_FROM = 200
PARTS = 5
EPOCHS = 20
LEAST_STEPS, MOST_STEPS = 150, 1000
LEAST_WARMUP = 0.1


@dataclass(frozen=True)
class Recipe:
    """How a task is trained: the same for every arm.

    Attributes:
        task: file name of the task.
        options: of its own Config.
        settings: the user's; what is None there is filled in here.
        seq_len: tokens read of an example.
        max_batch: largest batch.
        lr: peak learning rate.
        trials: learning rates to choose from by held-out labels; empty: `lr`.
        folds: parts of the labels held out in turn to choose by, while labels are too few for early stopping.
    """

    task: str
    options: dict[str, object]
    settings: TrainSettings
    seq_len: int
    max_batch: int
    lr: float
    seed: int
    trials: tuple[float, ...] = ()
    folds: int = 1

    def stage(self, num_labels: int, *, stopping: bool) -> Stage:
        """The stage for so many labels."""
        setup = find("tasks", self.task).setup
        batch_size = min(self.settings.batch_size or self.max_batch, num_labels)
        steps = min(max(math.ceil(EPOCHS * num_labels / batch_size), LEAST_STEPS), MOST_STEPS)
        optimizer = setup.optimizer if self.settings.optimizer == "auto" else self.settings.optimizer
        weight_decay = usual(optimizer, setup)[1]
        watched = {} if stopping else {"patience": 0, "evaluations": 1}
        return Stage(
            kind="tasks",
            name=self.task,
            options=dict(self.options),
            items="whole",
            seq_len=self.settings.seq_len or self.seq_len,
            batch_size=batch_size,
            micro_batch=self.settings.micro_batch,
            optimizer=optimizer,
            lr=self.settings.lr or self.lr,
            weight_decay=weight_decay if self.settings.weight_decay is None else self.settings.weight_decay,
            steps=steps,
            seed=self.seed,
            **{**chosen(self.settings), "warmup": max(self.settings.warmup, LEAST_WARMUP), **watched},
        )


@dataclass(frozen=True)
class Fitted:
    """A trained task with the score it reached on labels held out of its training rows."""

    training: Training
    selection: float


def holdout(prepared: Prepared, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split labelled rows into fitting and held-out ones: the first of five stratified parts is held out."""
    part_of = _parts(prepared, rows, seed)
    return rows[part_of != 0], rows[part_of == 0]


def _parts(prepared: Prepared, rows: np.ndarray, seed: int) -> np.ndarray:
    """A part of PARTS for each row: sorted by class and keyed by content within it, dealt in turn."""
    order = np.lexsort((hash_rows(seed, "holdout", prepared.ids[rows]), prepared.strata(rows)))
    part_of = np.empty(len(rows), np.int64)
    part_of[order] = np.arange(len(rows)) % PARTS
    return part_of


def fit(start: Encoder | EncoderSpec, prepared: Prepared, rows: np.ndarray, recipe: Recipe, machine: Machine) -> Fitted:
    """Train a task on labelled rows, at the learning rate that does best on held-out labels among them.

    With few labels the final model is trained on all rows, for as long as the fixed recipe says; with more it stops
    early on the held-out part, which is then no part of what it learns from.

    Args:
        start: a pretrained encoder (it is copied, not changed), or a description of a new one.
        rows: labelled rows of `prepared`.
    """
    stopping = len(rows) >= EARLY_STOPPING_FROM and recipe.settings.patience > 0
    part_of = _parts(prepared, rows, recipe.seed)
    tried: list[tuple[Recipe, float, float, Training]] = []
    kind = scoring(prepared.facts.label_kind)
    for lr in recipe.trials or (recipe.lr,):
        trial = replace(recipe, lr=lr)
        probs, truth = [], []
        for part in range(1 if stopping else recipe.folds):
            learn, held = rows[part_of != part], rows[part_of == part]
            training = _train(start, prepared, learn, held if stopping else None, trial, machine)
            probs.append(predict_rows(training, prepared, held, recipe.seq_len, machine))
            truth.append(prepared.labels[held])
        answers, targets = np.concatenate(probs), np.concatenate(truth)
        loss, score = float(kind.losses(answers, targets).mean()), float(kind.scores(answers, targets).mean())
        tried.append((trial, loss, score, training))
    # By the loss, which is less noisy than the score, so that the score told is hardly the luckier of two.
    best, _, selection, training = min(tried, key=lambda one: one[1])
    if not stopping:
        training = _train(start, prepared, rows, None, best, machine)
    return Fitted(training, selection)


def _train(
    start: Encoder | EncoderSpec,
    prepared: Prepared,
    rows: np.ndarray,
    held: np.ndarray | None,
    recipe: Recipe,
    machine: Machine,
) -> Training:
    job = fit_job(start, prepared, rows, held, recipe, machine)
    drive(job, silent)
    return job.training


def fit_job(
    start: Encoder | EncoderSpec,
    prepared: Prepared,
    rows: np.ndarray,
    held: np.ndarray | None,
    recipe: Recipe,
    machine: Machine,
) -> Job:
    """The stage that trains a task on rows, stopping early by held-out ones where there are some."""
    facts = prepared.facts_of(rows)
    if isinstance(start, Encoder):
        # What the encoder looks up and how it scales is its own, whatever the new data are like.
        own = ("vocab_size", "token_counts", "document_counts", "num_documents", "channel_mean", "channel_std")
        shape = (start.facts.image_shape[0], *facts.image_shape[1:])
        facts = replace(facts, image_shape=shape, **{name: vars(start.facts)[name] for name in own})
    stage = recipe.stage(len(rows), stopping=held is not None)
    training = assemble(stage, facts, deepcopy(start))
    loader = loader_of(stage, prepared, rows)
    validation = None if held is None else partial(loader_of(stage, prepared, held).evaluation, batch_size=64)
    return Job("finetune", stage, training, machine, loader.batch, validation)


@torch.no_grad()
def predict_rows(
    training: Training, prepared: Prepared, rows: np.ndarray, seq_len: int, machine: Machine
) -> np.ndarray:
    """Answers for rows, float64 (I, C), in the order of `rows`."""
    order = np.argsort(prepared.lengths[rows], kind="stable")
    answers_IC = np.zeros((len(rows), training.facts.num_outputs))
    if len(rows):
        loader = Loader(prepared, rows[order], seed=0, batch_size=64, items="whole", seq_len=seq_len)
        answers_IC[order] = predict_batches(training, loader.evaluation(), machine)
    return answers_IC


@torch.no_grad()
def predict_batches(training: Training, batches: Iterator[Batch], machine: Machine) -> np.ndarray:
    """Answers for the examples of batches, float64 (I, C), in their order; see Task.answers."""
    learner = training.learner
    if not isinstance(learner, Task):
        raise AssertionError("only a task predicts")
    learner.eval()
    found = []
    for batch in batches:
        moved = batch.to(torch.device(machine.device))
        views = training.views(moved, training.config, Moment(keys_for(0, moved, -1), -1, 1.0, False, training.facts))
        with autocast(machine):
            logits_BC: Tensor = learner.predict(views).logits_BC
        found.append(learner.answers(logits_BC).cpu().numpy())
    return np.concatenate(found)
