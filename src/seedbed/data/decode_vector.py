"""Vectors of numbers from arrays: float32, as one pixel of many channels, so that what stores images stores them."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from seedbed.core.settings import Settings
from seedbed.data.rows import Row, Unreadable

_SHOWN = 12


def sniff(values: Sequence[object]) -> bool:
    """Whether values are vectors of numbers."""
    return bool(len(values)) and all(isinstance(value, np.ndarray) and value.ndim == 1 for value in values)


def read(row: Row, settings: Settings, shape: tuple[int, ...] = ()) -> np.ndarray:
    """The numbers of a row, float32 in (values, 1, 1).

    Raises:
        Unreadable: some are not finite, or there are more or fewer than in the other rows.
    """
    assert isinstance(row.raw, np.ndarray), "a vector is held in memory"
    if shape and row.raw.shape != shape:
        raise Unreadable(f"{row.raw.size:,} values where there are {shape[0]:,} in the others")
    lost = int((~np.isfinite(row.raw)).sum())
    if lost:
        raise Unreadable(f"not finite ({lost:,} of {row.raw.size:,} values)")
    return row.raw


def fold(content: np.ndarray) -> bytes:
    """What two vectors must share to be the same: every value."""
    return content.tobytes()


def rule(content: np.ndarray) -> str | None:
    """The rule that excludes a readable vector, or None."""
    return "no values" if content.size == 0 else None


def working_shape(rows: Sequence[Row], settings: Settings) -> tuple[tuple[int, ...], str]:
    """The shape all vectors have, (values, 1, 1), and the sentence that says so."""
    first = rows[0].raw if rows else np.zeros((0, 1, 1))
    assert isinstance(first, np.ndarray), "a vector is held in memory"
    return first.shape, f"vectors: {first.size:,} values each, standardised one by one by the training rows"


def fit(content: np.ndarray, shape: tuple[int, ...], settings: Settings) -> np.ndarray:
    """Vectors keep their length."""
    return content


def pack(contents: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """All vectors of a data set: float32 in (items, values, 1, 1)."""
    return np.stack(contents).astype(np.float32)


def profile(items: np.ndarray) -> dict[str, object]:
    """What a planner asks of vectors: how many, and of how many values.

    Args:
        items: float32 in (items, values, 1, 1).
    """
    return {"num_items": len(items), "values": int(items.shape[1])}


def baseline(items: np.ndarray) -> np.ndarray:
    """What a classic model is given: the values, float32 in (items, values)."""
    return items.reshape(len(items), -1).astype(np.float32)


def preview(raw: np.ndarray) -> str:
    """The first values of a vector as text."""
    values = raw.reshape(-1)
    told = ", ".join(f"{value:.4g}" for value in values[:_SHOWN].tolist())
    return html.escape(told + (", …" if len(values) > _SHOWN else ""))
