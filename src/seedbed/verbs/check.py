"""Looking without doing: what the data are, and what of them can be used."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.compute as pc

from seedbed.core.events import Say, silent
from seedbed.data.clean import clean
from seedbed.data.reading import EXCLUDED, QUARANTINED
from seedbed.data.removed import removed_ids
from seedbed.data.source import open_source
from seedbed.verbs.options import Options, Result, kind_of, resolve_options

SHOWN = 10


def check(
    data: Any, /, *, out: str | Path = "runs", say: Say = silent, dry_run: bool = False, **options: Unpack[Options]
) -> Result:
    """Understand and clean the data, write nothing.

    Returns: no folder; counts of rows by fate, of labels by class, and the first rows that cannot be used.

    Raises:
        DataError: nothing usable is there.
    """
    settings = resolve_options(options).settings
    source = open_source(data, settings)
    with TemporaryDirectory() as folder:
        cleaned = clean(source, settings, Path(folder), kind_of(settings), removed_ids(Path(out) / "data"))
    say("understood", lines=list(cleaned.understood))
    say("counts", **cleaned.counts)
    unlabelled = sum(label is None for label in cleaned.labels)
    summary = {
        "modality": cleaned.modality,
        "counts": dict(cleaned.counts),
        "label_kind": cleaned.label_kind,
        "labels": cleaned.label_shares,
        "unlabelled": unlabelled,
        "splits": {name or "unassigned": cleaned.splits.count(name) for name in dict.fromkeys(cleaned.splits)},
        "not_used": not_used(cleaned.ledger),
    }
    return Result(None, summary)


def not_used(ledger: pa.Table, shown: int = SHOWN) -> list[dict[str, str]]:
    """The first rows that were set aside with a reason; duplicates are counted, not listed."""
    gone = ledger.filter(pc.field("fate").isin((QUARANTINED, EXCLUDED)))
    return gone.select(("key", "fate", "reason")).slice(0, shown).to_pylist()
