"""SIGKILL at seeded moments, most of them inside a save: what is there afterwards is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DYING = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from seedbed.core.types import silent
from seedbed.train import checkpoint

torch.set_num_threads(1)
folder, draw, sync = Path(sys.argv[1]), random.Random(0), os.fsync

def save_for_ever(pipe, step):
    def slow(descriptor):
        os.write(pipe, b"s")
        time.sleep(0.002)
        sync(descriptor)
    os.fsync = slow
    while True:
        step += 1
        os.write(pipe, b"(")
        weights = torch.full((20_000,), float(step))
        checkpoint.save(folder, step, {"w": weights, "m": weights + 0.5}, {"step": step}, 2)
        os.write(pipe, b")")
        time.sleep(0.002)

def killed(step):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        save_for_ever(write, step)
    os.close(write)
    seen, marks = b"", draw.randint(3, 40)
    while len(seen) < marks:
        seen += os.read(read, 1)
    time.sleep(draw.random() * 0.004)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    while more := os.read(read, 1000):
        seen += more
    os.close(read)
    return seen

step, moments = 0, []
for _ in range(24):
    seen = killed(step)
    done = step + seen.count(b")")
    found = checkpoint.load_latest(folder, lambda event, **fields: moments.append("damaged"))
    assert (found.step if found else 0) in (done, done + 1), (found, done)
    if found:
        assert torch.equal(found.tensors["w"], torch.full((20_000,), float(found.step)))
        assert torch.equal(found.tensors["m"], torch.full((20_000,), found.step + 0.5))
        assert found.state == {"step": found.step}
        step = found.step
    moments.append("between" if seen.endswith(b")") else f"sync {seen.rpartition(b'(')[2].count(b's')}")
print(step, *moments, sep=",")
"""


def test_sudden_death_at_many_moments(tmp_path: Path) -> None:
    """A process that only saves is killed 24 times at seeded moments; each time the next goes on in the same folder."""
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path / "c")], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    step, *moments = done.stdout.strip().split(",")
    assert len(moments) == 24 and "damaged" not in moments
    assert sum(moment != "between" for moment in moments) >= 5, moments
    assert len(set(moments)) >= 4, moments
    assert int(step) >= 20
