"""The comparison: every arm on the same label subsets and items, priced first, kept cell by cell, then judged."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np

from seedbed.core.device import Machine
from seedbed.core.errors import UsageError, nearest
from seedbed.core.runs import Run
from seedbed.core.settings import Settings
from seedbed.core.types import Say
from seedbed.data.store import Prepared
from seedbed.evaluate.baselines import MAJORITY, Classic, classic_arms, dense_arm
from seedbed.evaluate.predictions import Answers, Items, summary, write_predictions
from seedbed.evaluate.scoring import Metric, scoring
from seedbed.evaluate.slices import GROUP, LENGTH, WAYS
from seedbed.evaluate.verdict import arm_to_keep
from seedbed.models.encoder import Encoder, EncoderSpec
from seedbed.plan.budget import Price, Proof, fit_proof
from seedbed.verbs.arms import Runner, classics_of, plain_runners, pooled_of, pretrained_runners, scratch_runners
from seedbed.verbs.cells import Answer, Cell, Field, store, stored
from seedbed.verbs.extra_arms import (
    CLASSIC_SELF_TRAINED,
    SELF_TRAINED,
    STACKED,
    extra_pretrained,
    extra_runners,
)
from seedbed.verbs.ground import Ground
from seedbed.verbs.public import public_names, public_runners
from seedbed.verbs.start import Start

PLAN, WIDER = "proof-plan.json", "proof-wider.json"
# These need labels that are single classes.
EXTRA = (STACKED, SELF_TRAINED, CLASSIC_SELF_TRAINED)
CLASS = "class"


def companions(modality: str) -> dict[str, tuple[str, ...]]:
    """Pretrained arms with those without pretraining that always run beside them, and cost as much together."""
    return {
        "frozen+probe": ("untrained+probe",),
        "fine-tuned": ("scratch",),
        STACKED: ("untrained+probe", dense_arm(modality)),
        SELF_TRAINED: (CLASSIC_SELF_TRAINED,),
    }


@dataclass(frozen=True)
class Contest:
    """Who meets where: everything of a comparison but the pretrained encoder.

    Attributes:
        field: pool of labels and items to be scored.
        others: the arms without pretraining.
        classics: the classic arms with what they have learnt of the inputs.
        labels: label counts wanted.
        scope: sentences on what the encoder had seen before, the first to open the verdict, the others to close it.
    """

    field: Field
    others: list[Runner]
    classics: Mapping[str, Classic]
    labels: tuple[int, ...]
    settings: Settings
    machine: Machine
    run: Run
    say: Say
    scope: Sequence[str] = ()

    @property
    def prepared(self) -> Prepared:
        """The data."""
        return self.field.prepared

    @property
    def metric(self) -> Metric:
        """What arms are compared by."""
        return scoring(self.prepared.facts.label_kind).metric(self.prepared.labels[self.field.pool])


def open_contest(
    field: Field,
    spec: EncoderSpec,
    ground: Ground,
    machine: Machine,
    run: Run,
    publics: Sequence[Start] = (),
) -> Contest:
    """Find the label counts; make the arms that need no pretrained encoder.

    Args:
        field: pool of labels and items to be scored.
        spec: of the network to be pretrained, or that was.
        ground: settings, and the data as understood.
        machine: to compute on.
        run: where answers are kept.
        publics: weights of others that take part.

    Raises:
        DataError: too few labels for what was asked.
    """
    settings, prepared = ground.settings, field.prepared
    classics = classics_of(field, settings)
    others = [*plain_runners(classics), *scratch_runners(field, spec, settings, machine)]
    others += public_runners(ground, prepared, publics, machine)
    if prepared.facts.label_kind == CLASS:
        others += extra_runners(classics, settings)
    beside = companions(prepared.modality)
    wanted = {name for arm in settings.prove.arms for name in beside.get(arm, (arm,))}
    wanted = wanted or {runner.arm.name for runner in others} - set(EXTRA)
    others = [runner for runner in others if runner.arm.name in wanted]
    return Contest(field, others, classics, field.ladder(settings.prove.labels), settings, machine, run, ground.say)


def check_arms(settings: Settings, modality: str, kind: str) -> None:
    """Refuse arms that do not exist, or among which nothing pretrained meets anything else.

    Raises:
        UsageError: with the arms there are.
    """
    network, extra = ("untrained+probe", "scratch", "frozen+probe", "fine-tuned"), EXTRA if kind == CLASS else ()
    known = [MAJORITY, *classic_arms(modality, kind), *network, *extra, *public_names(settings.prove.public)]
    wanted = settings.prove.arms
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(
            f'There is no arm "{unknown[0]}".',
            found=f"Arms for {modality}: {', '.join(known)}.",
            cause=nearest(unknown[0], known),
            fix="Correct prove.arms, or leave it out for all of them.",
        )
    if wanted and not {*network, STACKED, SELF_TRAINED} & set(wanted):
        raise UsageError(
            "Nothing pretrained is among the arms, so nothing can be compared.",
            found=f"prove.arms: {', '.join(wanted)}.",
            fix="Add frozen+probe or fine-tuned to prove.arms.",
        )


def price(contest: Contest, allowed_s: float = math.inf) -> list[Price]:
    """What every arm costs at each label count, from the first answers at the greatest; pretrained arms by twins.

    Costs at fewer labels are taken as half fixed, half in proportion. What a few steps say cannot fit is not tried out.
    """
    top = contest.labels[-1]
    parts = max(contest.field.num_folds, 1)
    first = contest.field.cells(top, 1)[0]
    most_s = allowed_s / parts / contest.settings.prove.draws

    def seconds(runner: Runner) -> float:
        # The file of an earlier answer is looked for last, and only where it matters.
        if runner.foresee and math.isfinite(most_s) and not stored(contest.run, first, runner.arm.name, contest.say):
            expected = runner.foresee(first)
            if expected > most_s:
                return expected
        return answer(contest, runner, first).seconds

    spent = {runner.arm.name: seconds(runner) * parts for runner in contest.others}
    required = {runner.arm.name: runner.required for runner in contest.others}
    for name, beside in companions(contest.prepared.modality).items():
        if all(other in spent for other in beside) and (name not in EXTRA or name in contest.settings.prove.arms):
            spent[name], required[name] = sum(spent[other] for other in beside), name == "frozen+probe"
    return [
        Price(name, {n: seconds * (0.5 + 0.5 * n / top) for n in contest.labels}, required=required[name])
        for name, seconds in spent.items()
    ]


def settle(contest: Contest, prices: Sequence[Price], allowed_s: float, spent_s: float) -> Proof:
    """What of the comparison fits the time, written down before it takes effect and taken from there afterwards."""
    if not (contest.run.folder / PLAN).exists():
        contest.run.write_json(PLAN, asdict(_fitting(contest, prices, allowed_s, spent_s)))
    return _read(contest, PLAN)


def widen(contest: Contest, prices: Sequence[Price], proof: Proof, left_s: float) -> Proof:
    """The comparison with what fits after all, where pretraining left some of its time; written down as well."""
    if not (contest.run.folder / WIDER).exists():
        more_fits = proof.reasons and left_s > proof.seconds
        contest.run.write_json(WIDER, asdict(_fitting(contest, prices, left_s) if more_fits else proof))
    wider = _read(contest, WIDER)
    more = [name for name in wider.arms if name not in proof.arms]
    more += [f"{n} labels" for n in wider.labels if n not in proof.labels]
    more += [f"{wider.items:,} items"] if wider.items > proof.items else []
    if more:
        contest.say("understood", lines=[f"pretraining left time, so there is a comparison of {', '.join(more)} too"])
    return wider


def _fitting(contest: Contest, prices: Sequence[Price], allowed_s: float, spent_s: float = 0.0) -> Proof:
    draws, items = contest.settings.prove.draws, len(contest.field.items)
    return fit_proof(prices, contest.labels, items, draws, allowed_s, spent_s)


def _read(contest: Contest, name: str) -> Proof:
    kept = contest.run.read_json(name)
    lists: dict[str, Any] = {key: tuple(kept[key]) for key in ("labels", "arms", "reasons")}
    return Proof(items=kept["items"], draws=kept["draws"], seconds=kept["seconds"], **lists)


def answer(contest: Contest, runner: Runner, cell: Cell) -> Answer:
    """An arm's answer in a cell: the kept one, or a new one, which is kept."""
    kept = stored(contest.run, cell, runner.arm.name, contest.say)
    if kept is None:
        started = time.monotonic()
        answers_IC, selection = runner.answer(cell)
        kept = Answer(answers_IC, selection, time.monotonic() - started)
        store(contest.run, cell, runner.arm.name, kept)
    metric, kind = contest.metric, scoring(contest.prepared.facts.label_kind)
    score = metric.shown(float(kind.scores(kept.answers_IC, contest.prepared.labels[cell.test]).mean()))
    where = {"n_labels": cell.n_labels, "draw": cell.draw, "part": cell.part}
    contest.say("arm", name=runner.arm.name, **where, score=score, metric=metric.name, falling=metric.falling)
    return kept


