"""Training a task on some labelled rows, and its predictions: the fine-tuned and the from-scratch arm, and finetune."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seedbed.core.device import Machine, autocast
from seedbed.core.find import find
from seedbed.core.hashing import fold, hash_rows
from seedbed.core.rng import keys_for
from seedbed.core.settings import FinetuneSettings
from seedbed.core.types import Batch, Moment, Task, silent
from seedbed.data.loader import Loader
from seedbed.data.store import Prepared
from seedbed.evaluate.linear import fit_probe
from seedbed.evaluate.probes import features
from seedbed.evaluate.scoring import scoring
from seedbed.models.encoder import Encoder, EncoderSpec, encoder_of
from seedbed.models.heads import Classifier
from seedbed.train.assemble import Stage, assemble, chosen, loader_of
from seedbed.train.cost import step_seconds
from seedbed.train.optim import usual
from seedbed.train.state import Training
from seedbed.verbs.drive import Job, drive

# Below this many labels a held-out part is too small to stop by: the recipe is fixed, the same for every arm.
EARLY_STOPPING_FROM = 200
PARTS = 5
EPOCHS = 20
LEAST_STEPS, MOST_STEPS = 150, 1000
LEAST_WARMUP = 0.1
# A forward pass alone, as a share of a step.
SCORING = 1 / 3


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
        most_steps: of one network.
    """

    task: str
    options: dict[str, Any]
    settings: FinetuneSettings
    seq_len: int
    max_batch: int
    lr: float
    seed: int
    trials: tuple[float, ...] = ()
    folds: int = 1
    most_steps: int = MOST_STEPS

    def stops_early(self, num_labels: int) -> bool:
        """Whether there are labels enough to hold some out and stop by them."""
        return num_labels >= EARLY_STOPPING_FROM and self.settings.patience > 0

    def networks(self, num_labels: int) -> int:
        """How many networks a fit on so many labels trains, trials included."""
        stopping = self.stops_early(num_labels)
        return max(len(self.trials), 1) * (1 if stopping else self.folds) + self.settings.ensemble - stopping

    @property
    def parts_unseen(self) -> int:
        """For how many of the PARTS `answer_unseen` trains a network: all where a fit is cheap, else one."""
        return PARTS if self.folds > 1 else 1

    def work(self, num_labels: int) -> float:
        """Examples that a fit on so many labels learns from, unless it stops before."""
        stage = self.stage(num_labels, stopping=self.stops_early(num_labels))
        return float(self.networks(num_labels) * stage.steps * stage.batch_size)

    def stage(self, num_labels: int, *, stopping: bool) -> Stage:
        """The stage for so many labels."""
        setup = find("tasks", self.task).setup
        batch_size = min(self.settings.batch_size or self.max_batch, num_labels)
        steps = min(max(math.ceil(EPOCHS * num_labels / batch_size), LEAST_STEPS), self.most_steps)
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
            lr=self.lr,
            weight_decay=weight_decay if self.settings.weight_decay is None else self.settings.weight_decay,
            steps=steps,
            seed=self.seed,
            layer_decay=self.settings.layer_decay,
            **{**chosen(self.settings), "warmup": max(self.settings.warmup, LEAST_WARMUP), **watched},
        )


@dataclass(frozen=True)
class Trial:
    """A learning rate with what it reached on labels held out of its training rows, and the network of the last part.

    Attributes:
        recipe: with that rate.
        loss, score: means over the held-out labels.
    """

    recipe: Recipe
    loss: float
    score: float
    training: Training


@dataclass(frozen=True)
class Fitted:
    """Networks trained for a task, whose answers are averaged, with the score one reached on held-out labels."""

    members: tuple[Training, ...]
    selection: float


def parts(prepared: Prepared, rows: np.ndarray, seed: int) -> np.ndarray:
    """A part of PARTS for each row: sorted by class and keyed by content within it, dealt in turn."""
    order = np.lexsort((hash_rows(seed, "holdout", prepared.ids[rows]), prepared.strata(rows)))
    part_of = np.empty(len(rows), np.int64)
    part_of[order] = np.arange(len(rows)) % PARTS
    return part_of


