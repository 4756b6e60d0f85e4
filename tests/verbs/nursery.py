"""A process that has loaded everything once and forks children which train, and are killed; run as a script.

Arguments: folder, then per case `name:kills:seed`. For each case, <folder>/<name>/whole is made in one go and
<folder>/<name>/broken by children that die by SIGKILL at seeded moments, each followed by the same command again. The
last line of output is JSON: case -> list of moments, "save" (inside a checkpoint's saving) or "elsewhere".
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.core.device import configure, detect
from seedbed.core.settings import Settings, TrainSettings
from seedbed.core.types import Say
from seedbed.train import checkpoint
from seedbed.verbs import drive, ground
from seedbed.verbs.finetune import finetune
from seedbed.verbs.options import Options, Result
from seedbed.verbs.pretrain import pretrain

WORDS = ["oak", "ash", "elm", "yew", "fig", "bay", "box", "gum", "fir", "may", "haw", "sloe", "pine", "lime", "rowan"]
EVERY_STEP = {"save_every_s": 1e-9, "keep": 2, "precision": "float32", "evaluations": 4}
NOW_AND_THEN = {**EVERY_STEP, "save_every_s": 0.1}
LONGEST_S = 60


def texts(rows: int) -> dict[str, Any]:
    """Rows of words of two kinds, with labels."""
    draw = np.random.default_rng(5)
    kinds = [WORDS[:10], WORDS[5:]]
    made = [" ".join(draw.choice(kinds[row % 2], size=int(draw.integers(8, 30)))) for row in range(rows)]
    return {"text": made, "label": [f"kind {row % 2}" for row in range(rows)]}


def images(rows: int) -> dict[str, Any]:
    """Noise over two patterns, with labels."""
    draw = np.random.default_rng(6)
    label = np.arange(rows) % 2
    patterns = draw.normal(size=(2, 8, 8))
    pixels = 127 + 30 * patterns[label] + 40 * draw.normal(size=(rows, 8, 8))
    return {"images": pixels.clip(0, 255).astype(np.uint8), "label": label.astype(str)}


def pretraining(modality: str, objective: str, steps: int = 12, **train: Any) -> tuple[str, dict[str, Any], Options]:
    """A case: verb, data, options."""
    data = texts(160) if modality == "text" else images(160)
    options: Options = {"objective": objective, "steps": steps, "size": "nano", "threads": 1}
    options["pretrain"] = {**EVERY_STEP, "batch_size": 16, **train}
    if modality == "text":
        options["pretrain"] = {**options["pretrain"], "seq_len": 16}
    return "pretrain", data, options


def tuning(modality: str, rows: int, **train: Any) -> tuple[str, dict[str, Any], Options]:
    """A case of fine-tuning; with 200 labels or more it stops early."""
    data = texts(rows) if modality == "text" else images(rows)
    options: Options = {"label": "label", "threads": 1, "pretrain": {"precision": "float32"}}
    options["finetune"] = {**NOW_AND_THEN, "batch_size": 16, "evaluations": 20, **train}
    return "finetune", data, options


CASES: Mapping[str, Callable[[], tuple[str, dict[str, Any], Options]]] = {
    "skip_gram": partial(pretraining, "text", "skip_gram"),
    "masked_lm": partial(pretraining, "text", "masked_lm"),
    "causal_lm": partial(pretraining, "text", "causal_lm", optimizer="muon", ema=0.8),
    "denoising": partial(pretraining, "image", "denoising", ema=0.9, patience=3),
    "contrastive": partial(pretraining, "image", "contrastive"),
    "adversarial": partial(pretraining, "image", "adversarial"),
    "tune_images": partial(tuning, "image", 320, patience=3, lr=3e-3),
    "tune_texts": partial(tuning, "text", 120, ema=0.9),
}


def command(case: str, out: Path, say: Say) -> Result:
    """The command of a case; fine-tuning begins with the encoder that lies beside."""
    verb, data, options = CASES[case]()
    if verb == "pretrain":
        return pretrain(data, out=out, say=say, **options)
    return finetune(encoder_for(case, out.parent), data, out=out, say=say, **options)


def encoder_for(case: str, folder: Path) -> Path:
    """Pretrain, once, what a case of fine-tuning begins with."""
    modality = "text" if case.endswith("texts") else "image"
    _, data, options = pretraining(modality, "masked_lm" if modality == "text" else "denoising", steps=2)
    made = pretrain(data, out=folder / "encoder", **options).folder
    assert made is not None
    return made


def child(case: str, out: Path, pipe: int) -> None:
    """Run a command, or, for an `out` called "encoder", what comes before it; each event is told by a letter.

    ( and ) stand around a save, f is a write that is waited for, s a step.
    """
    sync, save = os.fsync, checkpoint.save

    def slow(fd: Any) -> None:
        os.write(pipe, b"f")
        time.sleep(0.001)
        sync(fd)

    def marked(*arguments: Any, **options: Any) -> Path:
        os.write(pipe, b"(")
        made = save(*arguments, **options)
        os.write(pipe, b")")
        return made

    def say(event: str, **fields: Any) -> None:
        if event == "step":
            os.write(pipe, b"s")

    os.fsync, checkpoint.save, drive.SAY_EVERY_S = slow, marked, 0.0
    signal.alarm(LONGEST_S)
    if out.name == "encoder":
        encoder_for(case, out.parent)
    else:
        command(case, out, say)


def forked(case: str, out: Path, mark: bytes, count: int, delay_s: float) -> bytes | None:
    """Let a child run the command, kill it after so many marks; what it had written, or None if it came to its end."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.close(read)
            child(case, out, write)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    seen = b""
    while seen.count(mark) < count and (more := os.read(read, 1)):
        seen += more
    if seen.count(mark) >= count:
        time.sleep(delay_s)
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    while more := os.read(read, 1000):
        seen += more
    os.close(read)
    assert code in (0, -signal.SIGKILL), f"{case}: a child failed"
    return None if code == 0 else seen


def broken(case: str, out: Path, kills: int, seed: int) -> list[str]:
    """Kill the command at seeded moments, then let it finish; where each kill fell."""
    draw, moments = random.Random(seed), []
    for _ in range(kills):
        mark = draw.choice([b"(", b"(", b"s", b"f"])
        seen = forked(case, out, mark, draw.randint(1, 4), draw.random() * 0.003)
        if seen is None:
            break
        moments.append("save" if seen.rfind(b"(") > seen.rfind(b")") else "elsewhere")
    assert forked(case, out, b"(", sys.maxsize, 0.0) is None
    return moments


def main(folder: Path, cases: list[str]) -> None:
    """Make both runs of every case."""
    configure(
        detect(Settings(threads=1, pretrain=TrainSettings(precision="float32")))
    )  # loads much of torch, once for all
    vars(ground)["write_report"] = lambda run: (
        run / "report.html"
    )  # it has its own tests, and takes longer than all this
    told = {}
    for case in cases:
        name, kills, seed = case.split(":")
        if CASES[name]()[0] == "finetune":
            assert forked(name, folder / name / "encoder", b"(", sys.maxsize, 0.0) is None
        assert forked(name, folder / name / "whole", b"(", sys.maxsize, 0.0) is None
        told[name] = broken(name, folder / name / "broken", int(kills), int(seed))
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
