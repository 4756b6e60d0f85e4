"""Which rows to label next: those from which an encoder's linear probe would learn most."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import numpy as np

from seedbed.core.device import configure, detect
from seedbed.core.errors import DataError, UsageError
from seedbed.core.events import Say, silent
from seedbed.core.hashing import hash_rows
from seedbed.core.locate import locate_run
from seedbed.core.types import NO_LABEL
from seedbed.data.clean import Cleaned, clean
from seedbed.data.rows import TEST, VALIDATION
from seedbed.data.source import open_source
from seedbed.evaluate.suggest import Suggestion, choose_rows
from seedbed.verbs.accepts import ENCODING
from seedbed.verbs.answer import pool_contents
from seedbed.verbs.model import load_pretrained
from seedbed.verbs.options import Options, Result, kind_of, resolve_options
from seedbed.verbs.written import target_of, write_rows

# So many unlabelled rows are looked at, drawn by content: more would take minutes and hardly choose better.
MOST_CANDIDATES = 20_000
COUNT = 50
PREVIEW = 160


def suggest(
    run: str | Path,
    data: Any,
    /,
    *,
    count: int = COUNT,
    to: str | Path | None = None,
    say: Say = silent,
    **options: Unpack[Options],
) -> Result:
    """Choose unlabelled rows to label next: typical ones of all kinds first, then what labels so far leave in doubt.

    Rows set aside to score or to watch are never suggested, nor rows that are equal or nearly equal to one that has a
    label or is suggested already.

    Args:
        run: a run with an encoder, or an --out folder.
        data: path, glob, arrays or rows; some of them may have labels.
        count: how many.
        to: file to write to, .csv, .jsonl or .parquet.
        say: listener to events.
        options: how the data are read, such as label="topic".

    Returns: no folder; `suggestions` in the summary has, per row, rank, key, preview, score and reason.

    Raises:
        DataError: the data are of another modality than the encoder, or have no unlabelled rows.
        UsageError: a count below 1, or a file of no known ending.
    """
    target = target_of(to)
    if count < 1:
        raise UsageError(f"{count} rows cannot be suggested.", found=f"--count {count}", fix=f"Give --count {COUNT}.")
    settings = resolve_options(options).settings
    machine = detect(settings)
    configure(machine)
    source = open_source(data, settings)
    with TemporaryDirectory() as folder:
        cleaned = clean(source, settings, Path(folder), kind_of(settings))
        say("understood", lines=list(cleaned.understood))
        say("counts", **cleaned.counts)
        model = load_pretrained(locate_run(run, ENCODING), cleaned)
        labelled, candidates = _rows(cleaned, source.name)
        candidates = _fewer(candidates, cleaned, settings.seed, say)
        rows = np.concatenate([labelled, candidates])
        x_ID = pool_contents(model, [cleaned.raw[row] for row in rows.tolist()], machine)
        labels_I, classes = _classes(cleaned, labelled, len(rows))
        chosen = choose_rows(x_ID, labels_I, classes, count, settings.seed)
        told = [_told(rank, found, int(rows[found.row]), cleaned) for rank, found in enumerate(chosen, 1)]
    if len(chosen) < count:
        say(
            "warning",
            text=f"{len(chosen):,} rows are suggested: all others are nearly equal to these or to labelled ones.",
        )
    if target is not None:
        write_rows(target, told)
    summary = {"candidates": len(candidates), "labelled": len(labelled), "suggested": len(told)}
    return Result(None, summary | ({"written": str(target)} if target else {"suggestions": told}))


def _classes(cleaned: Cleaned, labelled: np.ndarray, num_rows: int) -> tuple[np.ndarray, list[str]]:
    """Class indices of rows of which the first are labelled, and the names; other labels only say that they are."""
    labels_I = np.full(num_rows, NO_LABEL)
    if cleaned.label_kind != "class":
        labels_I[: len(labelled)] = 0
        return labels_I, ["labelled"]
    names = [str(cleaned.labels[row]) for row in labelled.tolist()]
    classes = sorted(set(names))
    labels_I[: len(labelled)] = [classes.index(name) for name in names]
    return labels_I, classes


def _fewer(candidates: np.ndarray, cleaned: Cleaned, seed: int, say: Say) -> np.ndarray:
    """At most so many candidates, drawn by content."""
    if len(candidates) <= MOST_CANDIDATES:
        return candidates
    say("warning", text=f"{MOST_CANDIDATES:,} of {len(candidates):,} unlabelled rows are looked at, drawn by content.")
    drawn = np.argsort(hash_rows(seed, "suggest", cleaned.ids[candidates]), kind="stable")
    return np.sort(candidates[drawn[:MOST_CANDIDATES]])


def _rows(cleaned: Cleaned, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows that have a label and rows that may be given one: neither is set aside to score or to watch."""
    free = np.array([split not in (TEST, VALIDATION) for split in cleaned.splits])
    known = np.array([label is not None for label in cleaned.labels])
    if not (free & ~known).any():
        raise DataError(
            f"{name}: there are no unlabelled rows to choose from.",
            found=f"{known.sum():,} labelled rows, {(~free).sum():,} set aside as test or validation rows.",
            cause="All rows have a label already, or none may be labelled.",
            fix="Give data with unlabelled rows, beside the labelled ones or alone.",
        )
    return np.flatnonzero(free & known), np.flatnonzero(free & ~known)


def _told(rank: int, found: Suggestion, row: int, cleaned: Cleaned) -> dict[str, Any]:
    raw = cleaned.raw[row]
    if isinstance(raw, str):
        shown = " ".join(raw[: 2 * PREVIEW].split())
        shown = shown if len(shown) <= PREVIEW else shown[:PREVIEW].rstrip() + " …"
    elif raw.ndim != 3:
        shown = f"{raw.size:,} numbers"
    else:
        channels, rows, columns = raw.shape
        shown = f"image of {columns} x {rows} pixels, {channels} channel{'s' if channels > 1 else ''}"
    return {
        "rank": rank,
        "key": cleaned.keys[row],
        "preview": shown,
        "score": round(found.score, 6),
        "reason": found.reason,
    }
