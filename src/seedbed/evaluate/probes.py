"""What an encoder's features are worth, and whether they have collapsed; linear probes themselves are in `linear`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from seedbed.core.device import Machine, autocast
from seedbed.core.types import NO_LABEL, Batch
from seedbed.data.loader import Loader
from seedbed.data.store import Prepared
from seedbed.evaluate.linear import scaled
from seedbed.models.encoder import Encoder
from seedbed.train.scoring import evaluating

FEATURE_BATCH = 64


@torch.no_grad()
def features(encoder: Encoder, prepared: Prepared, rows: np.ndarray, machine: Machine, seq_len: int) -> np.ndarray:
    """Pooled states of whole examples, float32 (I, D), in the order of `rows`.

    Args:
        encoder: put into evaluation mode for the duration.
        rows: rows of the prepared data.
        seq_len: longest part of a text that is read, in tokens; 0 for images.
    """
    # Neighbours of like length need little padding.
    order = np.argsort(prepared.lengths[rows], kind="stable")
    loader = Loader(prepared, rows[order], seed=0, batch_size=FEATURE_BATCH, items="whole", seq_len=seq_len)
    sorted_ID = pool_batches(encoder, loader.evaluation(), prepared.facts.modality, machine)
    assert len(sorted_ID) == len(rows), f"{len(sorted_ID)} of {len(rows)} rows were read"
    x_ID = np.empty_like(sorted_ID)
    x_ID[order] = sorted_ID
    return x_ID


@torch.no_grad()
def pool_batches(encoder: Encoder, batches: Iterable[Batch], modality: str, machine: Machine) -> np.ndarray:
    """Pooled states of the examples of batches, float32 (I, D), in their order."""
    device = torch.device(machine.device)
    encoder.to(device)
    found = []
    with evaluating(encoder):
        for batch in batches:
            padded = batch.to(device).inputs[modality]
            with autocast(machine):
                pooled_BD = encoder.pooled(padded.values, padded.keep)
            found.append(pooled_BD.float().cpu().numpy())
    return np.concatenate(found)


class Pooled:
    """An encoder's features of rows, computed once for each row; arguments as in `features`."""

    def __init__(self, encoder: Encoder, prepared: Prepared, machine: Machine, seq_len: int) -> None:
        self.encoder, self.prepared, self.machine, self.seq_len = encoder, prepared, machine, seq_len
        self._place: dict[int, int] = {}
        self._kept: list[np.ndarray] = []

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Features, float32 (rows, D)."""
        new = np.array([row for row in dict.fromkeys(rows.tolist()) if row not in self._place], np.int64)
        if len(new):
            start = len(self._place)
            self._place |= {row: start + index for index, row in enumerate(new.tolist())}
            block = features(self.encoder, self.prepared, new, self.machine, self.seq_len)
            self._kept = [np.concatenate([*self._kept, block])]
        found: np.ndarray = self._kept[0][[self._place[row] for row in rows.tolist()]]
        return found


def neighbour_accuracy(x_ID: np.ndarray, labels_I: np.ndarray, neighbours: int = 5) -> float:
    """Leave-one-out accuracy of voting by nearest neighbours under cosine distance: a probe without training.

    Args:
        x_ID: features.
        labels_I: class indices; rows without a label are left out.
    """
    known = labels_I != NO_LABEL
    unit_ID, y = scaled(x_ID[known], x_ID[known]), labels_I[known]
    unit_ID /= np.maximum(np.linalg.norm(unit_ID, axis=1, keepdims=True), 1e-12)
    near = unit_ID @ unit_ID.T
    np.fill_diagonal(near, -np.inf)
    nearest = np.argsort(-near, axis=1, kind="stable")[:, : min(neighbours, len(y) - 1)]
    # Similarity breaks ties between equally many votes.
    votes = np.zeros((len(y), int(y.max()) + 1))
    for column in nearest.T:
        np.add.at(votes, (np.arange(len(y)), y[column]), 1.0 + 1e-3 * near[np.arange(len(y)), column])
    return float((votes.argmax(axis=1) == y).mean())


def feature_std(x_ID: np.ndarray) -> float:
    """Mean over features of the standard deviation of unit-length rows, times sqrt(D): 1 when spread, 0 when collapsed.

    Source: Chen and He, "Exploring simple siamese representation learning" (2021), section 4.1.
    """
    unit_ID = x_ID / np.maximum(np.linalg.norm(x_ID, axis=1, keepdims=True), 1e-12)
    return float(unit_ID.std(axis=0).mean() * np.sqrt(x_ID.shape[1]))


def effective_rank(x_ID: np.ndarray) -> float:
    """The exponential of the entropy of the normalised singular values of centred features: 1 to D, 0 if constant.

    Source: Roy and Vetterli, "The effective rank" (2007).
    """
    values = np.linalg.svd(x_ID.astype(np.float64) - x_ID.mean(axis=0, dtype=np.float64), compute_uv=False)
    total = values.sum()
    if total <= 1e-9 * max(float(np.abs(x_ID).max()), 1e-12) * len(x_ID):
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))
