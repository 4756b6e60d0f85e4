"""Labels that are numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from seedbed.data.labels import Settled
from seedbed.data.rows import Unreadable

TASK = "regress"
COVERED = False
STRATA = 10
BINS = 8


def canonical(text: str) -> str:
    """The shortest spelling of the same float."""
    try:
        value = float(text)
    except ValueError:
        raise Unreadable(f'the label is no number ("{text[:40]}")') from None
    if not math.isfinite(value):
        raise Unreadable(f'the label is not finite ("{text[:40]}")')
    return repr(value)


def settle(labels: Mapping[int, str | None]) -> Settled:
    """Nothing is dropped; the range is told."""
    values = [float(label) for label in labels.values() if label is not None]
    if not values:
        return Settled({}, {}, [])
    told = (
        f"labels: numbers, {len(set(values)):,} different ones from {min(values):g} to {max(values):g} "
        "(--task classify takes each as a class)"
    )
    return Settled({}, {}, [told])


def names(labels: Iterable[str | None]) -> list[str]:
    """Numbers have no names."""
    return []


def encode(labels: Sequence[str | None], names: Sequence[str]) -> np.ndarray:
    """float64, NaN where there is none."""
    return np.array([math.nan if label is None else float(label) for label in labels], dtype=np.float64)


def known(targets: np.ndarray) -> np.ndarray:
    """Where there is a number."""
    return np.isfinite(targets)


def strata(targets: np.ndarray) -> np.ndarray:
    """Ten parts of about equal size by rank; equal numbers are in one part."""
    if not len(targets):
        return np.zeros(0, dtype=np.int64)
    inner = np.quantile(targets, np.arange(1, STRATA) / STRATA, method="inverted_cdf")
    return np.searchsorted(np.unique(inner), targets, side="left").astype(np.int64)


def count(targets: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Mean and standard deviation, by which targets are standardised."""
    told: dict[str, Any] = {"label_kind": "number", "classes": (), "class_counts": (), "num_labels": len(targets)}
    if len(targets):
        # Labels that are all equal have nothing to be divided by.
        told |= {"target_mean": float(targets.mean()), "target_std": float(targets.std()) or 1.0}
    return told


def shares(targets: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    """How many lie in each of some equal ranges."""
    if not len(targets):
        return {}
    counts, edges = np.histogram(targets, bins=BINS)
    return {f"{low:.4g} to {high:.4g}": n for low, high, n in zip(edges, edges[1:], counts.tolist(), strict=False)}


def lacking(labels: Iterable[str | None]) -> str:
    """At least two different numbers are needed."""
    found = {label for label in labels if label is not None}
    if len(found) >= 2:
        return ""
    return f"every label is {next(iter(found))}" if found else "no row has a label"


def pack(targets: np.ndarray) -> pa.Array:
    """A column of float64, NaN kept."""
    return pa.array(targets)


def unpack(column: pa.ChunkedArray) -> np.ndarray:
    """The same column as an array."""
    return column.to_numpy()
