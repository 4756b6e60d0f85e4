"""Small pictures of clothes with few labels: one whole `run`, and what each arm of its comparison reaches.

    python benchmarks/fashion_labels.py --data FOLDER --minutes 30 [--objective contrastive --trunk vgg --size micro]

Accuracy on the given test images, mean over the label draws, with the interval the run reports; all training images
are the pool that pretraining sees without labels. It holds when the classic arms reach what is known of them (logistic
regression on pixels 0.697 and a support vector machine 0.695, at 100 labels, within the deviation of the first over
draws, 0.023; the single nearest neighbour 0.641, than which several, weighted, are no worse). Targets, which are told
and do not decide: the best pretrained arm, chosen on training labels, reaches 0.80, and its paired interval lies above
the network from scratch. Everything is read from the run's eval/.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from outcome import conclude, machine

import seedbed
from seedbed.evaluate.predictions import read_predictions
from seedbed.evaluate.stats import Interval, difference

KNOWN = {"pixels": 0.697, "svm": 0.695, "knn": 0.641}
DEVIATION = 0.023
KNOWN_AT = 100
TARGET = 0.80
SCRATCH = "scratch"


def scores(proof: dict[str, Any], n_labels: int) -> dict[str, dict[str, float]]:
    """Arm -> mean, low, high and selection at a label count."""
    return {arm["name"]: arm["scores"][str(n_labels)] for arm in proof["arms"] if str(n_labels) in arm["scores"]}


def agrees(proof: dict[str, Any]) -> bool:
    """Whether the linear arms are what is known of them, and neighbours, of which ours asks several, no less."""
    found = {name: score["mean"] for name, score in scores(proof, KNOWN_AT).items()}
    linear = all(name in found and abs(found[name] - KNOWN[name]) <= DEVIATION for name in ("pixels", "svm"))
    return linear and found.get("knn", 0.0) >= KNOWN["knn"] - DEVIATION


def chosen(proof: dict[str, Any], n_labels: int) -> str:
    """The pretrained arm that does best on training labels."""
    found = scores(proof, n_labels)
    pretrained = [arm["name"] for arm in proof["arms"] if arm["pretrained"] and arm["name"] in found]
    return max(pretrained, key=lambda name: found[name]["selection"])


def paired(path: Path, arm: str, other: str, n_labels: int) -> Interval:
    """Interval of the difference of two arms, from their kept answers."""
    answers, items, confidence = read_predictions(path)
    found = {answer.arm.name: answer.scores(items) for answer in answers if answer.n_labels == n_labels}
    return difference(found[arm], found[other], confidence)


def main() -> None:
    """Run, then read the proof."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the IDX files, train and t10k")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--labels", default=str(KNOWN_AT))
    parser.add_argument("--objective", default="auto")
    parser.add_argument("--trunk", default="auto")
    parser.add_argument("--size", default="auto")
    parser.add_argument("--arms", default="", help="arms to run, with commas; default: those of every run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keep the run here")
    given = parser.parse_args()
    labels = tuple(int(count) for count in given.labels.split(","))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = seedbed.run(
            str(given.data),
            out=str(given.out or folder),
            minutes=given.minutes,
            prove={"labels": labels, "arms": tuple(arm for arm in given.arms.split(",") if arm)},
            objective=given.objective,
            trunk=given.trunk,
            size=given.size,
            seed=given.seed,
        )
        assert result.folder is not None, "a run that was not dry has a folder"
        proof = json.loads((result.folder / "eval" / "proof.json").read_text(encoding="utf-8"))
        best = {n: chosen(proof, n) for n in proof["labels"]}
        over = {n: paired(result.folder / "eval" / "predictions.parquet", best[n], SCRATCH, n) for n in proof["labels"]}
    rungs = {str(n): scores(proof, n) for n in proof["labels"]}
    conclude(
        "fashion_labels",
        holds=agrees(proof),
        seconds=time.perf_counter() - began,
        figures={
            "minutes": given.minutes,
            "accuracy": {n: {arm: round(score["mean"], 4) for arm, score in arms.items()} for n, arms in rungs.items()},
            "chosen": {str(n): name for n, name in best.items()},
            "over_scratch": {str(n): round(found.value, 4) for n, found in over.items()},
            "above_scratch": {str(n): found.low > 0 for n, found in over.items()},
            "reaches_target": {str(n): rungs[str(n)][name]["mean"] >= TARGET for n, name in best.items()},
            "verdict": proof["verdict"]["outcome"],
            "draws": proof["draws"],
            "items": proof["items"],
            "run_seconds": {arm: round(spent, 1) for arm, spent in proof["seconds"].items()},
            "summary": result.summary,
        },
        intervals={
            **{f"over_scratch {n}": [round(found.low, 4), round(found.high, 4)] for n, found in over.items()},
            **{
                f"{arm} {n}": [round(score["low"], 4), round(score["high"], 4)]
                for n, arms in rungs.items()
                for arm, score in arms.items()
            },
        },
        on=machine(0),
    )


if __name__ == "__main__":
    main()