def fit(start: Encoder | EncoderSpec, prepared: Prepared, rows: np.ndarray, recipe: Recipe, machine: Machine) -> Fitted:
    """Train a task on labelled rows, at the learning rate that does best on held-out labels among them.

    With few labels the networks are trained on all rows, for as long as the fixed recipe says; with more each stops
    early on a part held out, another one for each.

    Args:
        start: a pretrained encoder (it is copied, not changed), or a description of a new one.
        rows: labelled rows of `prepared`.
    """
    best = best_of(try_rates(start, prepared, rows, recipe, machine))
    members = [best.training] if recipe.stops_early(len(rows)) else []
    for number in range(len(members), recipe.settings.ensemble):
        job = member_job(start, prepared, rows, best.recipe, machine, number)
        drive(job, silent)
        members.append(job.training)
    return Fitted(tuple(members), best.score)


def timed_step(
    start: Encoder | EncoderSpec, prepared: Prepared, rows: np.ndarray, recipe: Recipe, machine: Machine
) -> float:
    """Seconds of a step of a network that is thrown away."""
    plain = replace(recipe, settings=recipe.settings.model_copy(update={"head_first": False}))
    job = fit_job(start, prepared, rows, None, plain, machine)
    return step_seconds(job.training, job.batch_at, machine)


def expected_s(
    start: Encoder | EncoderSpec,
    prepared: Prepared,
    rows: np.ndarray,
    asked: np.ndarray,
    recipe: Recipe,
    machine: Machine,
) -> float:
    """About the seconds of a fit on labelled rows and of its answers for others, from a few steps that are timed."""
    step_s = timed_step(start, prepared, rows, recipe, machine)
    batch_size = recipe.stage(len(rows), stopping=False).batch_size
    return step_s * (recipe.work(len(rows)) + SCORING * len(asked)) / batch_size


def try_rates(
    start: Encoder | EncoderSpec, prepared: Prepared, rows: np.ndarray, recipe: Recipe, machine: Machine
) -> list[Trial]:
    """Each learning rate of the recipe, trained without some labels and scored on them."""
    stopping = recipe.stops_early(len(rows))
    kind = scoring(prepared.facts.label_kind)
    tried = []
    for lr in recipe.trials or (recipe.lr,):
        trial = replace(recipe, lr=lr)
        count = 1 if stopping else recipe.folds
        held, found, training = _without_parts(start, prepared, rows, trial, machine, count=count, stopping=stopping)
        targets = prepared.labels[held]
        loss, score = float(kind.losses(found, targets).mean()), float(kind.scores(found, targets).mean())
        tried.append(Trial(trial, loss, score, training))
    return tried


