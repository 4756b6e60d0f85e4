"""How long `seedbed check` takes, on 1,000 files of images and of texts, and on 100,000 rows of CSV and Parquet.

    python benchmarks/check_speed.py --data DIR [--repeats 3]

The data are made once, into DIR, from fixed seeds: 1,000 JPEG photographs of 640 x 480 pixels in five class folders,
1,000 text files of about 1,100 characters, and tables of 100,000 texts of about 630 characters (64 MB as CSV). Each
time is that of a fresh process, its start included; the figures are medians. It holds if each is below its bar and none
of the processes loaded torch. On a machine that does other work too, look at the processor seconds, which are printed
beside: a check uses one thread, so that alone it takes about as long as these.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from outcome import conclude, machine, spread
from PIL import Image

FILES, ROWS = 1_000, 100_000
BARS_S = {"images": 3.0, "texts": 3.0, "rows.csv": 10.0, "rows.parquet": 10.0}
PROGRAM = (
    "import json, sys, seedbed\n"
    "counts = seedbed.check(sys.argv[1], threads=1).summary['counts']\n"
    "print(json.dumps({'total': counts['total'], 'used': counts['used'], 'torch': 'torch' in sys.modules}))"
)


def words(num: int, rng: np.random.Generator) -> str:
    """Words of a made-up language, the frequent ones frequent."""
    return " ".join(f"word{number}" for number in rng.zipf(1.3, num).clip(max=20_000).tolist())


def make(folder: Path) -> None:
    """Write whatever of the data is not there yet."""
    rng = np.random.default_rng(0)
    for at in range(FILES):
        image = folder / "images" / f"class{at % 5}" / f"{at}.jpg"
        text = folder / "texts" / f"class{at % 5}" / f"{at}.txt"
        for path in (image, text):
            path.parent.mkdir(parents=True, exist_ok=True)
        if not image.exists():
            coarse = rng.integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(image, quality=90)
        if not text.exists():
            text.write_text(words(150, rng), encoding="utf-8")
    if not (folder / "rows.csv").exists() or not (folder / "rows.parquet").exists():
        rows = [(words(85, rng), f"class{at % 5}") for at in range(ROWS)]
        with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("text", "label"), *rows])
        columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
        pq.write_table(pa.table(columns), folder / "rows.parquet")


def check(path: Path) -> tuple[float, float, dict[str, int]]:
    """Seconds of one check in a process of its own, seconds of a processor, and what it counted."""
    started, before = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], check=True, capture_output=True, text=True)
    seconds, after = time.perf_counter() - started, os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, busy, json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Alternate the data so that a slow moment of the machine meets all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder for the data that are made")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    began = time.perf_counter()
    make(given.data)
    times: dict[str, list[float]] = {name: [] for name in BARS_S}
    busy: dict[str, list[float]] = {name: [] for name in BARS_S}
    loaded, lost = False, False
    for _ in range(given.repeats):
        for name in BARS_S:
            seconds, processor_s, told = check(given.data / name)
            times[name].append(seconds)
            busy[name].append(processor_s)
            loaded = loaded or bool(told["torch"])
            lost = lost or told["total"] != (FILES if name in ("images", "texts") else ROWS)
            print(f"{name}: {seconds:.2f} s, {processor_s:.2f} s of a processor, {told['used']:,} used", flush=True)
    spreads = {name: spread(values) for name, values in times.items()}
    keys = {name: name.replace(".", "_") + "_s" for name in BARS_S}
    conclude(
        "check_speed",
        holds=all(spreads[name][0] < bar for name, bar in BARS_S.items()) and not loaded and not lost,
        seconds=time.perf_counter() - began,
        figures={
            **{keys[name]: round(middle, 2) for name, (middle, _, _) in spreads.items()},
            "processor_s": {name: round(spread(values)[0], 2) for name, values in busy.items()},
            "torch_loaded": loaded,
            "files": FILES,
            "rows": ROWS,
            "repeats": given.repeats,
        },
        intervals={keys[name]: [round(low, 2), round(high, 2)] for name, (_, low, high) in spreads.items()},
        on=machine(1),
    )


if __name__ == "__main__":
    main()
