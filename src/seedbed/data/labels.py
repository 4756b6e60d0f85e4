"""What a label is: one of some classes, a set of names, or a number; each kind is one file, `label_<kind>.py`.

A label travels as text until the data are written: as it stands in the data, then in its kind's canonical form. Only
then does it become what a task compares with: a class index, a row of 0 and 1, a float.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import pyarrow as pa

from seedbed.data.rows import Unreadable

KINDS = ("class", "set", "number")
# Whole numbers of more values than this, few rows each, are measured, not named.
FEW_VALUES = 50
ROWS_OF_A_CODE = 20
MOSTLY, FEWEST_NUMBERS = 0.95, 10
_SEPARATOR = re.compile(r"[|;]")


class Settled(NamedTuple):
    """Labels after what only all of them together can tell.

    Attributes:
        labels: the labels that changed, by place.
        reasons: why, by place.
        understood: sentences for the user.
    """

    labels: dict[int, str | None]
    reasons: dict[int, str]
    understood: list[str]


class LabelKind(Protocol):
    """The functions of a file `label_<kind>.py`. `targets` are labels as arrays, one entry or row an example.

    Attributes:
        TASK: the task that learns such labels, unless another is asked for.
        COVERED: whether a label subset must hold every stratum.
    """

    TASK: str
    COVERED: bool

    def canonical(self, text: str) -> str:
        """One spelling for equal labels.

        Raises:
            Unreadable: it is no label of this kind, with the reason.
        """

    def settle(self, labels: Mapping[int, str | None]) -> Settled:
        """Drop what could not be learnt or tested; sentences on all of them."""

    def names(self, labels: Iterable[str | None]) -> list[str]:
        """Names of the columns of answers, in their order; none for numbers."""

    def encode(self, labels: Sequence[str | None], names: Sequence[str]) -> np.ndarray:
        """Canonical labels as targets.

        Raises:
            KeyError: a name that is not among `names`.
        """

    def known(self, targets: np.ndarray) -> np.ndarray:
        """Which examples have a label, bool (rows,)."""

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """A number for examples of like labels, int64 (rows,); all of them have a label."""

    def count(self, targets: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        """The fields of Facts that speak of labels, from training labels alone."""

    def shares(self, targets: np.ndarray, names: Sequence[str]) -> dict[str, int]:
        """How many labels have each name, or lie in each range, for people."""

    def lacking(self, labels: Iterable[str | None]) -> str:
        """What is missing for anything to be learnt; empty where nothing is."""

    def pack(self, targets: np.ndarray) -> pa.Array:
        """Targets as a column of an Arrow table."""

    def unpack(self, column: pa.ChunkedArray) -> np.ndarray:
        """Targets from such a column."""


def label_kind(name: str) -> LabelKind:
    """The functions of a kind."""
    return cast(LabelKind, import_module(f"seedbed.data.label_{name}"))


def find_kind(labels: Iterable[str | None]) -> str:
    """Which kind labels are of: lists or parts that recur between | or ; are sets, measured values are numbers.

    Whole numbers of at most 50 values, of 20 rows each, or counted from 0 or 1 without a gap, are codes of classes.
    """
    distinct = Counter(label for label in labels if label is not None)
    if not distinct:
        return "class"
    if all(listed_in(text) is not None for text in distinct):
        return "set"
    parted = sum(count for text, count in distinct.items() if _SEPARATOR.search(text))
    parts = {part.strip() for text in distinct for part in _SEPARATOR.split(text)} - {""}
    if parted >= max(2, distinct.total() // 50) and 2 <= len(parts) <= len(distinct):
        return "set"
    return "number" if _measured(distinct, distinct.total()) else "class"


def _measured(distinct: Collection[str], num_rows: int) -> bool:
    values = np.array([value for text in distinct if (value := _float(text)) is not None])
    finite = values[np.isfinite(values)]
    # A few cells like "unknown" do not make classes of measured values.
    if len(values) < MOSTLY * len(distinct) or len(finite) < FEWEST_NUMBERS:
        return False
    if (finite != np.round(finite)).any():
        return True
    first = finite.min()
    without_gap = first in (0, 1) and finite.max() - first + 1 == len(finite)
    return len(finite) > FEW_VALUES and num_rows < ROWS_OF_A_CODE * len(finite) and not without_gap


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def listed_in(text: str) -> list[str] | None:
    """The names in a JSON list of scalars, None where the text is no such list."""
    if not text.startswith("["):
        return None
    try:
        values = json.loads(text)
    except ValueError:
        return None
    if not isinstance(values, list) or any(isinstance(value, list | dict) for value in values):
        return None
    return [value if isinstance(value, str) else json.dumps(value) for value in values if value is not None]


def read_labels(labels: Iterable[str | None], kind: LabelKind) -> tuple[list[str | None], dict[int, str]]:
    """Canonical labels, equal ones the same object, and the reasons why some are none, by place."""
    known: dict[str | None, tuple[str | None, str]] = {None: (None, "")}
    read, reasons = [], {}
    for place, text in enumerate(labels):
        if text not in known:
            assert text is not None, "no label is known"
            known[text] = _canonical(text, kind)
        label, reason = known[text]
        read.append(label)
        if reason:
            reasons[place] = f"used without a label: {reason}"
    return read, reasons


def _canonical(text: str, kind: LabelKind) -> tuple[str | None, str]:
    try:
        return kind.canonical(text), ""
    except Unreadable as error:
        return None, str(error)
