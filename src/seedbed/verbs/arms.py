"""The arms of a comparison as functions from a cell to answers; each chooses by training labels alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seedbed.core.device import Machine
from seedbed.core.find import find
from seedbed.core.hashing import fold
from seedbed.core.settings import Settings
from seedbed.core.types import Facts
from seedbed.data.store import Prepared
from seedbed.evaluate.baselines import MAJORITY, Classic, classic_arms
from seedbed.evaluate.kept import save_classic
from seedbed.evaluate.linear import Linear, cross_validate, fit_probe
from seedbed.evaluate.probes import Pooled
from seedbed.evaluate.scoring import scoring
from seedbed.evaluate.verdict import Arm
from seedbed.models.encoder import Encoder, EncoderSpec, build_encoder
from seedbed.train.optim import usual
from seedbed.train.state import Training
from seedbed.verbs.cells import Cell, Field
from seedbed.verbs.fit import Recipe, expected_s, fit, fit_job, predict_rows
from seedbed.verbs.model import NETWORK, save_network

# Words of a text that are read to answer: where they are only counted or averaged, the whole of it costs nothing.
WITHOUT_ORDER = ("bag", "mlp")
WHOLE_TEXT = 4096
MOST_TOKENS = 256
WORD_RATES = (3e-3, 1e-2)
# Trunks of which a fit takes seconds.
CHEAP = ("bag", "mlp")
# A checkpoint is far from where it began: it is changed in small steps.
HUB_RATES = (3e-5, 1e-4)


@dataclass(frozen=True)
class Runner:
    """An arm that can answer, and leave a model that does.

    Attributes:
        arm: its name and kind.
        answer: cell -> (answers_IC, score estimated on training labels).
        keep: (labelled rows, folder) -> learns from all of these rows, writes a model folder.
        required: a verdict needs it.
        work: number of labels -> what a fit on so many costs, in any unit.
        foresee: cell -> about the seconds of its answer, from a few steps; None where an answer takes seconds.
    """

    arm: Arm
    answer: Callable[[Cell], tuple[np.ndarray, float]]
    keep: Callable[[np.ndarray, Path], None]
    required: bool = False
    work: Callable[[int], float] = float
    foresee: Callable[[Cell], float] | None = None


def read_length(spec: EncoderSpec) -> int:
    """Tokens of a text that are read to answer for it; 0 for images."""
    if spec.modality != "text":
        return 0
    most = WHOLE_TEXT if spec.trunk in WITHOUT_ORDER else MOST_TOKENS
    return min(most, spec.options.get("context") or most)


def untrained(spec: EncoderSpec, facts: Facts, seed: int) -> Encoder:
    """The encoder as it was before pretraining."""
    torch.default_generator.manual_seed(fold(seed, "init", "objectives"))
    return build_encoder(spec, facts)


def classics_of(field: Field, settings: Settings) -> dict[str, Classic]:
    """Majority and the classic arms of the modality, on all training inputs, the most important first."""
    prepared = field.prepared
    pool = prepared.rows(split=("train", "validation"))
    weights = settings.task_options.get("class_weights", "none")
    names = (MAJORITY, *classic_arms(prepared.modality, prepared.facts.label_kind))
    return {name: Classic(name, prepared, pool, settings.seed, weights) for name in names}


def plain_runners(classics: Mapping[str, Classic]) -> list[Runner]:
    """Arms without a network; majority and the first classic one are always needed."""
    arms = [Arm(name, MAJORITY if name == MAJORITY else "classic", False) for name in classics]
    return [_classic(arm, classics[arm.name], required=at < 2) for at, arm in enumerate(arms)]


def scratch_runners(field: Field, spec: EncoderSpec, settings: Settings, machine: Machine) -> list[Runner]:
    """The same network without pretraining: trained on the labels alone, and as it is under a linear probe."""
    prepared = field.prepared
    pooled = pooled_of(untrained(spec, prepared.facts, settings.seed), prepared, machine)
    return [
        fitted(Arm("scratch", "scratch", False), spec, prepared, settings, machine, required=True),
        probed(Arm("untrained+probe", "untrained", False), pooled, settings),
    ]


def pretrained_runners(field: Field, pooled: Pooled, settings: Settings, machine: Machine) -> list[Runner]:
    """The pretrained network: frozen under a linear probe, and fine-tuned as the one from scratch is trained."""
    return [
        probed(Arm("frozen+probe", "frozen", True), pooled, settings, required=True),
        fitted(Arm("fine-tuned", "finetuned", True), pooled.encoder, field.prepared, settings, machine),
    ]


def pooled_of(encoder: Encoder, prepared: Prepared, machine: Machine) -> Pooled:
    """The features an encoder gives rows, computed once for each row."""
    return Pooled(encoder, prepared, machine, read_length(encoder.spec))


def recipe_of(spec: EncoderSpec, settings: Settings, seed: int) -> Recipe:
    """How the task is trained on a network of this kind.

    A network without layers needs higher rates: its word vectors must move from where they are.
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
        lr=settings.finetune.lr or rates[0],
        seed=seed,
        trials=() if settings.finetune.lr else rates,
        # Layers over many positions make a fit cost minutes; there one held-out part must do.
        folds=2 if spec.trunk in CHEAP else 1,
    )


