"""What the figures mean, in words: the headline, what each curve tells, and what the result cannot say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seedbed.evaluate.diagnose import AT_CHANCE, Course, Finding, of_course
from seedbed.report.charts import figure_of
from seedbed.report.read import Curve, Files, Proof

IMBALANCE = 3.0
MANY_LOST = 0.05

TONES = {"paid": "good", "did not pay": "bad", "cannot tell": "unsure"}


@dataclass(frozen=True)
class Tile:
    """One main figure: its name, its value, and what it rests on."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Headline:
    """The first lines of the report."""

    outcome: str
    tone: str
    sentence: str
    tiles: Sequence[Tile]


def headline(files: Files) -> Headline:
    """The verdict where there is one, else what was learnt against chance."""
    if files.proof is not None:
        outcome = str(files.proof.verdict["outcome"])
        sentence = str(files.proof.verdict["sentence"])
        return Headline(outcome, TONES.get(outcome, "plain"), sentence, [*_proof_tiles(files.proof), *_spent(files)])
    if not files.curves:
        status = str(files.run.get("status", "unfinished"))
        return Headline(status, "plain", "This run has not trained anything.", _spent(files))
    curve = files.curves[-1]
    outcome, tone, sentence = _learnt(curve)
    return Headline(outcome, tone, sentence, [*_curve_tiles(curve), *_spent(files)])


