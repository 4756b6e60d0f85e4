"""SIGKILL at seeded moments: the same command goes on, and what comes out is the same to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seedbed.train import checkpoint

NURSERY = Path(__file__).with_name("nursery.py")
ROOT = NURSERY.parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
# name: kills, and a part of a tensor's name that shows that the case is about what it says
FAST = {"denoising": (2, "ema/"), "skip_gram": (1, "adagrad")}
SLOW = {
    "skip_gram": (3, "adagrad"),
    "masked_lm": (3, "adamw"),
    "causal_lm": (3, "muon"),
    "denoising": (4, "ema/"),
    "contrastive": (3, "adamw"),
    "adversarial": (4, "optimizer/generator"),
    "tune_images": (4, "best/"),
    "tune_texts": (3, "ema/"),
}


def nursery(folder: Path, cases: dict[str, tuple[int, str]], seed: int) -> dict[str, list[str]]:
    words = [f"{name}:{kills}:{seed + number}" for number, (name, (kills, _)) in enumerate(cases.items())]
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(NURSERY), str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, list[str]] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return told


def last_checkpoint(run: Path) -> checkpoint.Checkpoint:
    damaged: list[dict[str, Any]] = []
    found = checkpoint.load_latest(
        next((run / "checkpoints").iterdir()), lambda event, **fields: damaged.append(fields)
    )
    assert found is not None and not damaged
    return found


def bits(value: Tensor) -> bytes:
    return value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_same(whole: Path, broken: Path) -> checkpoint.Checkpoint:
    """Weights, optimiser, averages, best weights, scalars of the last checkpoint, and every file of model/."""
    one, other = last_checkpoint(whole), last_checkpoint(broken)
    assert one.step == other.step
    assert one.tensors.keys() == other.tensors.keys()
    differing = [name for name, value in one.tensors.items() if bits(value) != bits(other.tensors[name])]
    assert not differing, differing
    assert one.state["scalars"] == other.state["scalars"]
    drop = {"seconds", "positions"}
    progress = [
        {name: value for name, value in one.state["progress"].items() if name not in drop} for one in (one, other)
    ]
    assert progress[0] == progress[1]
    files = sorted(path.relative_to(whole / "model") for path in (whole / "model").rglob("*") if path.is_file())
    assert len(files) >= 2
    for name in files:
        assert (whole / "model" / name).read_bytes() == (broken / "model" / name).read_bytes(), name
    return one


def only_run(out: Path) -> Path:
    (found,) = [path for path in out.iterdir() if path.name != "data"]
    return found


def check(folder: Path, cases: dict[str, tuple[int, str]], seed: int) -> list[str]:
    moments = nursery(folder, cases, seed)
    for name, (_, part) in cases.items():
        kept = assert_same(only_run(folder / name / "whole"), only_run(folder / name / "broken"))
        assert any(part in tensor for tensor in kept.tensors), f"{name} is not about {part}"
        assert any(tensor.startswith("optimizer/") for tensor in kept.tensors)
    return [moment for case in moments.values() for moment in case]


def test_killed_runs_end_bit_equal(tmp_path: Path) -> None:
    assert len(check(tmp_path, FAST, 10)) >= 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_kills_over_every_kind_of_training(tmp_path: Path) -> None:
    moments = check(tmp_path, SLOW, 20)
    assert len(moments) >= 20, moments
    assert moments.count("save") >= 5, moments
