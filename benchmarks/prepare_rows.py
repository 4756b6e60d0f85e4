"""How long it takes to prepare millions of rows of text, in how much memory, and whether kills change the result.

    python benchmarks/prepare_rows.py --rows 5000000 [--format parquet] [--kills 2] [--folder FOLDER]

Rows of 60 to 200 characters are made first (words of a Zipf distribution, a tenth of the rows duplicates, a hundredth
empty) and prepared by `seedbed.prepare` in a process of its own. With --kills they are prepared once more, killed at
seeded moments and begun again; `holds` says that memory stayed below 2 GB, that all rows are accounted for, and that
both dataset_ids are equal.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from outcome import conclude, machine

MAX_BYTES = 2 * 10**9
WORDS, AT_ONCE = 60_000, 20_000
PREPARE = """
import json, sys, time
from seedbed import prepare
from seedbed.core.memory import peak_rss_bytes
began, told = time.monotonic(), {}
done = prepare(sys.argv[1], out=sys.argv[2], threads=1, say=lambda event, **fields: told.update({event: fields}))
figures = {"seconds": time.monotonic() - began, "peak_rss_bytes": peak_rss_bytes(), "counts": told["counts"]}
print(json.dumps({**figures, **done.summary}))
"""


def rows(num: int, seed: int) -> Iterator[list[str]]:
    """Texts, some thousand at a time."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    chosen = [letters[np.minimum(rng.geometric(0.12, size=size) - 1, 25)] for size in rng.integers(2, 10, WORDS)]
    words = np.array(["".join(word) for word in chosen], dtype=object)
    shares = 1.0 / np.arange(3, WORDS + 3)
    shares /= shares.sum()
    for low in range(0, num, AT_ONCE):
        count = min(AT_ONCE, num - low)
        lengths = rng.integers(11, 34, count)
        ends = np.cumsum(lengths)
        drawn = words[rng.choice(WORDS, size=int(ends[-1]), p=shares)].tolist()
        texts = [" ".join(drawn[end - length : end])[:200] for end, length in zip(ends, lengths, strict=True)]
        for at in range(count // 10):
            texts[-1 - at] = texts[at]
        texts[:: max(count // 100, 1)] = [""] * len(texts[:: max(count // 100, 1)])
        yield texts


def write(path: Path, num: int, seed: int) -> None:
    """A file of so many rows, of the kind its name says; a hundredth of them has a label."""
    parts = ((texts, _labels(len(texts))) for texts in rows(num, seed))
    if path.suffix == ".parquet":
        schema = pa.schema({"text": pa.string(), "label": pa.string()})
        with pq.ParquetWriter(path, schema) as table:
            for texts, labels in parts:
                table.write_table(pa.table({"text": texts, "label": labels}, schema=schema))
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        if path.suffix == ".csv":
            table.writerow(("text", "label"))
        for texts, labels in parts:
            pairs = zip(texts, labels, strict=True)
            if path.suffix == ".csv":
                table.writerows(pairs)
            else:
                file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in pairs)


def _labels(num: int) -> list[str | None]:
    return [None if at % 100 else str(at // 100 % 4) for at in range(num)]


def prepared(data: Path, out: Path) -> dict[str, Any]:
    """What a process that prepares the data says at its end."""
    done = subprocess.run([sys.executable, "-c", PREPARE, data, out], check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def killed(data: Path, out: Path, seconds: float) -> bool:
    """Kill a process that prepares the data; False where it was done before."""
    process = subprocess.Popen([sys.executable, "-c", PREPARE, data, out], stdout=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def main() -> None:
    """Make the rows, prepare them, prepare them under fire."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--format", choices=("parquet", "jsonl", "csv"), default="parquet")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="kept afterwards; a temporary folder by default")
    given = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        data = folder / f"rows.{given.format}"
        if not data.exists():
            write(data, given.rows, given.seed)
        told = prepared(data, folder / "whole")
        luck, kills, again = random.Random(given.seed), 0, told
        for _ in range(given.kills):
            kills += killed(data, folder / "killed", luck.uniform(0.1, 0.9) * told["seconds"] / given.kills)
        if given.kills:
            again = prepared(data, folder / "killed")
        size = data.stat().st_size
    counts = told["counts"]
    whole = counts["total"] == given.rows == sum(value for name, value in counts.items() if name != "total")
    same = again["dataset_id"] == told["dataset_id"] and again["counts"] == counts
    conclude(
        "prepare_rows",
        holds=told["peak_rss_bytes"] < MAX_BYTES and whole and same,
        seconds=time.perf_counter() - began,
        figures={
            "rows": given.rows,
            "format": given.format,
            "file_bytes": size,
            "prepare_s": round(told["seconds"], 1),
            "rows_per_s": round(given.rows / told["seconds"]),
            "peak_rss_bytes": told["peak_rss_bytes"],
            "counts": counts,
            "tokens": told["tokens"]["total"],
            "kills": kills,
            "same_after_kills": same,
            "dataset_id": told["dataset_id"],
        },
        intervals={},
        on=machine(1),
    )


if __name__ == "__main__":
    main()
