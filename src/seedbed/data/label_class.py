"""Labels that name one class each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from seedbed.core.labels import NO_LABEL
from seedbed.data.labels import FEW_VALUES, Settled
from seedbed.data.rows import listed

TASK = "classify"
COVERED = True


def canonical(text: str) -> str:
    """The name of the class, as it stands."""
    return text


def settle(labels: Mapping[int, str | None]) -> Settled:
    """A class of one row is dropped, for nothing could be tested with it."""
    counts = Counter(label for label in labels.values() if label is not None)
    single = {label for label, count in counts.items() if count == 1}
    reasons = {
        place: f'used without a label: "{label}" occurs only once' for place, label in labels.items() if label in single
    }
    understood = []
    if single:
        told = f"labels that occur only once are dropped, their rows used without: {listed(sorted(single))}"
        understood.append(told)
    if len(counts) > max(FEW_VALUES, counts.total() // 2):
        understood.append(
            f"warning: there are {len(counts):,} different labels in {counts.total():,} rows: they hardly name classes"
        )
    return Settled(dict.fromkeys(reasons), reasons, understood)


def names(labels: Iterable[str | None]) -> list[str]:
    """Names of the classes in their order: numbers by size, words by alphabet."""
    found = {label for label in labels if label is not None}
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)


def encode(labels: Sequence[str | None], names: Sequence[str]) -> np.ndarray:
    """Class indices, int64, NO_LABEL where there is none."""
    index_of = {name: index for index, name in enumerate(names)}
    return np.array([NO_LABEL if label is None else index_of[label] for label in labels], dtype=np.int64)


def known(targets: np.ndarray) -> np.ndarray:
    """Where there is a class."""
    return targets != NO_LABEL


def strata(targets: np.ndarray) -> np.ndarray:
    """The classes themselves."""
    return targets


def count(targets: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Names and frequencies of the classes."""
    counts = np.bincount(targets, minlength=len(names)).tolist()
    return {
        "label_kind": "class",
        "classes": tuple(names),
        "class_counts": tuple(counts),
        "num_labels": len(targets),
    }


def shares(targets: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    """Rows of each class."""
    return dict(zip(names, np.bincount(targets, minlength=len(names)).tolist(), strict=True))


def lacking(labels: Iterable[str | None]) -> str:
    """At least two classes are needed."""
    found = Counter(label for label in labels if label is not None)
    if len(found) >= 2:
        return ""
    return f"only one class, {listed(found)} ({found.total():,} rows)" if found else "no row has a label"


def pack(targets: np.ndarray) -> pa.Array:
    """A column of int64."""
    return pa.array(targets)


def unpack(column: pa.ChunkedArray) -> np.ndarray:
    """The same column as an array."""
    return column.to_numpy()
