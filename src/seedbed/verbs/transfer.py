"""An encoder of other data: how much of the new texts its tokenizer knows, and whether it has seen the rows scored.

The encoder of A is compared on the labels of B. Rows of B that are equal to training rows of A were seen in
pretraining, without their labels; where they are few they are not scored, and where they are most of what there is, as
when A is the same data, they stay and the verdict says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seedbed.core.runs import Run
from seedbed.core.tokens import UNK
from seedbed.data.store import Prepared, load
from seedbed.data.write import MANIFEST
from seedbed.verbs.cells import Field

# Leaked rows beyond this share of those to be scored are kept: what is left would be another test.
MOST_REMOVED = 0.5
LOOKED_AT = 2000


@dataclass(frozen=True)
class Transfer:
    """What an encoder brings along.

    Attributes:
        source, target: names of the data it was pretrained on, and of those it is compared on.
        rows: training rows it was pretrained on; None where they are not there any more.
        leaked: rows to be scored that are equal to one of them.
        removed: whether these are left out.
        scored: rows that are scored.
        coverage: what its tokenizer makes of the target's texts, in a sentence; empty for images.
    """

    source: str
    target: str
    rows: int | None
    leaked: int
    removed: bool
    scored: int
    coverage: str

    @property
    def sentences(self) -> list[str]:
        """For the plan and for the verdict."""
        said = [f"The encoder was pretrained on {self.source} and is compared on {self.target}."]
        if self.coverage:
            said.append(self.coverage)
        if self.rows is None:
            said.append(f"Whether {self.source} holds rows that are scored here could not be checked: it is gone.")
        elif self.removed:
            said.append(f"{self.leaked:,} rows that are also among its {self.rows:,} training rows are not scored.")
        elif self.leaked:
            said.append(
                f"{self.leaked:,} of the {self.scored:,} rows scored are among its {self.rows:,} training rows: "
                "it saw their inputs, without labels."
            )
        return said


def transfer_of(run: Path, field: Field, target: str) -> tuple[Transfer, Field]:
    """What the encoder of a run brings along, and the field without the rows it has seen.

    Args:
        run: of the encoder.
        field: where arms would meet.
        target: name of the data they meet on.

    Raises:
        DataError: the run's own data are damaged.
    """
    source, seen = _source_of(run)
    prepared = field.prepared
    coverage = _coverage(prepared)
    if seen is None:
        return Transfer(source, target, None, 0, False, len(field.items), coverage), field
    leaked = np.isin(prepared.ids[field.items], seen)
    removed = bool(leaked.any()) and float(leaked.mean()) <= MOST_REMOVED
    if removed:
        items = field.items[~leaked]
        field = replace(field, items=items, pool=items if field.num_folds else field.pool)
    return Transfer(source, target, len(seen), int(leaked.sum()), removed, len(field.items), coverage), field


def _source_of(run: Path) -> tuple[str, np.ndarray | None]:
    """The name of the data of a run, and the content hashes of the rows it was pretrained on."""
    if not (run / "data.json").exists():  # a checkpoint of another library
        return run.name, None
    told = Run(run).read_json("data.json")
    folder = run.parent / "data" / str(told["folder"])
    if not (folder / MANIFEST).exists():
        return str(told.get("name", run.name)), None
    prepared = load(folder)
    return str(told.get("name", run.name)), prepared.ids[prepared.rows(split="train")]


def _coverage(prepared: Prepared) -> str:
    """How well the tokenizer fits the texts it was not made from."""
    if prepared.tokenizer is None:
        return ""
    counts = np.array(prepared.facts.token_counts)
    if prepared.tokenizer.kind != "bpe":
        unit = {"char": "characters"}.get(prepared.tokenizer.kind, "words")
        return f"Its tokenizer knows {1 - counts[UNK] / max(counts.sum(), 1):.1%} of the {unit} there."
    rows = np.arange(len(prepared))[:: max(len(prepared) // LOOKED_AT, 1)]
    words = sum(len(str(text).split()) for text in prepared.raw(rows))
    return f"Its tokenizer cuts a word there into {prepared.lengths[rows].sum() / max(words, 1):.1f} pieces."
