"""Cleaned rows made by hand, so that what follows cleaning is tested without files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from seedbed.core.settings import Settings
from seedbed.data.clean import Cleaned


def settings_with(**data: Any) -> Settings:
    return Settings.model_validate({"data": data})


def id_of(content: bytes) -> int:
    return int(np.uint64(xxhash.xxh3_64_intdigest(content)).astype(np.int64))


def cleaned_of(
    raw: Sequence[str] | np.ndarray,
    labels: Sequence[str | None] | None = None,
    splits: Sequence[str | None] | None = None,
    groups: Sequence[str | None] | None = None,
    name: str = "made",
) -> Cleaned:
    num = len(raw)
    keys = [f"{name}.csv:{row}" for row in range(num)]
    image = isinstance(raw, np.ndarray)
    contents = [row.tobytes() if isinstance(row, np.ndarray) else row.encode("utf-8", "surrogatepass") for row in raw]
    ledger = {"key": keys, "fate": ["used"] * num, "reason": [""] * num, "of": [""] * num, "kept": [b""] * num}
    return Cleaned(
        modality="image" if image else "text",
        name=name,
        paths=[Path(f"{name}.csv")],
        understood=["made by hand"],
        ids=np.array([id_of(content) for content in contents], dtype=np.int64),
        keys=keys,
        labels=list(labels) if labels is not None else [None] * num,
        splits=list(splits) if splits is not None else [None] * num,
        groups=list(groups) if groups is not None else [None] * num,
        raw=raw if isinstance(raw, np.ndarray) else list(raw),
        ledger=pa.table(ledger),
        counts={"used": num, "duplicate": 0, "quarantined": 0, "excluded": 0, "total": num},
    )


def texts_of(num: int, seed: int = 0, longest: int = 60, words: int = 50) -> list[str]:
    """Texts of 1 to `longest` words, no two alike."""
    rng = np.random.default_rng(seed)
    vocabulary = [f"word{number}" for number in range(words)]
    return [
        " ".join([f"text{row}", *rng.choice(vocabulary, size=rng.integers(0, longest)).tolist()]) for row in range(num)
    ]


def images_of(num: int, channels: int = 1, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, channels, side, side), dtype=np.uint8)


def ignore(event: str, **fields: object) -> None:
    """Say nothing."""
