"""Everything up to prepared data: understood, cleaned, split and encoded once, for all runs that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from seedbed.core.types import NO_LABEL, Say, silent
from seedbed.data.facts import class_counts
from seedbed.data.split import OUT, SPLITS
from seedbed.data.store import Prepared
from seedbed.plan.advise import advise
from seedbed.verbs.ground import prepare_for, stand
from seedbed.verbs.options import Options, Result
from seedbed.verbs.pretrain import profile_of


def prepare(
    data: Any, /, *, out: str | Path = "runs", say: Say = silent, dry_run: bool = False, **options: Unpack[Options]
) -> Result:
    """Prepare the data as `run` and `pretrain` with the same options will want them, and say what they are.

    A command that was killed goes on where it stood. On data that have grown, old rows keep their split.

    Args:
        data: path, glob, arrays or rows: whatever `seedbed.open` understands.
        out: the data go to <out>/data/<dataset_id>/.
        say: listener to events.
        dry_run: stop before anything is split, encoded or written.
        options: see `Options`.

    Returns: the folder of the prepared data; its dataset_id, splits, labels, and how much text there is.

    Raises:
        DataError: no usable rows.
    """
    ground = stand(data, out, say, options)
    plan = advise(profile_of(ground), ground.settings, ground.machine)
    if dry_run:
        return Result(None, {"tokenizer": plan.tokenizer or "none"})
    prepared = prepare_for(ground, plan.tokenizer)
    return Result(prepared.folder, facts_of(prepared))


def facts_of(prepared: Prepared) -> dict[str, Any]:
    """What prepared data hold, in figures."""
    counts_C = class_counts(prepared.labels, prepared.splits != OUT, len(prepared.facts.classes))
    summary: dict[str, Any] = {
        "dataset_id": prepared.dataset_id,
        "splits": {name: count for name in SPLITS if (count := len(prepared.rows(split=name)))},
        "labels": dict(zip(prepared.facts.classes, counts_C, strict=True)),
        "unlabelled": int((prepared.labels == NO_LABEL).sum()),
    }
    if prepared.tokenizer is None:
        channels, rows, columns = prepared.facts.image_shape
        return summary | {"images": f"{columns} x {rows} pixels in {channels} channel{'s' if channels > 1 else ''}"}
    kind, entries = prepared.tokenizer.kind, prepared.tokenizer.vocab_size
    total, longest = int(prepared.lengths.sum()), int(prepared.lengths.max())
    return summary | {
        "tokenizer": f"{kind}, {entries:,} entries",
        "tokens": {"total": total, "a row": round(total / len(prepared), 1), "longest": longest},
    }
