"""The classic example: stacked autoencoders, then a network with hidden layers of 100, on short news of 4 classes.

    python benchmarks/ag_news.py --data FOLDER [--folds 5] [--repeats 3] [--steps 1200]

Accuracy by repeated cross-validation over all articles, beside TF-IDF and logistic regression on the same folds, with
the intervals of a mean, and of a paired difference, over repeats and articles. Nothing of a held fold is seen: words,
their document frequencies and the pretraining are those of the other folds, made anew for each. Fine-tuning leaves out
half of what the last layer reads (chosen on the folds of seed 0). It holds when the network reaches 0.90.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path

import numpy as np
from outcome import conclude, machine
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline

import seedbed
from seedbed.evaluate.stats import difference, mean_interval

TARGET = 0.90
LABELS = {"1": "world", "2": "sport", "3": "business", "4": "science"}


def read(folder: Path) -> tuple[list[str], np.ndarray]:
    """Title and description of each article as one text, and its class."""
    with (folder / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [f"{title} {description}" for _, title, description in rows], np.array([LABELS[row[0]] for row in rows])


def network(texts: list[str], labels: np.ndarray, held: np.ndarray, given: argparse.Namespace, out: Path) -> np.ndarray:
    """What the pretrained and fine-tuned network answers for the held articles."""
    learn = np.setdiff1d(np.arange(len(texts)), held)
    data = {"text": [texts[row] for row in learn], "label": labels[learn].tolist()}
    shared = {"out": str(out), "seed": given.seed, "threads": 1, "data": {"test_share": 0.0, "validation_share": 0.0}}
    encoder = seedbed.pretrain(data, objective="stacked", trunk="mlp", size="nano", steps=given.steps, **shared)
    assert encoder.folder is not None, "a run that was not dry has a folder"
    tuned = seedbed.finetune(encoder.folder, data, finetune={"patience": 0}, task_options={"dropout": 0.5}, **shared)
    assert tuned.folder is not None, "a run that was not dry has a folder"
    told = seedbed.predict(tuned.folder, [texts[row] for row in held])
    return np.array([row["label"] for row in told.summary["predictions"]])


def classic(texts: list[str], labels: np.ndarray, held: np.ndarray) -> np.ndarray:
    """What logistic regression on single words and pairs answers."""
    learn = np.setdiff1d(np.arange(len(texts)), held)
    terms = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = make_pipeline(terms, LogisticRegression(C=10, max_iter=1000))
    model.fit([texts[row] for row in learn], labels[learn])
    answers: np.ndarray = model.predict([texts[row] for row in held])
    return answers


def main() -> None:
    """Cross-validate both and print what each reaches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with test.csv")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200, help="of pretraining, for all layers together")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    texts, labels = read(given.data)
    right = {name: np.zeros((given.repeats, len(texts)), dtype=bool) for name in ("stacked", "tfidf")}
    spent = dict.fromkeys(right, 0.0)
    began = time.perf_counter()
    for repeat in range(given.repeats):
        folds = StratifiedKFold(given.folds, shuffle=True, random_state=given.seed + repeat)
        for _, held in folds.split(texts, labels):
            with tempfile.TemporaryDirectory() as folder:
                at = [time.perf_counter()]
                answers = {"stacked": network(texts, labels, held, given, Path(folder))}
                at.append(time.perf_counter())
                answers["tfidf"] = classic(texts, labels, held)
                at.append(time.perf_counter())
            for index, (name, found) in enumerate(answers.items()):
                right[name][repeat, held] = found == labels[held]
                spent[name] += at[index + 1] - at[index]
    means = {name: mean_interval(hits) for name, hits in right.items()}
    over = difference(right["stacked"], right["tfidf"])
    conclude(
        "ag_news",
        holds=means["stacked"].value >= TARGET,
        seconds=time.perf_counter() - began,
        figures={
            "accuracy": {name: round(mean.value, 4) for name, mean in means.items()},
            "over_tfidf": round(over.value, 4),
            "articles": len(texts),
            "folds": given.folds,
            "repeats": given.repeats,
            "steps": given.steps,
            "fit_seconds": {name: round(seconds, 1) for name, seconds in spent.items()},
        },
        intervals={
            "over_tfidf": [round(over.low, 4), round(over.high, 4)],
            **{name: [round(mean.low, 4), round(mean.high, 4)] for name, mean in means.items()},
        },
        on=machine(1),
    )


if __name__ == "__main__":
    main()