@dataclass(frozen=True)
class Judged:
    """A finished comparison.

    Attributes:
        told: what eval/proof.json holds.
        best: the arm to keep, see `verdict.arm_to_keep`.
        fit_s: what a fit of it took at that count, on average.
    """

    told: dict[str, Any]
    best: Runner
    fit_s: float

    def summary(self) -> dict[str, Any]:
        """Main figures for run.json."""
        top = str(self.told["labels"][-1])
        name = self.told["metric"]["name"].replace(" ", "_")
        scores = {arm["name"]: arm["scores"][top]["mean"] for arm in self.told["arms"]}
        rungs = [_rung(found, Metric(**self.told["metric"])) for found in self.told["differences"].values()]
        verdict = {"verdict": self.told["verdict"], "break_even": self.told["break_even"], "rungs": rungs}
        return {**verdict, name: scores, "winner": self.best.arm.name}


def _rung(found: Mapping[str, Any], metric: Metric) -> dict[str, Any]:
    """The verdict at one label count, its difference in figures and in words."""
    named = ("n_labels", "outcome", "value", "low", "high", "best_pretrained", "best_other")
    value, low, high = (metric.amount(found[key], "+") for key in ("value", "low", "high"))
    text = f"{value} ({low} to {high}) {metric.noun}".strip()
    return {key: found[key] for key in named} | {"difference": text}


