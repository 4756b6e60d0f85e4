"""Did pretraining pay? The whole comparison, around an encoder that is given or still has to be trained."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

from seedbed.core.locate import locate_run
from seedbed.core.types import Say, silent
from seedbed.data.clean import require_labels
from seedbed.plan.advise import allowed
from seedbed.verbs.accepts import ENCODING
from seedbed.verbs.cells import field_of
from seedbed.verbs.checkup import check_up, patient_of
from seedbed.verbs.ground import (
    KEPT_SHARE,
    SPENT_SHARE,
    conclude,
    finished,
    left_s,
    prepare_for,
    stand,
    working,
    write_start,
)
from seedbed.verbs.model import load_pretrained
from seedbed.verbs.options import Options, Result
from seedbed.verbs.proof import check_arms, compare, open_contest, price, settle
from seedbed.verbs.public import identities, open_publics
from seedbed.verbs.run import run
from seedbed.verbs.transfer import transfer_of
from seedbed.verbs.winner import keep_winner


def prove(
    data: Any,
    /,
    *,
    encoder: str | Path | None = None,
    out: str | Path = "runs",
    say: Say = silent,
    dry_run: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Compare a pretrained encoder with honest baselines on the same labels, and say with an interval whether it paid.

    Args:
        data: path, glob, arrays or rows; its test rows, or folds over its labels, are what arms are scored on.
        encoder: a run whose encoder is compared; without one, an encoder is pretrained first, as `run` does.
        out: folder for runs and prepared data.
        say: listener to events.
        dry_run: stop after the plan.
        options: see `Options`.

    Returns: the run folder, with eval/ and the report; the summary holds the verdict.

    Raises:
        DataError: too few labels.
        BudgetError: the time is too short for an honest comparison.
    """
    if encoder is None:
        return run(data, out=out, say=say, dry_run=dry_run, **options)
    began, publics = time.monotonic(), open_publics(options, say)
    ground = replace(stand(data, out, say, options), started=began)
    require_labels(ground.cleaned)
    check_arms(ground.settings, ground.cleaned.modality, ground.cleaned.label_kind)
    _, time_reason = allowed(ground.settings)
    source = locate_run(encoder, ENCODING)
    model = load_pretrained(source, ground.cleaned)
    planned = {"encoder": str(source), "trunk": model.encoder.spec.trunk, "size": model.encoder.spec.size}
    if dry_run:
        say("plan", plan=planned, reasons=[time_reason])
        return Result(None, planned)
    prepared = prepare_for(ground, model.tokenizer.kind if model.tokenizer else "", model.tokenizer)
    with working("prove", ground, encoder=str(source.resolve()), **identities(publics)) as folder:
        if folder.status() == "finished":
            return finished(folder, say)
        write_start(folder, ground, prepared, planned)
        transfer, field = transfer_of(source, field_of(prepared, ground.settings), ground.source.name)
        contest = open_contest(field, model.encoder.spec, ground, ground.machine, folder, publics)
        contest = replace(contest, scope=transfer.sentences)
        allowed_s = ground.seconds(SPENT_SHARE)
        proof = settle(contest, price(contest, allowed_s), allowed_s, 0.0)
        say("plan", plan=planned, reasons=[time_reason, *transfer.sentences, *proof.reasons])
        judged = compare(contest, proof, model.encoder)
        summary = {
            **planned,
            "transfer": asdict(transfer),
            **judged.summary(),
            "seconds_spent": time.monotonic() - ground.started,
        }
        kept = keep_winner(contest, judged, folder.folder / "model", left_s(folder, ground, KEPT_SHARE))
        return conclude(folder, ground, summary | kept | check_up(folder, patient_of(model.encoder, contest)))