def diagnose(curve: Curve) -> list[str]:
    """What the losses and the features of one stage tell."""
    said = []
    scored = [(step, loss) for step, loss in curve.validation if step > 0]
    found = of_curve(curve)
    if len(curve.train) > 1:
        said.append(
            "Several players train against each other, so their losses do not fall together; look at the features."
        )
    elif found:
        said += [f"{finding.kind[0].upper()}{finding.kind[1:]}: {finding.evidence}" for finding in found]
    elif len(scored) > 1:
        train = [loss for _, loss in curve.first_train()]
        recent = train[-max(len(train) // 10, 1) :]
        gap = f" (training {sum(recent) / len(recent):.3f}, validation {scored[-1][1]:.3f})" if recent else ""
        said.append(f"Validation loss has settled{gap}; more steps alone would change little.")
    probe = curve.watched.get("probe", [])
    floor = curve.floor if curve.floor is not None else (probe[0][1] if probe else None)
    if len(probe) > 1 and floor is not None:
        better = probe[-1][1] > floor
        said.append(
            f"Neighbours in feature space share their label in {probe[-1][1]:.1%} of cases, untrained in {floor:.1%}: "
            + (
                "the features carry more of what the labels mean."
                if better
                else "these features do not help the labels."
            )
        )
    spread = curve.watched.get("feature_std", [])
    if len(spread) > 1 and spread[-1][1] < 0.05 * spread[0][1]:
        said.append("The features hardly differ between examples any more: the objective has collapsed.")
    return said


def of_curve(curve: Curve) -> list[Finding]:
    """What is wrong with the losses of a stage; of several players only steps that were left out."""
    single = len(curve.train) <= 1
    course = Course(
        train=curve.first_train() if single else [],
        validation=curve.validation if single else [],
        chance=curve.chance,
        skipped=curve.skipped,
        kept_best=curve.kept_best,
    )
    return of_course(course)


def limits(files: Files) -> list[str]:
    """What this result does not say, in plain words."""
    said = []
    proof = files.proof
    if proof is not None:
        said.append(
            f"The intervals cover which labels were drawn and which rows were scored, at {proof.confidence:.0%}. They "
            "do not cover another pretraining with another seed: the encoder was pretrained once."
        )
        said.append("The result holds for rows like these. Rows from another place or time may differ.")
        draws = min((d.num_draws for d in proof.differences), default=0)
        if draws < 5:
            said.append(f"Only {draws} draws of labels: the interval is wide and its coverage not tested.")
    else:
        said.append("Nothing here was compared with a baseline. `seedbed prove` does that.")
    counts = dict(files.data.get("labels") or {})
    if (
        counts
        and files.data.get("label_kind", "class") == "class"
        and max(counts.values()) > IMBALANCE * max(min(counts.values()), 1)
    ):
        most = max(counts, key=lambda name: counts[name])
        said.append(
            f'The classes are uneven ("{most}" is the largest), so accuracy flatters whoever prefers large ones.'
        )
    total, used = _total(files), int((files.data.get("counts") or {}).get("used", 0))
    if total and used < (1 - MANY_LOST) * total:
        said.append(f"{1 - used / total:.0%} of the rows were not used; the table of the data says why.")
    if not int((files.data.get("splits") or {}).get("test", 0)) and proof is not None:
        said.append(
            "There was no test set: scores come from folds over the labelled rows, none of which was trained on."
        )
    model = (files.run.get("summary") or {}).get("model") or {}
    if model.get("labels", 0) < model.get("of", 0):
        said.append(
            f"The model that was kept learnt from {model['labels']:,} of {model['of']:,} labels: more did not fit the "
            "time. More --minutes, or `seedbed finetune` on this run, learn from all."
        )
    if "transductive = true" in files.config:
        said.append("Inputs of test rows were used in pretraining (transductive), without their labels.")
    return said


def main_figures(files: Files) -> dict[str, str]:
    """Single values of the run's plan and summary, in readable units."""
    merged = {**files.plan, **(files.run.get("summary") or {})}
    shown = {}
    for name, value in merged.items():
        if name == "xxh3" or value in ("", 0) or not isinstance(value, str | int | float):
            continue
        for ending, unit in (("_bytes", size), ("_seconds", clock), ("_s", clock)):
            if name.endswith(ending) and not isinstance(value, str | bool):
                name, value = name.removesuffix(ending), unit(value)
        shown[name.replace("_", " ")] = _shown(value)
    return shown


def stage_title(stage: str) -> str:
    """The name of a stage in running text."""
    return {"pretrain": "Pretraining", "finetune": "Fine-tuning"}.get(stage, stage.capitalize())


def size(num_bytes: float) -> str:
    """Bytes in MB or GB."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def clock(seconds: float) -> str:
    """Seconds in the two largest fitting units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"


def _total(files: Files) -> int:
    counts = files.data.get("counts") or {}
    return int(counts.get("total", sum(counts.values())))


def _proof_tiles(proof: Proof) -> list[Tile]:
    found = proof.decisive()
    if found is None:
        return []
    metric = proof.metric
    means = {arm.name: arm.scores[found.n_labels].mean for arm in proof.arms if found.n_labels in arm.scores}
    tiles = [
        Tile(
            f"Difference at {found.n_labels:,} labels",
            f"{metric.amount(found.value, '+')} {metric.noun}".rstrip(),
            f"{proof.confidence:.0%} interval {metric.amount(found.low, '+')} to {metric.amount(found.high, '+')}",
        ),
        Tile("Best pretrained", figure_of(means.get(found.best_pretrained, math.nan)), found.best_pretrained),
        Tile("Best other", figure_of(means.get(found.best_other, math.nan)), found.best_other),
        Tile("Evidence", f"{found.num_draws} draws", f"of labels, scored on {found.num_items:,} items"),
    ]
    if proof.break_even.get("at"):
        low, high = (proof.break_even.get(side) for side in ("low", "high"))
        below, above = (f"{bound:,}" if bound else "open" for bound in (low, high))
        tiles.append(Tile("Break-even", f"about {proof.break_even['at']:,} labels", f"bounds {below} to {above}"))
    more, draws = (proof.verdict.get(f"{what}_to_tell") for what in ("labels", "draws"))
    if proof.verdict.get("outcome") == "cannot tell" and (more or draws):
        tiles.append(Tile("Would tell", f"about {int(more):,}" if more else f"{draws} draws", "labels" if more else ""))
    return tiles


def _curve_tiles(curve: Curve) -> list[Tile]:
    tiles = []
    if curve.validation:
        against = f"chance {curve.chance:.3f}" if curve.chance is not None else "chance unknown"
        tiles.append(Tile("Validation loss", f"{curve.validation[-1][1]:.3f}", against))
    tiles += [
        Tile(name.replace("_", " ").capitalize(), f"{value:.3f}", "validation rows")
        for name, value in curve.metrics.items()
    ]
    probe = curve.watched.get("probe", [])
    if probe:
        tiles.append(Tile("Neighbours agree", f"{probe[-1][1]:.1%}", f"untrained {curve.floor or probe[0][1]:.1%}"))
    points = curve.validation or curve.first_train()
    if points:
        tiles.append(Tile("Steps", f"{int(points[-1][0]):,}", curve.stage))
    return tiles


def _spent(files: Files) -> list[Tile]:
    seconds = files.run.get("seconds")
    return [Tile("Time spent", clock(float(seconds)), "the whole command")] if seconds else []


def _learnt(curve: Curve) -> tuple[str, str, str]:
    """Outcome, tone and sentence of a stage that was not compared with anything."""
    name = stage_title(curve.stage)
    points = curve.validation or curve.first_train()
    if not points:
        return "unfinished", "plain", f"{name} has not logged a step yet."
    step, loss = points[-1]
    rows = "validation rows" if curve.validation else "training rows"
    if curve.chance is None or len(curve.train) > 1:
        sentence = f"{name} took {step:,.0f} steps; its loss on {rows} went from {points[0][1]:.3f} to {loss:.3f}."
        return "trained", "plain", sentence + " No level of chance is known for it, so the loss alone proves nothing."
    against = f"after {step:,.0f} steps its loss on {rows} is {loss:.3f}, against {curve.chance:.3f} by chance"
    if loss >= AT_CHANCE * curve.chance:
        return "learnt nothing", "bad", f"{name} has learnt nothing beyond frequencies: {against}."
    return "learnt", "good", f"{name} has learnt from the data: {against} ({1 - loss / curve.chance:.0%} lower)."


def _shown(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
