"""Labels that are sets of names: JSON lists, or names parted by | or ;. An empty list is a label, an empty cell not."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from seedbed.core.labels import NO_LABEL
from seedbed.data import label_class
from seedbed.data.labels import Settled, listed_in
from seedbed.data.rows import listed, number

TASK = "multilabel"
COVERED = False


def canonical(text: str) -> str:
    """A JSON list of the different names, sorted."""
    found = listed_in(text)
    if found is None:
        found = re.split(r"[|;]", text)
    return _text({name.strip() for name in found} - {""})


def settle(labels: Mapping[int, str | None]) -> Settled:
    """A name that occurs once is taken out of its set, for nothing could be tested with it."""
    counts = _counts(labels.values())
    single = {name for name, count in counts.items() if count == 1}
    changed: dict[int, str | None] = {}
    reasons = {}
    for place, label in labels.items():
        gone = single & set(_names(label))
        if gone:
            changed[place] = _text(set(_names(label)) - gone)
            reasons[place] = f"used without {listed(sorted(gone))}: such names occur only once"
    understood = []
    if counts:
        rows = sum(label is not None for label in labels.values())
        per_row = counts.total() / rows
        understood.append(
            f"labels: sets of {number(len(counts), 'name')}, {per_row:.2g} a row "
            "(--task classify takes each set as one class)"
        )
    if single:
        understood.append(f"names that occur only once are taken out of their sets: {listed(sorted(single))}")
    return Settled(changed, reasons, understood)


def names(labels: Iterable[str | None]) -> list[str]:
    """All names, in the order of classes."""
    return label_class.names(_counts(labels))


def encode(labels: Sequence[str | None], names: Sequence[str]) -> np.ndarray:
    """Membership, int8 (rows, names): 1 in the set, 0 not; a row of NO_LABEL where there is no label."""
    index_of = {name: index for index, name in enumerate(names)}
    targets_IC = np.zeros((len(labels), len(names)), dtype=np.int8)
    for row, label in enumerate(labels):
        if label is None:
            targets_IC[row] = NO_LABEL
        else:
            targets_IC[row, [index_of[name] for name in _names(label)]] = 1
    return targets_IC


def known(targets: np.ndarray) -> np.ndarray:
    """Where there is a set, an empty one included."""
    return (targets != NO_LABEL).all(axis=1)


def strata(targets: np.ndarray) -> np.ndarray:
    """The rarest name of each set; empty sets are a stratum of their own.

    Source: after Sechidis et al. 2011, On the stratification of multi-label data: the rarest label is placed first.
    """
    order_C = np.argsort(targets.sum(axis=0, dtype=np.int64), kind="stable")
    sorted_IC = targets[:, order_C] == 1
    return np.where(sorted_IC.any(axis=1), order_C[sorted_IC.argmax(axis=1)], targets.shape[1]).astype(np.int64)


def count(targets: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Names and how many sets hold each."""
    counts = targets.sum(axis=0, dtype=np.int64).tolist()
    return {"label_kind": "set", "classes": tuple(names), "class_counts": tuple(counts), "num_labels": len(targets)}


def shares(targets: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    """Rows whose set holds each name."""
    return dict(zip(names, targets.sum(axis=0, dtype=np.int64).tolist(), strict=True))


def lacking(labels: Iterable[str | None]) -> str:
    """A name is needed that some sets hold and others do not."""
    sets = [label for label in labels if label is not None]
    counts = _counts(sets)
    if any(count < len(sets) for count in counts.values()):
        return ""
    if not sets:
        return "no row has a label"
    told = f"the same names: {listed(sorted(counts))}" if counts else "no name at all"
    return f"all {len(sets):,} labelled rows have {told}"


def pack(targets: np.ndarray) -> pa.Array:
    """A column of lists of one length."""
    flat = pa.array(np.ascontiguousarray(targets).reshape(-1), pa.int8())
    return pa.FixedSizeListArray.from_arrays(flat, targets.shape[1])


def unpack(column: pa.ChunkedArray) -> np.ndarray:
    """The lists as rows of an array."""
    width = column.type.list_size
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


def _names(label: str | None) -> list[str]:
    return [] if label is None else json.loads(label)


def _counts(labels: Iterable[str | None]) -> Counter[str]:
    return Counter(name for label in labels for name in _names(label))


def _text(names: set[str]) -> str:
    return json.dumps(sorted(names), ensure_ascii=False)