def answer_unseen(
    start: Encoder | EncoderSpec, prepared: Prepared, rows: np.ndarray, recipe: Recipe, machine: Machine
) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and answers (I, C) for them by networks trained as on all rows, but without them; see `parts_unseen`."""
    return _without_parts(start, prepared, rows, recipe, machine, count=recipe.parts_unseen, stopping=False)[:2]


def _without_parts(
    start: Encoder | EncoderSpec,
    prepared: Prepared,
    rows: np.ndarray,
    recipe: Recipe,
    machine: Machine,
    *,
    count: int,
    stopping: bool,
) -> tuple[np.ndarray, np.ndarray, Training]:
    """The rows of the first parts, answers (I, C) for each by a network trained without its part, the last of these.

    Args:
        count: how many of the PARTS are left out, one after another.
        stopping: whether each network stops early by the part it is trained without.
    """
    part_of = parts(prepared, rows, recipe.seed)
    answered, answers = [], []
    for part in range(count):
        learn, held = rows[part_of != part], rows[part_of == part]
        job = fit_job(start, prepared, learn, held if stopping else None, recipe, machine)
        drive(job, silent)
        answered.append(held)
        answers.append(predict_rows([job.training], prepared, held, recipe.seq_len, machine))
    return np.concatenate(answered), np.concatenate(answers), job.training


def best_of(trials: Sequence[Trial]) -> Trial:
    """By the loss, which is less noisy than the score, so that the score told is hardly the luckier of two."""
    return min(trials, key=lambda trial: trial.loss)


def member_job(
    start: Encoder | EncoderSpec, prepared: Prepared, rows: np.ndarray, recipe: Recipe, machine: Machine, number: int
) -> Job:
    """The stage of one network of an ensemble: its own seed, and its own part of the labels to stop by."""
    own = recipe if number == 0 else replace(recipe, seed=fold(recipe.seed, "member", number))
    learn, held = member_rows(prepared, rows, recipe, number)
    return fit_job(start, prepared, learn, held if len(held) else None, own, machine)


def member_jobs(
    start: Encoder | EncoderSpec, prepared: Prepared, rows: np.ndarray, recipe: Recipe, machine: Machine
) -> list[Job]:
    """The stages of all networks of an ensemble."""
    return [member_job(start, prepared, rows, recipe, machine, number) for number in range(recipe.settings.ensemble)]


def member_rows(prepared: Prepared, rows: np.ndarray, recipe: Recipe, number: int) -> tuple[np.ndarray, np.ndarray]:
    """What a network of an ensemble learns from, and what it stops by: a fifth, another for each; none of few."""
    if not recipe.stops_early(len(rows)):
        return rows, rows[:0]
    part_of = parts(prepared, rows, recipe.seed)
    return rows[part_of != number % PARTS], rows[part_of == number % PARTS]


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
    training = assemble(stage, facts, deepcopy(start), machine.device)
    # A probe of features that mean nothing yet would only lead astray: from scratch the head starts at random.
    if recipe.settings.head_first and isinstance(start, Encoder):
        start_head_(training, prepared, rows, recipe, machine)
    loader = loader_of(stage, prepared, rows)
    validation = None if held is None else partial(loader_of(stage, prepared, held).evaluation, batch_size=64)
    return Job("finetune", stage, training, machine, loader.batch, validation)


@torch.no_grad()
def start_head_(training: Training, prepared: Prepared, rows: np.ndarray, recipe: Recipe, machine: Machine) -> None:
    """Set the last layer of a task to a linear probe on what it reads, so that the encoder keeps what it knows.

    Source: Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution".
    """
    head = training.learner.get_submodule("head")
    assert isinstance(head, Classifier), "a task ends in a head with a last layer"
    encoder = encoder_of(training.learner.encoders, prepared.modality)
    pooled_ID = torch.from_numpy(features(encoder, prepared, rows, machine, recipe.seq_len))
    hidden_IF = head.hidden(pooled_ID.to(head.out.weight.device)).double().cpu().numpy()
    targets, facts = prepared.labels[rows], training.facts
    probe, _ = fit_probe(hidden_IF, targets, facts.num_outputs, training.seed)
    weights = recipe.options.get("class_weights", "none")
    bias_C = probe.tilted(scoring(facts.label_kind).tilt(weights, targets, facts.classes)).bias_C
    # A class without a label here gets the odds of one more row among so many, not none: it may still be learnt.
    known_C = np.isfinite(bias_C)
    bias_C = np.where(known_C, bias_C, bias_C[known_C].mean() - np.log(len(rows) + 1))
    # A head for numbers tells standardised ones; classes have mean 0 and deviation 1.
    head.out.weight.copy_(torch.from_numpy(probe.weight_CF / facts.target_std))
    head.out.bias.copy_(torch.from_numpy((bias_C - facts.target_mean) / facts.target_std))


@torch.no_grad()
def predict_rows(
    members: Sequence[Training], prepared: Prepared, rows: np.ndarray, seq_len: int, machine: Machine
) -> np.ndarray:
    """Answers for rows, float64 (I, C), in the order of `rows`."""
    order = np.argsort(prepared.lengths[rows], kind="stable")
    answers_IC = np.zeros((len(rows), members[0].facts.num_outputs))
    if len(rows):
        loader = Loader(prepared, rows[order], seed=0, batch_size=64, items="whole", seq_len=seq_len)
        answers_IC[order] = predict_batches(members, loader.evaluation(), machine)
    return answers_IC


@torch.no_grad()
def predict_batches(members: Sequence[Training], batches: Iterator[Batch], machine: Machine) -> np.ndarray:
    """Mean answers of networks for the examples of batches, float64 (I, C), in their order; see Task.answers."""
    found = []
    for member in members:
        member.learner.to(machine.device)
    for batch in batches:
        moved = batch.to(torch.device(machine.device))
        answers = [_answers(member, moved, machine) for member in members]
        found.append((sum(answers[1:], answers[0]) / len(answers)).cpu().numpy())
    return np.concatenate(found)


def _answers(member: Training, batch: Batch, machine: Machine) -> Tensor:
    learner = member.learner
    assert isinstance(learner, Task), "only a task predicts"
    learner.eval()
    views = member.views(batch, member.config, Moment(keys_for(0, batch, -1), -1, 1.0, False, member.facts))
    with autocast(machine):
        logits_BC: Tensor = learner.predict(views).logits_BC
    return learner.answers(logits_BC)
