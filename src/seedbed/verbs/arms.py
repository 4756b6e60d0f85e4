"""The arms of a comparison as functions from a cell to answers; each chooses by training labels alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from seedbed.core.device import Machine
from seedbed.core.find import find
from seedbed.core.rng import fold
from seedbed.core.settings import Settings
from seedbed.core.types import Facts
from seedbed.data.store import Prepared
from seedbed.evaluate.baselines import Classic, classic_arms, majority
from seedbed.evaluate.probes import features, logistic_probe
from seedbed.evaluate.verdict import Arm
from seedbed.models.encoder import Encoder, EncoderSpec, build_encoder
from seedbed.train.optim import usual
from seedbed.verbs.cells import Cell, Field
from seedbed.verbs.fit import Recipe, fit, predict_rows

# Words of a text that are read to answer: without layers the whole of it costs nothing.
WHOLE_TEXT = 4096
MOST_TOKENS = 256
WORD_RATES = (1e-2, 3e-2)
# A checkpoint is far from where it began: it is changed in small steps.
HUB_RATES = (3e-5, 1e-4)

Answering = Callable[[Cell], tuple[np.ndarray, float]]


@dataclass(frozen=True)
class Runner:
    """An arm that can answer.

    Attributes:
        arm: its name and kind.
        answer: cell -> (probs_IC, accuracy estimated on training labels).
        required: a verdict needs it.
    """

    arm: Arm
    answer: Answering
    required: bool = False


def read_length(spec: EncoderSpec) -> int:
    """Tokens of a text that are read to answer for it; 0 for images."""
    if spec.modality != "text":
        return 0
    most = WHOLE_TEXT if spec.trunk == "bag" else MOST_TOKENS
    return min(most, spec.options.get("context") or most)


def untrained(spec: EncoderSpec, facts: Facts, seed: int) -> Encoder:
    """The encoder as it was before pretraining."""
    torch.default_generator.manual_seed(fold(seed, "init", "objectives"))
    return build_encoder(spec, facts)


def plain_runners(field: Field, seed: int) -> list[Runner]:
    """Arms without a network: majority and the classic ones of the modality, on all training inputs."""
    prepared = field.prepared
    num_classes = len(prepared.facts.classes)

    def guess(cell: Cell) -> tuple[np.ndarray, float]:
        return majority(prepared.labels[cell.train], len(cell.test), num_classes)

    runners = [Runner(Arm("majority", "majority", False), guess, required=True)]
    for index, name in enumerate(classic_arms(prepared.modality)):
        classic = Classic(name, prepared, prepared.rows(split=("train", "validation")), seed)
        runners.append(Runner(Arm(name, "classic", False), _classic(classic), required=index == 0))
    return runners


def scratch_runners(field: Field, spec: EncoderSpec, settings: Settings, machine: Machine) -> list[Runner]:
    """The same network without pretraining: trained on the labels alone, and as it is under a linear probe."""
    prepared = field.prepared
    start = untrained(spec, prepared.facts, settings.seed)
    return [
        Runner(Arm("scratch", "scratch", False), _fitted(spec, prepared, settings, machine), required=True),
        Runner(Arm("untrained+probe", "untrained", False), _probed(start, prepared, settings, machine)),
    ]


def pretrained_runners(field: Field, encoder: Encoder, settings: Settings, machine: Machine) -> list[Runner]:
    """The pretrained network: frozen under a linear probe, and fine-tuned as the one from scratch is trained."""
    prepared = field.prepared
    return [
        Runner(Arm("frozen+probe", "frozen", True), _probed(encoder, prepared, settings, machine), required=True),
        Runner(Arm("fine-tuned", "finetuned", True), _fitted(encoder, prepared, settings, machine)),
    ]


def recipe_of(spec: EncoderSpec, settings: Settings, seed: int) -> Recipe:
    """How the task is trained on a network of this kind.

    A network without layers needs the higher rates: its word vectors must move from where they are.
    """
    setup = find("tasks", settings.task).setup
    lr = usual(settings.finetune.optimizer, setup)[0]
    rates = WORD_RATES if spec.trunk == "bag" else (lr, 3 * lr)
    if spec.trunk == "hub" and not settings.finetune.freeze:
        rates = HUB_RATES
    return Recipe(
        task=settings.task,
        options=dict(settings.task_options),
        settings=settings.finetune,
        seq_len=read_length(spec),
        max_batch=setup.batch_size,
        lr=rates[0],
        seed=seed,
        trials=() if settings.finetune.lr else rates,
        # Attention makes a fit cost minutes; there one held-out part must do.
        folds=1 if spec.trunk == "transformer" else 2,
    )


def _classic(classic: Classic) -> Answering:
    labels = classic.prepared.labels

    def run(cell: Cell) -> tuple[np.ndarray, float]:
        return classic.answer(cell.train, labels[cell.train], cell.test)

    return run


def _fitted(start: Encoder | EncoderSpec, prepared: Prepared, settings: Settings, machine: Machine) -> Answering:
    spec = start.spec if isinstance(start, Encoder) else start
    recipe = recipe_of(spec, settings, settings.seed)

    def run(cell: Cell) -> tuple[np.ndarray, float]:
        seed = fold(settings.seed, "fit", cell.n_labels, cell.draw, cell.part)
        fitted = fit(start, prepared, cell.train, replace(recipe, seed=seed), machine)
        return predict_rows(fitted.training, prepared, cell.test, recipe.seq_len, machine), fitted.selection

    return run


def _probed(encoder: Encoder, prepared: Prepared, settings: Settings, machine: Machine) -> Answering:
    """A linear probe on features that are computed once for each row."""
    seq_len = read_length(encoder.spec)
    place: dict[int, int] = {}
    blocks: list[np.ndarray] = []

    def known(rows: np.ndarray) -> np.ndarray:
        new = np.array([row for row in rows.tolist() if row not in place], np.int64)
        if len(new):
            new = new[np.argsort(prepared.lengths[new], kind="stable")]
            place.update({row: len(place) + index for index, row in enumerate(new.tolist())})
            blocks[:] = [np.concatenate([*blocks, features(encoder, prepared, new, machine, seq_len)])]
        return blocks[0][[place[row] for row in rows.tolist()]]

    def run(cell: Cell) -> tuple[np.ndarray, float]:
        train_y = prepared.labels[cell.train]
        return logistic_probe(known(cell.train), train_y, known(cell.test), len(prepared.facts.classes), settings.seed)

    return run
