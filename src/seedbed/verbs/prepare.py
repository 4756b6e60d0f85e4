"""Everything up to prepared data: understood, cleaned, split and encoded once, for all runs that follow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from seedbed.core.events import Say, silent
from seedbed.core.runs import read_json
from seedbed.data.clean import Cleaned
from seedbed.data.removed import remember, rows_to_remove
from seedbed.data.rows import number
from seedbed.data.split import SPLITS, TEST
from seedbed.data.store import Prepared, load
from seedbed.data.write import MANIFEST
from seedbed.plan.advise import advise
from seedbed.verbs.ground import Ground, prepare_for, stand
from seedbed.verbs.options import Options, Result
from seedbed.verbs.pretrain import profile_of

SHOWN = 5


def prepare(
    data: Any,
    /,
    *,
    remove: str | Sequence[str] = (),
    out: str | Path = "runs",
    say: Say = silent,
    dry_run: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Prepare the data as `run` and `pretrain` with the same options will want them, and say what they are.

    A command that was killed goes on where it stood. On data that have grown, old rows keep their split.

    Args:
        data: path, glob, arrays or rows: whatever `seedbed.open` understands.
        remove: rows to be taken out for good, by their keys ("reviews.csv:17"), by the file they are in, or by a text
            file of keys; rows equal to them go too, and what was trained on them is named.
        out: the data go to <out>/data/<dataset_id>/.
        say: listener to events.
        dry_run: stop before anything is split, encoded or written.
        options: see `Options`.

    Returns: the folder of the prepared data; its dataset_id, splits, labels, and how much text there is.

    Raises:
        DataError: no usable rows, or none that is to be removed.
    """
    ground = stand(data, out, say, options)
    if remove and not dry_run:
        _remove(ground, [remove] if isinstance(remove, str) else list(remove))
        ground = stand(data, out, say, options)
    plan = advise(profile_of(ground), ground.settings, ground.machine)
    if dry_run:
        words = [remove] if isinstance(remove, str) else list(remove)
        removed = list(rows_to_remove(ground.cleaned, words).values()) if words else []
        return Result(None, {"tokenizer": plan.tokenizer or "none", "removed": removed})
    prepared = prepare_for(ground, plan.tokenizer)
    return Result(prepared.folder, facts_of(prepared, ground.cleaned))


def _remove(ground: Ground, words: list[str]) -> None:
    """Take rows out for good, and name what was made with them."""
    rows = rows_to_remove(ground.cleaned, words)
    folder = ground.out / "data"
    remember(folder, rows)
    shown = ", ".join(list(rows.values())[:SHOWN]) + (" ..." if len(rows) > SHOWN else "")
    ground.say("understood", lines=[f"{number(len(rows), 'row')} removed on request, and what equals them: {shown}"])
    held = _holders(folder, np.array(list(rows), dtype=np.int64))
    learnt = _learnt_from(ground.out, {name for name, trained in held.items() if trained})
    if learnt:
        names = ", ".join(str(run) for run in learnt)
        ground.say("warning", text=f"What they taught stays in the weights of {names}: train anew what must not know.")
    if held:
        names = ", ".join(str(folder / name) for name in held)
        ground.say("warning", text=f"Earlier prepared data still hold them: {names}.")


def _learnt_from(out: Path, datasets: set[str]) -> list[Path]:
    """Runs on some prepared data, and runs that began with an encoder of such a run."""
    told: dict[Path, str] = {}
    learnt: list[Path] = []
    for path in sorted(out.glob("*/data.json")):
        if read_json(path)["folder"] in datasets:
            learnt.append(path.parent)
        elif (path.parent / "plan.json").exists():
            told[path.parent] = str(read_json(path.parent / "plan.json").get("encoder", ""))
    tainted = {run.resolve() for run in learnt}
    return learnt + [run for run, encoder in told.items() if encoder and Path(encoder).resolve() in tainted]


def facts_of(prepared: Prepared, cleaned: Cleaned) -> dict[str, Any]:
    """What prepared data hold, in figures."""
    summary: dict[str, Any] = {
        "dataset_id": prepared.dataset_id,
        "splits": {name: count for name in SPLITS if (count := len(prepared.rows(split=name)))},
        "labels": cleaned.label_shares,
        "unlabelled": len(prepared.rows(labelled=False)),
    }
    if prepared.modality == "vector":
        return summary | {"values": prepared.facts.image_shape[0]}
    if prepared.tokenizer is None:
        channels, rows, columns = prepared.facts.image_shape
        return summary | {"images": f"{columns} x {rows} pixels in {channels} channel{'s' if channels > 1 else ''}"}
    kind, entries = prepared.tokenizer.kind, prepared.tokenizer.vocab_size
    total, longest = int(prepared.lengths.sum()), int(prepared.lengths.max())
    return summary | {
        "tokenizer": f"{kind}, {entries:,} entries",
        "tokens": {"total": total, "a row": round(total / len(prepared), 1), "longest": longest},
    }


def _holders(folder: Path, ids: np.ndarray) -> dict[str, bool]:
    """Prepared data that hold some rows: name of its folder -> whether rows of them are anything but test rows."""
    held = {}
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        prepared = load(path.parent)
        among = np.isin(prepared.ids, ids)
        if among.any():
            held[path.parent.name] = bool((prepared.splits[among] != TEST).any())
    return held
