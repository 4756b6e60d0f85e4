"""What counting the training rows tells; no other row is looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seedbed.core.types import Facts

_PIXELS_AT_ONCE = 1 << 24


class TokenCounts:
    """Counts tokens, and the documents they are in, over batches of documents.

    Args:
        vocab_size: entries of the tokenizer.
    """

    def __init__(self, vocab_size: int) -> None:
        self.tokens_V = np.zeros(vocab_size, dtype=np.int64)
        self.documents_V = np.zeros(vocab_size, dtype=np.int64)
        self.num_documents = 0

    def add(self, documents: Sequence[np.ndarray]) -> None:
        """Count some documents, each an array of ids."""
        if not documents:
            return
        size = len(self.tokens_V)
        tokens = np.concatenate(documents).astype(np.int64)
        owners = np.repeat(np.arange(len(documents)), [len(ids) for ids in documents])
        self.tokens_V += np.bincount(tokens, minlength=size)
        pairs = owners * size + tokens
        pairs.sort()
        self.documents_V += np.bincount(pairs[np.diff(pairs, prepend=-1) > 0] % size, minlength=size)
        self.num_documents += len(documents)


def text_facts(counts: TokenCounts, labels: Mapping[str, Any]) -> Facts:
    """Facts of texts; `labels` are the fields that speak of labels."""
    return Facts(
        modality="text",
        vocab_size=len(counts.tokens_V),
        token_counts=tuple(counts.tokens_V.tolist()),
        document_counts=tuple(counts.documents_V.tolist()),
        num_documents=counts.num_documents,
        **labels,
    )


def image_facts(modality: str, pixels_BCYX: np.ndarray, training: np.ndarray, labels: Mapping[str, Any]) -> Facts:
    """Facts of images, or of vectors, whose values are channels of one pixel.

    Args:
        modality: "image" or "vector".
        pixels_BCYX: all rows: uint8, counted in 0..1, or float32 as they are.
        training: which of them are counted, bool.
        labels: the fields that speak of labels.
    """
    _, channels, height, width = pixels_BCYX.shape
    rows = np.flatnonzero(training)
    whole = 255.0 if pixels_BCYX.dtype == np.uint8 else 1.0
    sums_C, squares_C = np.zeros(channels), np.zeros(channels)
    at_once = max(1, _PIXELS_AT_ONCE // max(channels * height * width, 1))
    for low in range(0, len(rows), at_once):
        part = pixels_BCYX[rows[low : low + at_once]].astype(np.float64) / whole
        sums_C += part.sum((0, 2, 3))
        squares_C += (part**2).sum((0, 2, 3))
    num = max(len(rows) * height * width, 1)
    mean_C = sums_C / num
    std_C = np.sqrt(np.maximum(squares_C / num - mean_C**2, 0.0))
    # A channel of one value must not be divided by nothing: one grey level is the least there is of pixels; values may
    # be of any size, so only what never changes is left as it is, but for the rounding of large numbers.
    std_C = np.maximum(std_C, 1.0 / 255.0) if whole > 1 else np.where(std_C > 1e-7 * np.abs(mean_C), std_C, 1.0)
    return Facts(
        modality=modality,
        num_documents=len(rows),
        image_shape=(channels, height, width),
        channel_mean=tuple(mean_C.tolist()),
        channel_std=tuple(std_C.tolist()),
        **labels,
    )


def facts_to_json(facts: Facts) -> str:
    """Facts as compact JSON."""
    return json.dumps(vars(facts), separators=(",", ":"))


def facts_from_json(text: str) -> Facts:
    """Facts from what `facts_to_json` wrote, where tuples have become lists."""
    stored: dict[str, Any] = json.loads(text)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    return Facts(**values)
