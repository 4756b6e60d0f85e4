"""What a run's encoder sees in files or texts, as one vector each: for search, maps and models of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import numpy as np

from seedbed.core.device import configure, detect
from seedbed.core.locate import locate_run
from seedbed.core.types import Say, silent
from seedbed.verbs.accepts import TRAINED
from seedbed.verbs.answer import pool_contents, read_rows
from seedbed.verbs.model import load_encoder_of
from seedbed.verbs.options import Options, Result, resolve_options
from seedbed.verbs.predict import rows_of
from seedbed.verbs.written import target_of, write_rows


def embed(
    run: str | Path, inputs: Any, /, *, to: str | Path | None = None, say: Say = silent, **options: Unpack[Options]
) -> Result:
    """Vectors of new files or texts from the pretrained encoder of a run.

    Args:
        run: a run folder with an encoder, or an --out folder.
        inputs: paths, texts (for a text encoder), "-" for the lines of standard input, arrays, or dictionaries.
        to: file to write to, .csv, .jsonl or .parquet.
        say: listener to events.
        options: how the inputs are read, such as data={"text": "body"}.

    Returns: no folder; `vectors` in the summary has, per row, key, vector, and the reason where it could not be read.

    Raises:
        DataError: the run's encoder is damaged, or the inputs are of another modality.
    """
    target = target_of(to)
    settings = resolve_options(options).settings
    machine = detect(settings)
    configure(machine)
    model = load_encoder_of(locate_run(run, TRAINED))
    rows = rows_of(model.facts.modality, inputs, settings)
    read = read_rows(model.facts, model.extra.get("images", {}), rows, settings)
    x_ID = pool_contents(model, read.contents, machine) if read.contents else np.empty((0, model.encoder.width))
    told = [
        {"key": row.key, "vector": None if reason else vector_D.tolist(), "reason": reason or None}
        for row, vector_D, reason in zip(rows, read.spread(x_ID), read.reasons, strict=True)
    ]
    read.warn(say)
    summary: dict[str, Any] = {"rows": len(rows), "embedded": len(read.contents), "width": model.encoder.width}
    if target is None:
        return Result(None, summary | {"vectors": told})
    width = model.encoder.width
    write_rows(target, told, [_flat(line, width) for line in told] if target.suffix.lower() == ".csv" else told)
    return Result(None, summary | {"written": str(target)})


def _flat(line: dict[str, Any], width: int) -> dict[str, Any]:
    """A line for CSV, which has no lists: one column for each number."""
    vector = line["vector"] or [None] * width
    return {"key": line["key"], **{f"vector_{at}": value for at, value in enumerate(vector)}, "reason": line["reason"]}
