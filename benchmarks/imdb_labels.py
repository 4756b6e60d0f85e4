"""Film reviews with few labels: one whole `run`, and what each arm of its comparison reaches.

    python benchmarks/imdb_labels.py --data FOLDER --minutes 60 [--labels 50,200,1000] [--objective skip_gram]

Accuracy on the test reviews, mean over the label draws, with the interval the run reports. It holds when the baselines
are not broken (TF-IDF at least 0.73 and LSA at least 0.71 at 200 labels), the best pretrained arm reaches 0.77 there,
and the verdict says what its interval says. Everything is read from the run's eval/proof.json.
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

AT = 200
LEAST = {"tfidf": 0.73, "lsa": 0.71}
LEAST_PRETRAINED = 0.77


def agrees(verdict: dict[str, Any], difference: dict[str, Any]) -> bool:
    """Whether the outcome is the one its own interval asks for; an interval about 0 may be called either way."""
    if verdict["outcome"] == "paid":
        return difference["low"] > 0
    return difference["low"] <= 0


def scores(proof: dict[str, Any], n_labels: int) -> dict[str, dict[str, float]]:
    """Arm -> mean, low and high at a label count."""
    return {arm["name"]: arm["scores"][str(n_labels)] for arm in proof["arms"] if str(n_labels) in arm["scores"]}


def best_pretrained(proof: dict[str, Any], n_labels: int) -> float:
    """The highest mean accuracy of a pretrained arm."""
    pretrained = {arm["name"] for arm in proof["arms"] if arm["pretrained"]}
    return max(score["mean"] for name, score in scores(proof, n_labels).items() if name in pretrained)


def holds(proof: dict[str, Any]) -> bool:
    """Sound baselines, a pretrained arm that earns its place, and a verdict that says what was measured."""
    top = proof["verdict"]
    found = scores(proof, AT)
    sound = all(found[name]["mean"] >= least for name, least in LEAST.items())
    return (
        sound
        and best_pretrained(proof, AT) >= LEAST_PRETRAINED
        and agrees(top, proof["differences"][str(top["n_labels"])])
    )


def main() -> None:
    """Run, then read the proof."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train, test and unsup tables")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--labels", default="50,200,1000")
    parser.add_argument("--objective", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keep the run here")
    given = parser.parse_args()
    labels = tuple(int(count) for count in given.labels.split(","))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = seedbed.run(
            str(given.data),
            out=str(given.out or folder),
            label="label",
            minutes=given.minutes,
            prove={"labels": labels},
            objective=given.objective,
            seed=given.seed,
        )
        assert result.folder is not None, "a run that was not dry has a folder"
        proof = json.loads((result.folder / "eval" / "proof.json").read_text(encoding="utf-8"))
    top = proof["verdict"]
    rungs = {str(n): scores(proof, n) for n in proof["labels"]}
    conclude(
        "imdb_labels",
        holds=holds(proof),
        seconds=time.perf_counter() - began,
        figures={
            "accuracy": {n: {arm: round(score["mean"], 4) for arm, score in arms.items()} for n, arms in rungs.items()},
            "best_pretrained": {str(n): round(best_pretrained(proof, n), 4) for n in proof["labels"]},
            "difference": round(proof["differences"][str(top["n_labels"])]["value"], 4),
            "verdict": top["outcome"],
            "verdict_labels": top["n_labels"],
            "draws": len(proof["arms"][0]["scores"][str(proof["labels"][0])]["draws"]),
            "run_seconds": {arm: round(spent, 1) for arm, spent in proof["seconds"].items()},
            "summary": result.summary,
        },
        intervals={
            f"{arm} {n}": [round(score["low"], 4), round(score["high"], 4)]
            for n, arms in rungs.items()
            for arm, score in arms.items()
        },
        on=machine(0),
    )


if __name__ == "__main__":
    main()
