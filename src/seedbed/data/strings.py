"""Very many strings, of which a few thousand are in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
import pyarrow as pa

_BLOCK = 1 << 15


class Strings(Sequence[str]):
    """Strings that are loaded block by block; going through them in order loads every block once.

    Args:
        counts: how many strings each block has.
        load: number of a block -> its strings.
        rows: which of them these are, int64 ascending; all by default.
    """

    def __init__(
        self, counts: Sequence[int], load: Callable[[int], Sequence[str]], rows: np.ndarray | None = None
    ) -> None:
        self._ends = np.cumsum(np.asarray(counts, dtype=np.int64))
        self._load = load
        self._rows = np.arange(self._ends[-1] if len(counts) else 0) if rows is None else rows
        self._number, self._block = -1, list[str]()

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return self._taken(self._rows[at])
        return self._taken(self._rows[[at]])[0]

    def pick(self, places: np.ndarray) -> Strings:
        """Some of them, by their places here, ascending; nothing is loaded."""
        counts = np.diff(self._ends, prepend=0).tolist()
        return Strings(counts, self._load, self._rows[places])

    def _taken(self, rows: np.ndarray) -> list[str]:
        numbers = np.searchsorted(self._ends, rows, side="right")
        taken: list[str] = []
        for number in dict.fromkeys(numbers.tolist()):
            if number != self._number:
                self._number, self._block = number, list(self._load(number))
            first = self._ends[number] - len(self._block)
            taken += [self._block[row] for row in (rows[numbers == number] - first).tolist()]
        return taken


def pick(strings: Sequence[str], places: np.ndarray) -> Sequence[str]:
    """Some of many strings, by their places, ascending."""
    return strings.pick(places) if isinstance(strings, Strings) else [strings[place] for place in places.tolist()]


def strings_of(column: pa.Array | pa.ChunkedArray) -> Strings:
    """A column of strings, which takes a third of the memory that Python's strings would."""
    counts = [min(_BLOCK, len(column) - low) for low in range(0, len(column), _BLOCK)]
    return Strings(counts, lambda number: column.slice(number * _BLOCK, _BLOCK).to_pylist())
