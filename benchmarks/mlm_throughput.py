"""Masked-token pretraining in real tokens per second, against transformers' BertForMaskedLM under its own Trainer.

    python benchmarks/mlm_throughput.py --data train.parquet [--seconds 15] [--device cuda --size base]

ratio = median over the alternations of (our tokens per second / the peer's), each pair measured one after the other.
Both sides read the same windows of at most 128 tokens made by the same vocabulary, hide 15 % of the tokens (80 % mask,
10 % random, 10 % unchanged), use no dropout, train by AdamW, and have the same number of parameters within 5 %. A token
is one that is not padding; masking, batching, forward, backward and the optimiser's step are inside the clock on both
sides. The peer groups by length and takes the fastest of three batch sizes and two precisions, found on this machine
first; on a graphics card of larger ones, as a step of few windows is all waiting there.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from bert_peer import Peer, Shape
from outcome import conclude, machine

from seedbed.core.device import Machine, configure
from seedbed.core.find import find
from seedbed.core.settings import Settings
from seedbed.core.types import silent
from seedbed.data.clean import clean
from seedbed.data.loader import Loader
from seedbed.data.source import open_source
from seedbed.data.store import Prepared, prepare
from seedbed.models.encoder import make_spec, num_parameters
from seedbed.train.assemble import Stage, assemble
from seedbed.train.loop import Step, steps
from seedbed.train.state import Training

LEAST_RATIO = 2.0
BATCH = {"cpu": 128, "cuda": 512}
MASKING = 0.15
PEER_BATCHES = {"cpu": (16, 32, 64), "cuda": (64, 256, 512)}
PEER_LR = 1e-4
MOST_STEPS = 1_000_000
WARM_STEPS = 3


def our_side(
    prepared: Prepared, loader: Loader, stage: Stage, size: str, on: Machine
) -> tuple[Training, Iterator[Step]]:
    """The learner and an endless iterator over its optimiser steps."""
    spec = make_spec("text", "transformer", size, prepared.facts)
    training = assemble(stage, prepared.facts, spec, on.device)
    return training, steps(training, loader.batch, on)


def our_rate(running: Iterator[Step], seconds: float) -> float:
    """Real tokens per second over about so many seconds, after a few steps to warm up."""
    list(itertools.islice(running, WARM_STEPS))
    started, tokens = time.perf_counter(), 0
    for item in running:
        tokens += item.positions
        elapsed = time.perf_counter() - started
        if elapsed >= seconds:
            break
    return tokens / elapsed


def stage_of(seed: int, batch_size: int) -> Stage:
    """The objective's own recipe, with a fixed share of hidden tokens and the peer's optimiser."""
    setup = find("objectives", "masked_lm").setup
    return Stage(
        kind="objectives",
        name="masked_lm",
        options={"rate_start": MASKING, "rate_end": MASKING},
        items="chunks",
        seq_len=setup.seq_len,
        batch_size=batch_size,
        micro_batch=None,
        optimizer="adamw",
        lr=setup.lr,
        weight_decay=setup.weight_decay,
        warmup=0.05,
        clip=1.0,
        ema=0.0,
        freeze=(),
        steps=MOST_STEPS,
        seed=seed,
    )


def peer_of(prepared: Prepared, loader: Loader, spec_options: dict[str, int], wanted: int, device: str) -> Peer:
    """The peer with the inner width that brings it closest to our number of parameters."""
    assert prepared.tokenizer is not None, "texts have a tokenizer"
    windows: list[np.ndarray] = []
    for batch in loader.evaluation():
        tokens_BN, keep_BN = batch.inputs["text"]
        windows += [row[keep].numpy() for row, keep in zip(tokens_BN, keep_BN, strict=True)]
    shape = Shape(
        vocab_size=prepared.facts.vocab_size,
        width=spec_options["width"],
        depth=spec_options["depth"],
        heads=spec_options["heads"],
        seq_len=max(map(len, windows)),
    )
    tokenizer_file = prepared.folder / "tokenizer.json"
    inner = 4 * shape.width
    trial = Peer(shape, inner, tokenizer_file, [], MASKING, device).num_parameters()
    inner += round((wanted - trial) / (2 * shape.width * shape.depth) / 32) * 32
    return Peer(shape, inner, tokenizer_file, windows, MASKING, device)


def peer_settings(peer: Peer, seconds: float) -> dict[tuple[int, bool], float]:
    """Tokens per second of the peer by (batch size, bfloat16)."""
    tried = itertools.product(PEER_BATCHES[peer.device], (True, False))
    return {(size, bf16): peer.rate(size, bf16, seconds, PEER_LR, WARM_STEPS) for size, bf16 in tried}


def main() -> None:
    """Prepare, find the peer's best settings, alternate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--alternations", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=BATCH)
    parser.add_argument("--size", default="micro")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    on = machine(given.threads, given.device)
    configure(on)
    stage = stage_of(given.seed, BATCH[on.device])
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(seed=given.seed)
        prepared = prepare(clean(open_source(given.data, settings), settings), settings, "bpe", Path(folder), silent)
        loader = Loader(
            prepared,
            prepared.rows(split="train"),
            seed=given.seed,
            batch_size=stage.batch_size,
            items=stage.items,
            seq_len=stage.seq_len,
        )
        training, running = our_side(prepared, loader, stage, given.size, on)
        ours = num_parameters(training.learner)
        options = make_spec("text", "transformer", given.size, prepared.facts).options
        peer = peer_of(prepared, loader, options, ours, on.device)
        difference = peer.num_parameters() / ours - 1
        assert abs(difference) <= 0.05, f"the peer has {difference:+.1%} parameters"
        found = peer_settings(peer, given.seconds / 2)
        size, bf16 = max(found, key=lambda one: found[one])
        pairs = [
            (our_rate(running, given.seconds), peer.rate(size, bf16, given.seconds, PEER_LR, WARM_STEPS))
            for _ in range(given.alternations)
        ]
    ratios = [mine / theirs for mine, theirs in pairs]
    conclude(
        "mlm_throughput",
        holds=median(ratios) >= LEAST_RATIO,
        seconds=time.perf_counter() - began,
        figures={
            "ratio": round(median(ratios), 3),
            "tokens_per_s": round(median(mine for mine, _ in pairs)),
            "peer_tokens_per_s": round(median(theirs for _, theirs in pairs)),
            "params": ours,
            "peer_params": peer.num_parameters(),
            "batch_size": stage.batch_size,
            "peer_batch_size": size,
            "peer_precision": "bfloat16" if bf16 else "float32",
            "peer_tried": {f"{one} {'bf16' if half else 'fp32'}": round(rate) for (one, half), rate in found.items()},
            "padding_share": round(loader.padding_share(), 4),
            "alternations": given.alternations,
        },
        intervals={"ratio": [round(min(ratios), 3), round(max(ratios), 3)]},
        on=on,
    )


if __name__ == "__main__":
    main()
