"""Batches of prepared data: any step at once, each read straight from the memory map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from seedbed.core.hashing import permute
from seedbed.core.types import EVALUATION_EPOCH, Batch, Padded
from seedbed.data.order import Order, Picks, disjoint_windows
from seedbed.data.store import Prepared


class Loader:
    """Batches of some rows, in training order or once each for scoring.

    Args:
        prepared: the data.
        rows: which of them, int64 indices.
        seed: key of the order and of where windows start.
        batch_size: mean number of examples of a batch: batches of short examples have more of them, so that all have
            about equal padded tokens. More than there are items means all of them: an epoch a step.
        items: "chunks" (a document in consecutive windows that begin elsewhere each epoch, no token lost) or "whole"
            (one window a document, cropped at a keyed start, and at 0 when scoring).
        seq_len: most tokens of an example; 0: no bound, and for images.
        labels: a label for every row of `prepared`, instead of its own.
    """

    def __init__(
        self,
        prepared: Prepared,
        rows: np.ndarray,
        *,
        seed: int,
        batch_size: int,
        items: str,
        seq_len: int,
        labels: np.ndarray | None = None,
    ) -> None:
        assert items in ("chunks", "whole"), items
        assert len(rows), "a loader needs rows"
        self._prepared = prepared
        self._rows = np.asarray(rows, dtype=np.int64)
        self._labels = prepared.labels if labels is None else labels
        assert len(self._labels) == len(prepared), "labels are given for every row of the data"
        self._lengths = prepared.lengths[self._rows]
        self._chunks, self._seq_len = items == "chunks", seq_len
        self._order = Order(
            prepared.ids[self._rows],
            self._lengths,
            seed=seed,
            batch_size=batch_size,
            chunks=self._chunks,
            seq_len=seq_len,
        )
        self.num_items = self._order.num_items
        self.batch_size = self._order.batch_size
        self.steps_per_epoch = self.num_items / self.batch_size

    def batch(self, step: int) -> Batch:
        """The batch of one step: a pure function of (seed, step)."""
        return self._read(self._order.batch(step))

    def evaluation(self, limit: int | None = None, batch_size: int | None = None) -> Iterator[Batch]:
        """Every row once, in the order given, of epoch -1: windows without overlap from 0 on, or whole from 0.

        Sorting the rows by `prepared.lengths` beforehand saves padding.

        Args:
            limit: read only so many examples, spread over all of them, the same for every seed.
            batch_size: examples of a batch; that of training by default.
        """
        picks = disjoint_windows(self._lengths, self._seq_len, self._chunks)
        num = len(picks.items)
        if limit is not None and limit < num:
            picks = picks.take(np.sort(permute(0, EVALUATION_EPOCH, np.arange(limit), num)))
        size = batch_size or self.batch_size
        for low in range(0, len(picks.items), size):
            yield self._read(picks.take(slice(low, low + size)))

    def padding_share(self, num_steps: int = 64) -> float:
        """Share of padding among the tokens of the first steps, without reading them."""
        real = padded = 0
        for step in range(num_steps):
            lengths = self._order.batch(step).lengths
            real += int(lengths.sum())
            padded += int(lengths.max()) * len(lengths)
        return 1.0 - real / padded

    def _read(self, picks: Picks) -> Batch:
        rows = self._rows[picks.items]
        if self._prepared.modality == "text":
            tokens_BN = self._prepared.tokens(rows, picks.starts, picks.lengths)
            keep_BN = np.arange(tokens_BN.shape[1]) < picks.lengths[:, None]
            padded = Padded(torch.from_numpy(tokens_BN), torch.from_numpy(keep_BN))
        else:
            pixels_BCYX = self._prepared.pixels(rows)
            padded = Padded(torch.from_numpy(pixels_BCYX), torch.ones(len(rows), dtype=torch.bool))
        return Batch(
            inputs={self._prepared.modality: padded},
            ids_B=torch.from_numpy(self._prepared.ids[rows]),
            epochs_B=torch.from_numpy(picks.epochs),
            starts_B=torch.from_numpy(picks.starts),
            labels_B=torch.from_numpy(self._labels[rows]),
        )
