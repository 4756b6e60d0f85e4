"""Planted faults and healthy runs: how often the diagnosis of `finetune` names each rightly, and is silent elsewhere.

    python benchmarks/diagnosis.py [--seeds 10] [--first 0] [--cases over-fitting,healthy]

Real trainings on scikit-learn's digits and on generated reviews; each seed draws its own rows. A fault is named rightly
when its finding comes first; a healthy run when there is none. It holds when every case does in at least 9 of 10 seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from outcome import conclude, machine
from sklearn.datasets import load_digits

import seedbed
from seedbed.evaluate.diagnose import LABELS, LEAK, LR, OVER, UNDER

TRAIN, TEST = 500, 250
ENOUGH = 0.9
WORDS = {
    "good": "bright warm clever lively charming fresh moving honest tender bold".split(),
    "bad": "dull cold stupid tired boring stale flat false clumsy weak".split(),
}
COMMON = "the film was a story of people in the town with music and light that we saw on many days".split()

Data = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One kind of run.

    Attributes:
        make: seed -> data with labels and a split.
        kind: the finding that must come first; "" for none at all.
        finetune: settings that plant the fault.
        steps: of pretraining, enough for its loss to settle.
    """

    make: Callable[[int], Data]
    kind: str = ""
    finetune: dict[str, Any] = field(default_factory=dict)
    steps: int = 600


def digits(seed: int, *, train: int = TRAIN, blur: float = 0.0) -> Data:
    """Digits of 8 x 8; `blur` drowns them in noise, so that they are hard but rightly labelled."""
    draw = np.random.default_rng(seed)
    bunch = load_digits()
    rows = draw.permutation(len(bunch.target))[: train + TEST]
    images = bunch.images[rows] * (255.0 / 16.0)
    if blur:
        images = 0.5 * images + blur * draw.normal(size=images.shape) + 60
    split = np.where(np.arange(len(rows)) < train, "train", "test")
    return {"images": images.clip(0, 255).astype(np.uint8), "label": bunch.target[rows].astype(str), "split": split}


def few_and_hard(seed: int) -> Data:
    """So few labels of such noisy digits that a network learns the noise."""
    return digits(seed, train=240, blur=65.0)


def mislabelled(seed: int) -> Data:
    """Three in ten training labels are another digit; the test is right."""
    data, draw = digits(seed), np.random.default_rng(seed + 100)
    wrong = (draw.random(TRAIN + TEST) < 0.3) & (data["split"] == "train")
    label = data["label"].astype(int)
    return data | {"label": np.where(wrong, (label + draw.integers(1, 10, len(label))) % 10, label).astype(str)}


def leaked(seed: int) -> Data:
    """A quarter of the test are training images with a few grey levels changed, so that no hash finds them."""
    data, draw = digits(seed), np.random.default_rng(seed + 100)
    images, label = data["images"].astype(float), data["label"].copy()
    copies = TEST // 4
    images[-copies:] = images[:copies] + draw.normal(0, 5, (copies, 8, 8))
    label[-copies:] = label[:copies]
    return data | {"images": images.clip(0, 255).astype(np.uint8), "label": label}


def reviews(seed: int) -> Data:
    """Texts of common words with a few that tell."""
    draw = np.random.default_rng(seed)
    kinds = draw.permutation(np.resize(["good", "bad"], TRAIN + TEST))
    texts = [
        " ".join(draw.permutation([*draw.choice(COMMON, 14), *draw.choice(WORDS[kind], 3)])) + f" {row}"
        for row, kind in enumerate(kinds)
    ]
    split = np.where(np.arange(len(texts)) < TRAIN, "train", "test")
    return {"text": texts, "label": kinds.tolist(), "split": split.tolist()}


def reviews_leaked(seed: int) -> Data:
    """A quarter of the test are training texts of which one word was changed."""
    data, draw = reviews(seed), np.random.default_rng(seed + 100)
    for place in range(TEST // 4):
        words = data["text"][place].split()
        words[int(draw.integers(len(words) - 1))] = str(draw.choice(COMMON))
        data["text"][-1 - place], data["label"][-1 - place] = " ".join(words), data["label"][place]
    return data


CASES: dict[str, Case] = {
    "over-fitting": Case(few_and_hard, OVER, {"lr": 1e-2, "weight_decay": 0.0, "patience": 1000}),
    "under-fitting": Case(digits, UNDER, {"lr": 2e-5, "head_first": False}),
    "learning rate too high": Case(digits, LR, {"lr": 0.3}),
    "label noise": Case(mislabelled, LABELS),
    "leaked test": Case(leaked, LEAK),
    "leaked texts": Case(reviews_leaked, LEAK, steps=3000),
    "healthy": Case(digits),
    "healthy few labels": Case(lambda seed: digits(seed, train=120)),
    "healthy but hard": Case(lambda seed: digits(seed, blur=25.0)),
    "healthy texts": Case(reviews, steps=3000),
}


def diagnosed(case: Case, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Pretrain and fine-tune on the case's data; the findings that the run keeps."""
    data = case.make(seed)
    plain: dict[str, Any] = {
        "threads": 1,
        "seed": seed,
        "out": str(folder),
        "pretrain": {"precision": "float32", "evaluations": 10},
    }
    encoder = seedbed.pretrain(data, steps=case.steps, **plain)
    assert encoder.folder is not None, "a run that was not dry has a folder"
    run = seedbed.finetune(encoder.folder, data, finetune=case.finetune, **plain)
    assert run.folder is not None, "a run that was not dry has a folder"
    told: dict[str, Any] = json.loads((run.folder / "eval" / "diagnosis.json").read_text(encoding="utf-8"))
    return list(told["findings"])


def rightly(case: Case, findings: list[dict[str, Any]]) -> bool:
    """Whether the first finding is the planted one, or there is none where none was planted."""
    kinds = [finding["kind"] for finding in findings]
    return kinds[:1] == ([case.kind] if case.kind else [])


def main() -> None:
    """Run every case with every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed; thresholds were set on 0 to 9")
    parser.add_argument("--cases", default=",".join(CASES), help="separated by commas")
    given = parser.parse_args()
    began = time.perf_counter()
    right: dict[str, int] = {}
    others: dict[str, list[str]] = {}
    for name in given.cases.split(","):
        for seed in range(given.first, given.first + given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                findings = diagnosed(CASES[name], seed, Path(folder))
            right[name] = right.get(name, 0) + rightly(CASES[name], findings)
            others.setdefault(name, []).append("; ".join(finding["kind"] for finding in findings) or "nothing")
        print(f"{name:26} {right[name]:3} of {given.seeds}   {others[name]}", flush=True)
    conclude(
        "diagnosis",
        holds=all(count >= ENOUGH * given.seeds for count in right.values()),
        seconds=time.perf_counter() - began,
        figures={"seeds": given.seeds, "first": given.first, "right": right, "told": others},
        intervals={},
        on=machine(1),
    )


if __name__ == "__main__":
    main()
