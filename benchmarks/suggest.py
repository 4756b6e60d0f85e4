"""Rows that `suggest` would have labelled, against as many rows drawn by chance: accuracy of a linear probe on them.

    python benchmarks/suggest.py --data digits --minutes 1 --counts 20,50,100
    python benchmarks/suggest.py --data FOLDER --minutes 10 --counts 50,100,200,400 --draws 20 [--run RUN]

Each draw has candidates of its own, a part of the training rows whose labels are hidden; both ways get labels in the
same steps, `suggest` choosing each time with those it got before. Both are scored on the same test rows, paired over
draws and items. It holds when the interval of the difference is above 0 at the most labels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from outcome import conclude, machine

import seedbed
from seedbed.core.events import silent
from seedbed.core.types import NO_LABEL
from seedbed.evaluate.linear import fit_probe
from seedbed.evaluate.probes import features
from seedbed.evaluate.stats import difference, mean_interval
from seedbed.evaluate.suggest import choose_rows
from seedbed.verbs.arms import read_length
from seedbed.verbs.demo import digits
from seedbed.verbs.ground import prepare_for, stand
from seedbed.verbs.model import load_pretrained


def read(data: Any, given: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Features and labels of candidates and test rows, by an encoder pretrained on the training rows."""
    options: Any = {"label": "label", "threads": given.threads}
    run = given.run or str(seedbed.pretrain(data, out=out, minutes=given.minutes, **options).folder)
    ground = stand(data, out, silent, options)
    model = load_pretrained(Path(run), ground.cleaned)
    prepared = prepare_for(ground, model.tokenizer.kind if model.tokenizer else "", model.tokenizer)
    draw = np.random.default_rng(0)
    pool, test = (prepared.rows(split=split, labelled=True) for split in ("train", "test"))
    pool, test = draw.permutation(pool)[: given.rows], draw.permutation(test)[-given.items :]
    seq_len = read_length(model.encoder.spec)
    x, test_x = (features(model.encoder, prepared, rows, ground.machine, seq_len) for rows in (pool, test))
    classes = prepared.facts.classes
    return {"x": x, "y": prepared.labels[pool], "test_x": test_x, "test_y": prepared.labels[test], "classes": classes}


def answers(found: dict[str, Any], rows: np.ndarray) -> np.ndarray:
    """Right or wrong on the test rows, of a probe on some labelled rows."""
    model, _ = fit_probe(found["x"][rows], found["y"][rows], len(found["classes"]), seed=0)
    return np.asarray(model.answers(found["test_x"]).argmax(1) == found["test_y"])


def one_draw(found: dict[str, Any], counts: list[int], pool: int, seed: int) -> tuple[list[np.ndarray], ...]:
    """Answers at each count: by suggestion, and by chance."""
    draw = np.random.default_rng(seed)
    candidates = draw.permutation(len(found["x"]))[:pool]
    labels = np.full(len(candidates), NO_LABEL)
    by_chance = draw.permutation(len(candidates))
    suggested, chance = [], []
    for count in counts:
        wanted = count - int((labels != NO_LABEL).sum())
        chosen = choose_rows(found["x"][candidates], labels, found["classes"], wanted, seed)
        rows = [one.row for one in chosen]
        labels[rows] = found["y"][candidates[rows]]
        suggested.append(answers(found, candidates[labels != NO_LABEL]))
        chance.append(answers(found, candidates[by_chance[:count]]))
    return suggested, chance


def main() -> None:
    """Pretrain, choose, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help='"digits", or a folder with a column "label" and a test set')
    parser.add_argument("--run", help="a run with an encoder of these data, instead of pretraining one")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--counts", default="20,50,100")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rows", type=int, default=8000, help="labelled training rows the candidates are drawn from")
    parser.add_argument("--pool", type=int, default=0, help="candidates of a draw; 0: half of the rows")
    parser.add_argument("--items", type=int, default=2000, help="test rows scored")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    counts, began = [int(count) for count in given.counts.split(",")], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = read(digits() if given.data == "digits" else given.data, given, Path(folder))
    pool = given.pool or len(found["x"]) // 2
    draws = [one_draw(found, counts, pool, seed) for seed in range(given.draws)]
    figures: dict[str, Any] = {
        "data": given.data,
        "draws": given.draws,
        "candidates": pool,
        "items": len(found["test_y"]),
    }
    intervals = {}
    for at, count in enumerate(counts):
        suggested, chance = (np.array([draw[side][at] for draw in draws]) for side in (0, 1))
        gain = difference(suggested, chance)
        figures[f"accuracy {count}"] = {"suggested": round(suggested.mean(), 4), "chance": round(chance.mean(), 4)}
        figures[f"gain {count}"] = round(gain.value, 4)
        intervals[f"gain {count}"] = [round(gain.low, 4), round(gain.high, 4)]
        for name, right in (("suggested", suggested), ("chance", chance)):
            interval = mean_interval(right)
            intervals[f"{name} {count}"] = [round(interval.low, 4), round(interval.high, 4)]
    holds = intervals[f"gain {counts[-1]}"][0] > 0
    seconds = time.perf_counter() - began
    conclude(
        f"suggest {Path(given.data).name}",
        holds=holds,
        seconds=seconds,
        figures=figures,
        intervals=intervals,
        on=machine(given.threads),
    )


if __name__ == "__main__":
    main()
