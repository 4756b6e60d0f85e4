"""All of it: understand, clean, plan, pretrain, compare, keep the winner, report."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from seedbed.core.runs import Run
from seedbed.core.types import Say, silent
from seedbed.data.store import Prepared
from seedbed.models.encoder import Encoder, make_spec
from seedbed.plan.advise import Plan, advise
from seedbed.plan.budget import PROVE_SHARE, Price, Proof
from seedbed.verbs.cells import field_of
from seedbed.verbs.checkup import check_up, patient_of
from seedbed.verbs.ground import (
    KEPT_SHARE,
    SPENT_SHARE,
    WIDENED_SHARE,
    Ground,
    conclude,
    finished,
    left_s,
    prepare_for,
    stand,
    working,
    write_start,
)
from seedbed.verbs.model import save_encoder
from seedbed.verbs.options import Options, Result
from seedbed.verbs.pretrain import check_options, key_of, planned_machine, profile_of, train_encoder
from seedbed.verbs.pretrain import settle as settle_plan
from seedbed.verbs.proof import Contest, check_arms, compare, open_contest, price, settle, widen
from seedbed.verbs.public import identities, open_publics
from seedbed.verbs.reuse import earlier_encoder
from seedbed.verbs.start import Start
from seedbed.verbs.winner import keep_winner


def run(
    data: Any, /, *, out: str | Path = "runs", say: Say = silent, dry_run: bool = False, **options: Unpack[Options]
) -> Result:
    """Pretrain on the inputs, fine-tune on the labels, compare with honest baselines, and say whether it paid.

    Args:
        data: path, glob, arrays or rows: whatever `seedbed.open` understands.
        out: folder for runs and prepared data.
        say: listener to events.
        dry_run: stop after the plan.
        options: see `Options`.

    Returns: the run folder, with the best model, the comparison and the report; the summary holds the verdict.

    Raises:
        DataError: no usable rows. Data without labels are pretrained on, and the verdict says what is missing.
        BudgetError: the time is too short for an honest comparison.
    """
    began, publics = time.monotonic(), open_publics(options, say)
    ground = replace(stand(data, out, say, options), started=began)
    plan = advise(profile_of(ground), ground.settings, ground.machine)
    check_options(plan, ground.settings)
    check_arms(ground.settings, ground.cleaned.modality, ground.cleaned.label_kind)
    if dry_run:
        say("plan", plan=plan.to_json(), reasons=list(plan.reasons))
        return Result(None, {"plan": plan.to_json()})
    prepared = prepare_for(ground, plan.tokenizer)
    with working("run", ground, **identities(publics)) as folder:
        if folder.status() == "finished":
            return finished(folder, say)
        key = key_of(ground, prepared, plan)
        earlier = earlier_encoder(ground.out, key, folder)
        share = SPENT_SHARE if earlier else PROVE_SHARE
        priced = _priced(ground, prepared, plan, folder, publics, share)
        prove_s = priced.proof.seconds if priced else 0.0
        plan = earlier.plan if earlier else settle_plan(ground, prepared, plan, folder, prove_s)
        write_start(folder, ground, prepared, plan.to_json())
        reasons = [earlier.reason] if earlier else list(plan.reasons)
        say("plan", plan=plan.to_json(), reasons=[*reasons, *(priced.proof.reasons if priced else ())])
        encoder, told = earlier.pair if earlier else _trained(ground, prepared, plan, folder, prove_s)
        about = {"objective": plan.objective}
        save_encoder(folder.folder / "encoder", encoder, prepared, about)
        folder.record(pretraining=key)
        if priced is None:
            save_encoder(folder.folder / "model", encoder, prepared, about)
            return conclude(folder, ground, told | {"verdict": _unproven(ground)})
        contest = priced.contest
        proof = widen(contest, priced.prices, priced.proof, left_s(folder, ground, WIDENED_SHARE))
        judged = compare(contest, proof, encoder)
        kept = keep_winner(contest, judged, folder.folder / "model", left_s(folder, ground, KEPT_SHARE))
        seen = check_up(folder, patient_of(encoder, contest))
        return conclude(folder, ground, told | judged.summary() | kept | seen)


def _trained(
    ground: Ground, prepared: Prepared, plan: Plan, folder: Run, prove_s: float
) -> tuple[Encoder, dict[str, Any]]:
    """An encoder pretrained in the time that the comparison leaves, and how that went."""
    deadline = ground.deadline(SPENT_SHARE)
    deadline = None if deadline is None else deadline - prove_s
    return train_encoder(ground, prepared, plan, folder, deadline=deadline).pair(plan)


class Priced(NamedTuple):
    """A comparison, what its arms cost, and what of it fits."""

    contest: Contest
    prices: list[Price]
    proof: Proof


def _priced(
    ground: Ground, prepared: Prepared, plan: Plan, folder: Run, publics: Sequence[Start], share: float
) -> Priced | None:
    """The comparison that will follow in a share of the time, priced by its first answers; nothing without labels."""
    if ground.cleaned.lacking:
        return None
    machine = planned_machine(plan, ground)
    spec = make_spec(prepared.modality, plan.trunk, plan.size, prepared.facts)
    contest = open_contest(field_of(prepared, ground.settings), spec, ground, machine, folder, publics)
    seconds = math.inf if plan.seconds is None else plan.seconds
    prices = price(contest, share * seconds)
    proof = settle(contest, prices, share * seconds, time.monotonic() - ground.started)
    return Priced(contest, prices, proof)


def _unproven(ground: Ground) -> dict[str, Any]:
    return {
        "outcome": "cannot tell",
        "sentence": f"Labels are missing ({ground.cleaned.lacking}): the encoder is pretrained, and whether it pays "
        "needs labels that differ. Name their column with --label COLUMN.",
    }
