"""Looking for what went wrong in a run: its losses, its labels, its split, the network it trained; kept with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seedbed.core.device import Machine
from seedbed.core.runs import Run
from seedbed.data.store import Prepared
from seedbed.evaluate.baselines import thinned
from seedbed.evaluate.diagnose import Finding, of_fit, of_labels, of_split, ranked
from seedbed.evaluate.linear import probe_unseen
from seedbed.evaluate.probes import Pooled
from seedbed.models.encoder import Encoder
from seedbed.report.read import DIAGNOSIS, read_files
from seedbed.report.story import of_curve
from seedbed.train.state import Training
from seedbed.verbs.arms import read_length, untrained
from seedbed.verbs.fit import predict_rows
from seedbed.verbs.proof import Contest

MOST_ROWS = 3000
MOST_TEST = 1000


@dataclass(frozen=True)
class Patient:
    """What is looked at: an encoder, the rows whose labels are learnt from, and the machine to look with."""

    encoder: Encoder
    prepared: Prepared
    rows: np.ndarray
    machine: Machine
    seq_len: int
    seed: int


def patient_of(encoder: Encoder, contest: Contest) -> Patient:
    """The pretrained encoder of a comparison, with all its labels."""
    prepared = contest.prepared
    rows = prepared.rows(split=("train", "validation", "held"), labelled=True)
    return Patient(encoder, prepared, rows, contest.machine, read_length(encoder.spec), contest.settings.seed)


@dataclass(frozen=True)
class Trained:
    """A network with the rows it learnt from, and those it was stopped by."""

    member: Training
    learnt: np.ndarray
    held: np.ndarray


def check_up(run: Run, patient: Patient, trained: Trained | None = None) -> dict[str, Any]:
    """Look, and write eval/diagnosis.json.

    Args:
        run: with the losses logged so far.
        patient: rows and encoder; at most 3,000 rows and 1,000 of the test are looked at.
        trained: the network that was trained on these rows, where there is one.

    Returns: the kinds of what was found, for the summary.
    """
    prepared, rows = patient.prepared, thinned(patient.rows, MOST_ROWS)
    found: list[Finding] = []
    looked = ["losses"]
    for curve in read_files(run.folder).curves:
        # Few labels are all learnt from: no evaluation has said what chance would lose.
        blind = curve.chance is None and curve.stage.startswith("finetune") and prepared.facts.label_kind == "class"
        found += of_curve(replace(curve, chance=_entropy(prepared.labels[patient.rows])) if blind else curve)
    test = thinned(prepared.rows(split="test", labelled=True), MOST_TEST)
    seen = Pooled(patient.encoder, prepared, patient.machine, patient.seq_len)
    if len(test):
        looked.append("likeness of test and training rows")
        # Only what has learnt from neither sees both alike.
        blank = _unlearnt(patient, seen)
        split = of_split(blank(rows), blank(test))
        found += [_named(finding, prepared, test) for finding in split]
    if prepared.facts.label_kind == "class":
        looked.append("labels")
        known = prepared.labels[rows]
        probs_IC = probe_unseen(seen(rows), known, len(prepared.facts.classes), patient.seed)
        found += [_named(finding, prepared, rows) for finding in of_labels(probs_IC, known)]
        if trained is not None:
            looked.append("answers for rows learnt from and held out")
            probe_I = probs_IC.argmax(1) == known
            learnt, held = (_right(trained.member, patient, some) for some in (trained.learnt, trained.held))
            found += of_fit(learnt, held, probe_I)
    (run.folder / DIAGNOSIS).parent.mkdir(exist_ok=True)
    told = [finding.to_json() for finding in ranked(found)]
    run.write_json(DIAGNOSIS, {"looked_at": looked, "findings": told})
    return {"diagnosis": [finding["kind"] for finding in told]}


def _entropy(labels_I: np.ndarray) -> float:
    """The loss of answering with the shares of the classes, in nats."""
    share_C = np.unique(labels_I, return_counts=True)[1] / len(labels_I)
    return float(-(share_C * np.log(share_C)).sum())


def _unlearnt(patient: Patient, seen: Pooled) -> Pooled:
    """Features of the encoder before it saw these data: untrained, or as others trained it."""
    spec = patient.encoder.spec
    if spec.trunk == "hub":
        return seen
    encoder = untrained(spec, patient.encoder.facts, patient.seed)
    return Pooled(encoder, patient.prepared, patient.machine, patient.seq_len)


def _right(member: Training, patient: Patient, rows: np.ndarray) -> np.ndarray:
    rows = thinned(rows, MOST_ROWS)
    answers_IC = predict_rows([member], patient.prepared, rows, patient.seq_len, patient.machine)
    return answers_IC.argmax(1) == patient.prepared.labels[rows]


def _named(finding: Finding, prepared: Prepared, rows: np.ndarray) -> Finding:
    """The rows of a finding by the keys that the user knows."""
    keys: Sequence[str] = prepared.keys
    return finding.about([keys[row] for row in rows[list(finding.rows)].tolist()])
