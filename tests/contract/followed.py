"""What learners lose, here or on another device; as a program, a line of JSON for each, made elsewhere.

A program, because torch must know the device before the first backward pass of a process.
"""

from __future__ import annotations

import json
from dataclasses import replace

import torch

from seedbed.evaluate.probes import pool_batches
from seedbed.models.encoder import encoder_of
from seedbed.train.loop import steps
from seedbed.train.scoring import evaluate
from seedbed.verbs.fit import predict_batches
from tests.contract import elsewhere
from tests.contract.subjects import BATCH, MACHINE, Subject, scoring, subjects

CONTROL = "control"
# The processor has no kernel for the cell that torch would ask a card for.
SUBJECTS = [subject for subject in subjects() if subject.trunk not in ("lstm", "gru", "bilstm", "bigru")]


def told(subject: Subject, num_steps: int = 2) -> list[float]:
    """The losses of steps and the score after them; of a model that comes from the processor features and answers."""
    machine = replace(MACHINE, device=subject.device)
    batches = [BATCH[subject.modality](seed) for seed in range(3)]
    training = subject.training(num_steps)
    assert {value.device.type for value in training.learner.state_dict().values()} == {subject.device}
    found = [loss for item in steps(training, batches.__getitem__, machine) for loss in item.losses.values()]
    found.append(evaluate(training, [scoring(batches[2])], machine).loss)
    loaded = replace(subject, device="cpu").training(0)
    encoder = encoder_of(loaded.learner.encoders, subject.modality)
    found += pool_batches(encoder, [scoring(batches[0])], subject.modality, machine).flatten().tolist()
    if subject.kind == "tasks":
        found += predict_batches([loaded], iter([scoring(batches[0])]), machine).flatten().tolist()
    return found


def num_steps(subject: Subject) -> int:
    """Gradients of word vectors are sparse, and autograd takes none of those from tensors of Python's making."""
    return 0 if subject.trunk == "bag" else 2


def control() -> list[float]:
    """A sum of tensors that are both there, and how many of the sums with one from here were refused."""
    with elsewhere.Elsewhere():
        distant = torch.ones(3, device=elsewhere.DEVICE)
        refused = 0
        try:
            distant + torch.ones(3)
        except RuntimeError as error:
            refused += "on the processor, others elsewhere" in str(error)
        return [float((distant + distant).sum()), float(refused)]


if __name__ == "__main__":
    elsewhere.register()
    print(json.dumps([CONTROL, control()]))
    for subject in SUBJECTS:
        with elsewhere.Elsewhere():
            print(json.dumps([str(subject), told(replace(subject, device=elsewhere.DEVICE), num_steps(subject))]))
