"""What the planner needs to know of the data: counts, and the traits its modality is judged by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

SAMPLE = 4000  # texts looked at; enough for counts within a few per cent
WORD = re.compile(r"\w+|[^\w\s]")
MIN_COUNT = 3


@dataclass(frozen=True)
class Profile:
    """The data in numbers; JSON-able.

    Attributes:
        modality: "text", "image" or "vector".
        num_examples: rows pretraining may use.
        num_labels: labelled rows.
        num_classes: different labels.
        traits: text: num_chars, num_words, word_coverage (share of the running words that are neither rare nor unique);
            image: side (longer one, pixels), channels.
    """

    modality: str
    num_examples: int
    num_labels: int = 0
    num_classes: int = 0
    traits: dict[str, float] = field(default_factory=dict)


def profile(modality: str, raw: Sequence[str] | np.ndarray, labels: Sequence[str | None]) -> Profile:
    """Count what is there.

    Args:
        modality: "text", "image" or "vector".
        raw: texts, or pixels_NCYX.
        labels: one a row, None where there is none.
    """
    known = [label for label in labels if label is not None]
    traits = _image_traits(raw) if isinstance(raw, np.ndarray) and raw.ndim == 4 else _text_traits(raw)
    return Profile(modality, len(raw), len(known), len(set(known)), traits)


def _text_traits(texts: Sequence[str] | np.ndarray) -> dict[str, float]:
    """Counted on every k-th text and scaled up."""
    every = max(len(texts) // SAMPLE, 1)
    sample = [texts[row] for row in range(0, len(texts), every)]
    counts = Counter(word for text in sample for word in WORD.findall(text.lower()))
    num_words = sum(counts.values())
    covered = sum(count for count in counts.values() if count >= MIN_COUNT)
    return {
        "num_chars": float(sum(map(len, sample)) * every),
        "num_words": float(num_words * every),
        "word_coverage": covered / max(num_words, 1),
    }


def _image_traits(pixels_NCYX: np.ndarray) -> dict[str, float]:
    _, channels, rows, columns = pixels_NCYX.shape
    return {"side": float(max(rows, columns)), "channels": float(channels)}
