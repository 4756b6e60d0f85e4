"""Which examples make up which batch: pure in (seed, step), so that resuming anywhere costs nothing.

Position p of the run is item p % N of epoch p // N, permuted by a keyed Feistel network. The positions of up to 64
batches form a window; it is sorted by length and cut into as many batches of about equal padded tokens, played in keyed
order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seedbed.core.hashing import fold, hash_rows, permute

WINDOW = 64
_LONG = 8


class Picks(NamedTuple):
    """Examples of a batch or a window: what to read, and the epoch of each; int64, all of one length.

    Attributes:
        items: index into the ids and lengths the order was made of.
        starts: first token to read.
        lengths: tokens to read; 1 for examples without a length.
        epochs: epoch of each example.
    """

    items: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    epochs: np.ndarray

    def take(self, which: np.ndarray | slice) -> Picks:
        """Some of them."""
        return Picks(*(values[which] for values in self))


class Order:
    """The order of training examples.

    Args:
        ids: int64 content hash of each document or image.
        lengths: tokens of each document, 1 for images.
        seed: key.
        batch_size: mean number of examples of a batch; at most one epoch.
        chunks: whether a document longer than seq_len is cut into consecutive windows, or cropped to one.
        seq_len: most tokens of an example; 0: no bound.
    """

    def __init__(
        self, ids: np.ndarray, lengths: np.ndarray, *, seed: int, batch_size: int, chunks: bool, seq_len: int
    ) -> None:
        self._ids, self._lengths, self._seed, self._seq_len = ids, lengths, seed, seq_len
        counts = _num_windows(lengths, seq_len) if chunks and seq_len else np.ones(len(ids), dtype=np.int64)
        self._chunks = chunks
        self._counts = counts
        self._ends = np.cumsum(counts)
        self.num_items = int(self._ends[-1]) if len(ids) else 0
        self.batch_size = min(batch_size, self.num_items)
        self.window = max(1, min(WINDOW, self.num_items // max(self.batch_size, 1)))
        self._cached: tuple[int, Picks, list[slice]] | None = None

    def batch(self, step: int) -> Picks:
        """The examples of one step."""
        window, turn = divmod(step, self.window)
        if self._cached is None or self._cached[0] != window:
            picks = self._window(window)
            played = permute(fold(self._seed, "turns"), window, np.arange(self.window), self.window)
            bounds = cut_evenly(picks.lengths, self.window)
            self._cached = (window, picks, [slice(bounds[at], bounds[at + 1]) for at in played.tolist()])
        return self._cached[1].take(self._cached[2][turn])

    def _window(self, window: int) -> Picks:
        """Examples of one window, the longest first; equal lengths stay in permuted order."""
        size = self.window * self.batch_size
        positions = np.arange(window * size, (window + 1) * size)
        epochs = positions // self.num_items
        parts = [self._of_epoch(int(epoch), positions[epochs == epoch]) for epoch in np.unique(epochs)]
        picks = Picks(*(np.concatenate(values) for values in zip(*parts, strict=True)))
        return picks.take(np.argsort(-picks.lengths, kind="stable"))

    def _of_epoch(self, epoch: int, positions: np.ndarray) -> Picks:
        """What stands at some positions, all of one epoch."""
        numbers = permute(self._seed, epoch, positions % self.num_items, self.num_items)
        items = np.searchsorted(self._ends, numbers, side="right")
        chunk = numbers - (self._ends[items] - self._counts[items])
        lengths, most = self._lengths[items], self._seq_len or int(self._lengths.max())
        draw = hash_rows(fold(self._seed, epoch), "start", self._ids[items])
        if self._chunks:
            offsets = _offsets(lengths, most, self._counts[items], draw)
            starts, ends = np.maximum(chunk * most - offsets, 0), np.minimum((chunk + 1) * most - offsets, lengths)
        else:
            starts = np.floor(draw * (np.maximum(lengths - most, 0) + 1)).astype(np.int64)
            ends = np.minimum(starts + most, lengths)
        return Picks(items, starts, ends - starts, np.full(len(items), epoch))


def _num_windows(lengths: np.ndarray, seq_len: int) -> np.ndarray:
    """Windows each document is cut into, the same in every epoch and none of them empty.

    As few as hold it; one more for a long document that would leave its windows little room to move.
    """
    fewest = -(-lengths // seq_len)
    room = fewest * seq_len - lengths
    return fewest + ((fewest >= _LONG) & (2 * room < seq_len))


def _offsets(lengths: np.ndarray, seq_len: int, counts: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """By how much the first window of each document falls short of seq_len, so that the last is not empty either."""
    room = counts * seq_len - lengths
    lowest = np.maximum(room - seq_len + 1, 0)
    highest = np.minimum(room, seq_len - 1)
    return lowest + np.floor(draw * (highest - lowest + 1)).astype(np.int64)


def disjoint_windows(lengths: np.ndarray, seq_len: int, chunks: bool) -> Picks:
    """Every document once, in order, from its start: in consecutive windows, or its first seq_len tokens."""
    most = seq_len or int(lengths.max(initial=1))
    counts = -(-lengths // most) if chunks else np.ones(len(lengths), dtype=np.int64)
    items = np.repeat(np.arange(len(lengths)), counts)
    starts = (np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)) * most
    ends = np.minimum(starts + most, lengths[items])
    return Picks(items, starts, ends - starts, np.full(len(items), -1))


def cut_evenly(lengths: np.ndarray, num: int) -> list[int]:
    """Cut descending lengths into `num` runs of about equal padded size; returns num + 1 bounds.

    The size of a run is its number of examples times its first, longest one. The smallest bound on it for which the
    runs suffice is found by bisection.
    """
    sizes = lengths.tolist()
    low, high = -(-sum(sizes) // num), max(sizes[0], 1) * -(-len(sizes) // num)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(sizes, middle, num)) <= num + 1:
            high = middle
        else:
            low = middle + 1
    bounds = _fill(sizes, high, num)
    while len(bounds) < num + 1:
        at = max(range(len(bounds) - 1), key=lambda run: bounds[run + 1] - bounds[run])
        bounds.insert(at + 1, (bounds[at] + bounds[at + 1]) // 2)
    return bounds


def _fill(sizes: list[int], bound: int, num: int) -> list[int]:
    """Bounds of runs filled up to `bound` one after another; gives up beyond `num` runs."""
    bounds = [0]
    while bounds[-1] < len(sizes) and len(bounds) <= num + 1:
        at = bounds[-1]
        bounds.append(min(at + max(1, bound // max(sizes[at], 1)), len(sizes)))
    return bounds