def compare(contest: Contest, proof: Proof, encoder: Encoder) -> Judged:
    """Let every arm answer every cell, judge, and write eval/."""
    pooled = pooled_of(encoder, contest.prepared, contest.machine)
    pretrained = pretrained_runners(contest.field, pooled, contest.settings, contest.machine)
    if contest.prepared.facts.label_kind == CLASS:
        pretrained += extra_pretrained(pooled, contest.classics, contest.settings)
    runners = [runner for runner in (*contest.others, *pretrained) if runner.arm.name in proof.arms]
    field = contest.field.with_items(proof.items)
    prepared, confidence = contest.prepared, contest.settings.prove.confidence
    items = Items(
        tuple(prepared.keys[row] for row in field.items.tolist()),
        prepared.labels[field.items],
        prepared.facts.classes,
        prepared.facts.label_kind,
        contest.metric,
        *_about(contest.settings.prove.slices, prepared, field.items),
    )
    answers: list[Answers] = []
    seconds = dict.fromkeys((runner.arm.name for runner in runners), 0.0)
    fit_s: dict[str, float] = {}
    for n_labels in proof.labels:
        for runner in runners:
            answers_SIC, selection, spent = _answers(contest, field, runner, n_labels, proof.draws)
            answers.append(Answers(runner.arm, n_labels, answers_SIC, selection, field.pool_share(n_labels)))
            seconds[runner.arm.name] += sum(spent)
            fit_s[runner.arm.name] = sum(spent) / len(spent)
    write_predictions(contest.run.folder / "eval" / "predictions.parquet", answers, items, confidence)
    told = summary(answers, items, confidence)
    sentence = " ".join([*contest.scope[:1], told["verdict"]["sentence"], *contest.scope[1:]])
    told |= {
        "verdict": told["verdict"] | {"sentence": sentence},
        "draws": proof.draws,
        "items": len(field.items),
        "folds": field.num_folds,
        "reasons": list(proof.reasons),
        "seconds": seconds,
        "worst": _with_previews(prepared, field.items, told["worst"]),
    }
    contest.run.write_json("eval/proof.json", told)
    top = {answer.arm.name: answer.selection for answer in answers if answer.n_labels == proof.labels[-1]}
    best = arm_to_keep(told["verdict"], top)
    return Judged(told, next(runner for runner in runners if runner.arm.name == best), fit_s[best])


def _about(ways: Sequence[str], prepared: Prepared, items: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """What parts of the items are told apart by, and in which ways that can be done: all images are of one length."""
    known = {LENGTH: prepared.lengths[items], GROUP: np.array([prepared.group_names[item] for item in items.tolist()])}
    known |= {way: np.array(prepared.aside(way, items)) for way in ways if way not in WAYS}
    possible = tuple(way for way in dict.fromkeys(ways) if way != LENGTH or prepared.modality == "text")
    return {way: known[way] for way in possible if way in known}, possible


def _with_previews(prepared: Prepared, items: np.ndarray, worst: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not worst:
        return []
    row_of = {prepared.keys[row]: row for row in items.tolist()}
    rows = np.array([row_of[wrong["key"]] for wrong in worst])
    preview = import_module(f"seedbed.data.{prepared.modality}").preview
    return [{**wrong, "preview": preview(raw)} for wrong, raw in zip(worst, prepared.raw(rows), strict=True)]


def _answers(
    contest: Contest, field: Field, runner: Runner, n_labels: int, draws: int
) -> tuple[np.ndarray, float, list[float]]:
    """An arm's answers over all draws and items, float32, its mean score on training labels, seconds of each fit."""
    answers_SIC = np.full((draws, len(field.items), contest.prepared.facts.num_outputs), np.nan, np.float32)
    selections, spent = [], []
    place = {row: index for index, row in enumerate(field.items.tolist())}
    for cell in field.cells(n_labels, draws):
        made = answer(contest, runner, cell)
        answers_SIC[cell.draw, [place[row] for row in cell.test.tolist()]] = made.answers_IC
        selections.append(made.selection)
        spent.append(made.seconds)
    assert not np.isnan(answers_SIC).any(), f"{runner.arm.name} left items unanswered"
    return answers_SIC, math.fsum(selections) / len(selections), spent
