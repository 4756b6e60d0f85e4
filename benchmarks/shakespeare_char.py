"""Characters of Shakespeare in a fixed time: how low the loss gets on the last tenth of the text.

    python benchmarks/shakespeare_char.py --text input.txt --seconds 107 --seed 1

The rest of the text is trained on. The loss is the mean over every character of the last tenth, in disjoint windows of
the training context, in nats. Nothing is chosen on it: the recipe below is fixed, the weights scored are the last ones.
The clock starts when the text is in memory and runs through tokenising, building the model, timing a few steps to plan
by, views, checks and training; it stops before the score. --steps fixes their number instead of the time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import numpy as np
import torch
from outcome import conclude, machine

from seedbed.core.device import Machine, configure
from seedbed.core.hashing import fold
from seedbed.core.types import EVALUATION_EPOCH, NO_LABEL, Batch, Facts, Padded
from seedbed.data.tokenizer import train_tokenizer
from seedbed.models.encoder import EncoderSpec, make_spec, num_parameters
from seedbed.train.assemble import Stage, assemble
from seedbed.train.loop import steps
from seedbed.train.scoring import evaluate
from seedbed.train.state import Training

MOST = 1.62
CONTEXT, BATCH, WIDTH, DEPTH, HEADS = 128, 32, 128, 4, 2
OPTIMIZER, LR, WEIGHT_DECAY, WARMUP, EMA = "muon", 1e-2, 0.1, 0.02, 0.0
TIMED_STEPS = 12
CUTS = (0.25, 0.5, 0.75, 0.9)
SPARE_S = 1.5  # left unplanned, so that a slow last step does not run over


def windows(ids: np.ndarray, starts: np.ndarray, epoch: int) -> Batch:
    """Windows of the context's length as a batch; what hangs over the end of the text is padding."""
    places = starts[:, None] + np.arange(CONTEXT)
    keep_BN = torch.from_numpy(places < len(ids))
    tokens_BN = torch.from_numpy(ids[np.minimum(places, len(ids) - 1)].astype(np.int64))
    size = len(starts)
    return Batch(
        inputs={"text": Padded(tokens_BN, keep_BN)},
        ids_B=torch.zeros(size, dtype=torch.int64),
        epochs_B=torch.full((size,), epoch),
        starts_B=torch.from_numpy(starts.astype(np.int64)),
        labels_B=torch.full((size,), NO_LABEL),
    )


def training_batches(ids: np.ndarray, seed: int) -> Callable[[int], Batch]:
    """Windows at random places, a pure function of the step."""

    def batch_at(step: int) -> Batch:
        draw = np.random.default_rng(fold(seed, "windows", step))
        return windows(ids, draw.integers(0, len(ids) - CONTEXT, BATCH), step)

    return batch_at


def validation_batches(ids: np.ndarray) -> Iterator[Batch]:
    """All of the text once, in disjoint windows; the last one is padded."""
    starts = np.arange(0, len(ids), CONTEXT)
    for low in range(0, len(starts), 128):
        yield windows(ids, starts[low : low + 128], EVALUATION_EPOCH)


def build(facts: Facts, num_steps: int, seed: int) -> Training:
    """The recipe."""
    spec = make_spec("text", "transformer", "nano", facts)
    hidden = WIDTH * 8 // 3 // 32 * 32
    options = {**spec.options, "width": WIDTH, "depth": DEPTH, "heads": HEADS, "hidden": hidden}
    stage = Stage(
        kind="objectives",
        name="causal_lm",
        options={},
        items="chunks",
        seq_len=CONTEXT,
        batch_size=BATCH,
        micro_batch=None,
        optimizer=OPTIMIZER,
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        warmup=WARMUP,
        clip=1.0,
        ema=EMA,
        freeze=(),
        steps=num_steps,
        seed=seed,
    )
    return assemble(stage, facts, EncoderSpec(**{**vars(spec), "options": options}))


def step_seconds(facts: Facts, batch_at: Callable[[int], Batch], seed: int, on: Machine) -> float:
    """Median seconds of a few steps of a model that is thrown away."""
    trial = build(facts, TIMED_STEPS, seed)
    return median(item.seconds for item in list(steps(trial, batch_at, on))[2:])


def train(training: Training, batch_at: Callable[[int], Batch], on: Machine, deadline: float | None) -> int:
    """Train to the horizon and return the characters seen; at its cuts, plan the rest anew by the clock."""
    planned = training.horizon.total
    cuts = {round(share * planned) for share in CUTS}
    started, seen = time.perf_counter(), 0
    for item in steps(training, batch_at, on):
        seen += item.positions
        if deadline is not None and item.step in cuts:
            now = time.perf_counter()
            affordable = int((deadline - SPARE_S - now) / ((now - started) / item.step))
            training.horizon = training.horizon.shortened(item.step, item.step + max(affordable, 1))
    return seen


def main() -> None:
    """Train for the time given, then score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=107.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="exact number of steps, instead of the time")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    on = machine(given.threads)
    configure(on)
    text = given.text.read_text(encoding="utf-8")

    began = time.perf_counter()
    cut = len(text) * 9 // 10
    tokenizer = train_tokenizer([text[:cut]], "char")
    learnt, unseen = tokenizer.encode_batch([text[:cut], text[cut:]])
    counts = np.bincount(learnt, minlength=tokenizer.vocab_size)
    facts = Facts("text", tokenizer.vocab_size, tuple(counts.tolist()), tuple((counts > 0).astype(int).tolist()), 1)
    batch_at = training_batches(learnt, given.seed)
    num_steps, deadline = given.steps, None
    if num_steps is None:
        deadline = began + given.seconds
        each = step_seconds(facts, batch_at, given.seed, on)
        num_steps = max(int((deadline - SPARE_S - time.perf_counter()) / each), 1)
    training = build(facts, num_steps, given.seed)
    started = time.perf_counter()
    seen = train(training, batch_at, on, deadline)
    ended = time.perf_counter()

    with training.ema.swapped() if training.ema else nullcontext():
        score = evaluate(training, validation_batches(unseen), on)
    conclude(
        "shakespeare_char",
        holds=score.loss <= MOST and (given.steps is not None or ended - began <= given.seconds),
        seconds=ended - began,
        figures={
            "val_loss": round(score.loss, 4),
            "val_chars": len(unseen),
            "tokens_per_s": round(seen / (ended - started)),
            "params": num_parameters(training.learner),
            "steps": training.step,
            "seed": given.seed,
        },
        intervals={},
        on=on,
    )


if __name__ == "__main__":
    main()
