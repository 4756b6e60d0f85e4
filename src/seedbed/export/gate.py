"""The gate of every export: what was written is read in a new process and must compute the same, or nothing is left.

Rows of the run itself are used, in batches of several sizes and lengths, in float32. A difference is measured against
the largest number that should have come out, but never against less than one: states of size 30 carry thirty times the
rounding of states of size 1.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from seedbed.core.errors import MachineError, UsageError
from seedbed.core.runs import friendly, read_json, write_atomic
from seedbed.core.tokens import NUM_SPECIAL
from seedbed.core.types import Facts, Padded
from seedbed.data.loader import Loader
from seedbed.data.store import Prepared, load
from seedbed.data.tokenizer import Tokenizer
from seedbed.models.folder import MANIFEST

LIMIT = 1e-5
RECORD = "export.json"
BATCHES = (1, 2, 5, 16)
LONGEST = 256
PATIENCE_S = 600


@dataclass(frozen=True)
class Sample:
    """Inputs to compare on.

    Attributes:
        batches: of sizes BATCHES, texts padded to the longest of each.
        texts: of the rows, where they are texts; empty otherwise.
        told: where they come from.
    """

    batches: list[Padded]
    texts: list[str]
    told: str


def sample(run: Path, facts: Facts, tokenizer: Tokenizer | None, longest: int = LONGEST) -> Sample:
    """Rows of the run's own data, encoded for its model; drawn ones where the data are no longer beside the run.

    Args:
        run: a run folder.
        facts: of the model.
        tokenizer: of the model, None for images.
        longest: most tokens of a text.
    """
    told = run / "data.json"
    folder = run.parent / "data" / str(read_json(told)["folder"]) if told.exists() else run
    if not (folder / "manifest.json").exists():
        return Sample(_drawn(facts, longest), [], f"drawn inputs, because the rows of the run are not in {folder}")
    prepared = load(folder)
    rows = np.linspace(0, len(prepared) - 1, sum(BATCHES)).round().astype(np.int64)
    parts = np.split(rows, np.cumsum(BATCHES)[:-1])
    seen = f"{len(np.unique(rows))} rows of the run"
    if tokenizer is None or prepared.tokenizer is None:
        # Grey images go to a network made for colour as three equal channels.
        read = [_read(prepared, part) for part in parts]
        channels = facts.image_shape[0]
        return Sample([Padded(values.expand(-1, channels, -1, -1), keep) for values, keep in read], [], seen)
    texts = [str(text) for text in prepared.raw(rows)]
    ids = [row[:longest] for row in tokenizer.encode_batch(texts)]
    bounds = np.cumsum((0, *BATCHES))
    return Sample([_padded(ids[low:high]) for low, high in pairwise(bounds)], texts, seen)


def _read(prepared: Prepared, rows: np.ndarray) -> Padded:
    loader = Loader(prepared, rows, seed=0, batch_size=len(rows), items="whole", seq_len=0)
    return next(loader.evaluation()).inputs[prepared.modality]


def _padded(rows: Sequence[np.ndarray]) -> Padded:
    """Texts padded at the end; one without a token is a single unknown."""
    filled = [torch.from_numpy(row.astype(np.int64)) if len(row) else torch.ones(1, dtype=torch.int64) for row in rows]
    values = torch.nn.utils.rnn.pad_sequence(filled, batch_first=True)
    keep = torch.arange(values.shape[1]) < torch.tensor([len(row) for row in filled])[:, None]
    return Padded(values, keep)


def _drawn(facts: Facts, longest: int) -> list[Padded]:
    draw = np.random.default_rng(0)
    if facts.modality == "text":
        return [
            _padded([draw.integers(NUM_SPECIAL, facts.vocab_size, draw.integers(1, longest + 1)) for _ in range(size)])
            for size in BATCHES
        ]
    shapes = [(size, *facts.image_shape) for size in BATCHES]
    if facts.modality == "vector":
        values = [torch.from_numpy(draw.normal(size=shape).astype(np.float32)) for shape in shapes]
        return [Padded(vectors, torch.ones(len(vectors), dtype=torch.bool)) for vectors in values]
    pixels = [torch.from_numpy(draw.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]
    return [Padded(values, torch.ones(len(values), dtype=torch.bool)) for values in pixels]


def check(
    kind: str, folder: Path, given: Sample, ours: Sequence[Mapping[str, Tensor]], ids: Sequence[np.ndarray] = ()
) -> dict[str, Any]:
    """Read an export in a new process and compare what it computes.

    Args:
        kind: a reader of `fresh`.
        folder: the export.
        given: inputs.
        ours: for each batch, what should come out, by name; compared where the input is real.
        ids: of each text, where the export has a tokenizer to be compared.

    Returns: what to write into export.json.

    Raises:
        MachineError: it cannot be read, or something else comes out.
    """
    found = _answers(kind, folder, given)
    largest = 0.0
    for number, (batch, expected) in enumerate(zip(given.batches, ours, strict=True)):
        for name, tensor in expected.items():
            theirs = found[f"{number}.{name}"]
            largest = max(largest, difference(tensor, theirs, batch.keep))
    if not largest <= LIMIT:
        raise _failed(f"The largest difference is {largest:.2g}; {LIMIT:g} is allowed.", kind)
    wrong = [number for number, row in enumerate(ids) if found[f"ids.{number}"].tolist() != row.tolist()]
    if wrong:
        text = given.texts[wrong[0]]
        raise _failed(f"{len(wrong)} of {len(ids)} texts get other ids, the first of them: {text[:60]!r}", kind)
    told = {"largest_difference": largest, "limit": LIMIT, "inputs": given.told, "batches": len(given.batches)}
    return {"passed": True, **told, **({"texts_with_equal_ids": len(ids)} if len(ids) else {})}


def difference(ours: Tensor, theirs: Tensor, keep: Tensor) -> float:
    """The largest difference at real positions, as a share of the largest number but at least of one."""
    if ours.shape != theirs.shape:
        return float("inf")
    if ours.dim() == 3 and ours.shape[:2] == keep.shape:
        ours, theirs = ours[keep], theirs[keep]
    scale = max(1.0, float(ours.abs().max()))
    return float((ours.double() - theirs.double()).abs().max()) / scale


def _answers(kind: str, folder: Path, given: Sample) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as held:
        inputs, outputs = Path(held) / "inputs", Path(held) / "outputs"
        pairs = enumerate(given.batches)
        tensors = {f"{number}.{part}": tensor for number, batch in pairs for part, tensor in batch._asdict().items()}
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, inputs)
        if given.texts:
            (Path(held) / "texts.json").write_text(json.dumps(given.texts), encoding="utf-8")
        command = [sys.executable, "-m", "seedbed.export.fresh", kind, str(folder), str(inputs), str(outputs)]
        # The library is not to look anything up, nor to wait for a network that is not there.
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, env=environment
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(f"A new process had not read it after {PATIENCE_S} s.", kind) from error
        if done.returncode:
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
            raise _failed(f"A new process cannot read it: {' '.join(last) or done.returncode}", kind)
        return safetensors.torch.load_file(outputs)


def _failed(found: str, kind: str) -> MachineError:
    return MachineError(
        f"The export to {kind} failed its check, and nothing is left of it.",
        found=found,
        cause="The installed versions of torch and of the library that reads it disagree.",
        fix="Install the versions in constraints.txt, or use --to safetensors.",
    )


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to write an export to, whose files become those of `out` if all went well, the record last.

    Raises:
        UsageError: `out` is the model folder of a run.
        MachineError: it cannot be written.
    """
    if (out / MANIFEST).exists():
        raise UsageError(
            f"{out} is a model folder of seedbed.",
            cause="An export there would overwrite the weights of the run.",
            fix="Give another folder to --out.",
        )
    temporary = out.parent / f".tmp-{out.name}-{os.getpid()}"
    with friendly(out):
        out.mkdir(parents=True, exist_ok=True)
    was_empty = not any(out.iterdir())
    try:
        with friendly(temporary):
            temporary.mkdir()
        yield temporary
        with friendly(out):
            (out / RECORD).unlink(missing_ok=True)
            for path in sorted(temporary.iterdir(), key=lambda path: path.name == RECORD):
                if path.is_dir():
                    shutil.rmtree(out / path.name, ignore_errors=True)
                path.replace(out / path.name)
    except BaseException:
        if was_empty:
            shutil.rmtree(out, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def record(folder: Path, told: dict[str, Any]) -> None:
    """Write export.json."""
    write_atomic(folder / RECORD, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())
