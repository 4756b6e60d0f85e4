"""Long data prepared by processes that are killed at seeded moments: the same bytes, and no block made twice."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seedbed.core.runs import read_json

from .making import texts_of

KILLS = 12
PREPARE = """
import sys
from pathlib import Path
from seedbed.core.settings import Settings
from seedbed.data import encode, spool, tables
from seedbed.data.clean import clean
from seedbed.data.source import open_source
from seedbed.data.store import prepare
tables.HELD_BYTES = 0
spool.BLOCK_ROWS = encode._ROWS_AT_ONCE = 250
settings, out = Settings(label="label"), Path(sys.argv[2])
print("begun", flush=True)
cleaned = clean(open_source(sys.argv[1], settings), settings, out / "data")
print(prepare(cleaned, settings, "word", out, lambda event, **fields: None).dataset_id)
"""


def begun(data: Path, out: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", PREPARE, data, out], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


def blocks(out: Path) -> dict[str, int]:
    """Every finished block with the time it was written."""
    found = (path for path in (out / "data").glob(".read-*/**/*") if path.is_file() and ".tmp-" not in path.name)
    return {path.name: path.stat().st_mtime_ns for path in found if path.name.startswith(("block-", "part-"))}


@pytest.mark.slow
def test_kills_change_nothing_and_no_block_is_made_twice(tmp_path: Path) -> None:
    data = tmp_path / "a.jsonl"
    rows = [{"text": text, "label": str(at % 3) if at % 9 == 0 else None} for at, text in enumerate(texts_of(20_000))]
    data.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *rows[::10]]))
    started = time.monotonic()
    whole = begun(data, tmp_path / "whole")
    expected = whole.communicate()[0].strip()
    seconds = time.monotonic() - started
    luck, kills, stages = random.Random(0), 0, set()
    while kills < KILLS:  # a run that was done before its kill is no kill
        before = blocks(tmp_path / "killed")
        process = begun(data, tmp_path / "killed")
        time.sleep(luck.uniform(0.02, 0.5) * seconds)
        process.kill()
        printed = process.communicate()[0].strip()
        after = blocks(tmp_path / "killed")
        assert all(after[name] == when for name, when in before.items() if name in after), "a block was made twice"
        stages |= {name.split("-")[0] for name in after}
        if process.returncode == 0:  # nothing is left to kill: the next one begins anew
            assert printed == expected
            shutil.rmtree(tmp_path / "killed")
        else:
            assert process.returncode == -signal.SIGKILL
            kills += 1
    last = begun(data, tmp_path / "killed")
    assert last.communicate()[0].strip() == expected and last.returncode == 0
    assert "block" in stages
    manifests = [read_json(tmp_path / out / "data" / expected / "manifest.json") for out in ("whole", "killed")]
    assert manifests[0] == manifests[1] and manifests[0]["counts"]["duplicate"] == 2_000
    left = [path.name for path in (tmp_path / "killed" / "data").iterdir() if path.name.startswith(".tmp-")]
    assert not left, "what was half-written is swept away"