def _classic(arm: Arm, classic: Classic, *, required: bool) -> Runner:
    prepared = classic.prepared

    def answer(cell: Cell) -> tuple[np.ndarray, float]:
        return classic.answer(cell.train, prepared.labels[cell.train], cell.test)

    def keep(rows: np.ndarray, folder: Path) -> None:
        about = {"arm": arm.name, "images": prepared.manifest.get("images", {})}
        save_classic(folder, classic.model(rows, prepared.labels[rows]), prepared.facts, about)

    return Runner(arm, answer, keep, required)


def fitted(
    arm: Arm,
    start: Encoder | EncoderSpec,
    prepared: Prepared,
    settings: Settings,
    machine: Machine,
    *,
    required: bool = False,
) -> Runner:
    """All of a network trained, from where it starts."""
    recipe = recipe_of(start.spec if isinstance(start, Encoder) else start, settings, settings.seed)

    def answer(cell: Cell) -> tuple[np.ndarray, float]:
        seed = fold(settings.seed, "fit", cell.n_labels, cell.draw, cell.part)
        made = fit(start, prepared, cell.train, replace(recipe, seed=seed), machine)
        return predict_rows(made.members, prepared, cell.test, recipe.seq_len, machine), made.selection

    def keep(rows: np.ndarray, folder: Path) -> None:
        last = replace(recipe, seed=fold(settings.seed, "winner"))
        _save(folder, arm, fit(start, prepared, rows, last, machine).members, prepared, last)

    def foresee(cell: Cell) -> float:
        return expected_s(start, prepared, cell.train, cell.test, recipe, machine)

    return Runner(arm, answer, keep, required, recipe.work, foresee)


def probed(
    arm: Arm,
    pooled: Pooled,
    settings: Settings,
    *,
    required: bool = False,
    learn: Callable[[np.ndarray], tuple[Linear, float]] | None = None,
) -> Runner:
    """A linear model on an encoder's features, the probe's recipe unless another is given."""
    prepared = pooled.prepared

    def probe(rows: np.ndarray) -> tuple[Linear, float]:
        return fit_probe(pooled(rows), prepared.labels[rows], prepared.facts.num_outputs, settings.seed)

    def fit_rows(rows: np.ndarray) -> tuple[Linear, float]:
        model, selection = (learn or probe)(rows)
        if settings.task_options.get("class_weights", "none") == "none":
            return model, selection

        def leaning(part: np.ndarray, rest: np.ndarray) -> np.ndarray:
            made = (learn or probe)(rows[part])[0].tilted(tilt_of(prepared, rows[part], settings))
            return made.answers(pooled(rows[rest]))

        # What leans is judged as it leans.
        leant = cross_validate(leaning, prepared.labels[rows], settings.seed).score
        return model.tilted(tilt_of(prepared, rows, settings)), leant

    def answer(cell: Cell) -> tuple[np.ndarray, float]:
        model, selection = fit_rows(cell.train)
        return model.answers(pooled(cell.test)), selection

    def keep(rows: np.ndarray, folder: Path) -> None:
        save_linear(folder, arm, pooled, fit_rows(rows)[0], rows, settings)

    return Runner(arm, answer, keep, required)


def tilt_of(prepared: Prepared, rows: np.ndarray, settings: Settings) -> np.ndarray:
    """What the weights of classes add to the log-odds of a linear model, float64 (C,)."""
    weights, facts = settings.task_options.get("class_weights", "none"), prepared.facts
    return scoring(facts.label_kind).tilt(weights, prepared.labels[rows], facts.classes)


def save_linear(folder: Path, arm: Arm, pooled: Pooled, model: Linear, rows: np.ndarray, settings: Settings) -> None:
    """Write an encoder with a linear model on its features as the network it is."""
    recipe = recipe_of(pooled.encoder.spec, settings, fold(settings.seed, "winner"))
    plain = settings.finetune.model_copy(update={"head_first": False})
    recipe = replace(recipe, options={**recipe.options, "head": "linear"}, settings=plain)
    training = fit_job(pooled.encoder, pooled.prepared, rows, None, recipe, pooled.machine).training
    _fill_(training.learner.get_submodule("head").get_submodule("out"), model, training.facts)
    _save(folder, arm, [training], pooled.prepared, recipe)


def _save(folder: Path, arm: Arm, members: Sequence[Training], prepared: Prepared, recipe: Recipe) -> None:
    about = {"kind": NETWORK, "arm": arm.name, "task": recipe.task, "options": recipe.options}
    save_network(folder, members, prepared, about | {"seq_len": recipe.seq_len})


@torch.no_grad()
def _fill_(layer: nn.Module, model: Linear, facts: Facts) -> None:
    """Put a linear model into a head; a head for numbers tells standardised ones (classes have mean 0, deviation 1)."""
    assert isinstance(layer, nn.Linear), "a linear head has one layer"
    layer.weight.copy_(torch.from_numpy(model.weight_CF / facts.target_std))
    layer.bias.copy_(torch.from_numpy((model.bias_C - facts.target_mean) / facts.target_std))
