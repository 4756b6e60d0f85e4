"""Rows to contents and facts: decoded, judged and hashed, without looking at other rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pyarrow as pa
import xxhash

from seedbed.core.settings import Settings
from seedbed.data.rows import KEPT_BYTES, TEST, VALIDATION, Raw, Row, Unreadable

USED, DUPLICATE, QUARANTINED, EXCLUDED = "used", "duplicate", "quarantined", "excluded"
FATES = (USED, DUPLICATE, QUARANTINED, EXCLUDED)
_RANK = {TEST: 0, VALIDATION: 1}  # which copy stays: never one in training beside one in the test


@dataclass(frozen=True)
class Seen:
    """What is known of rows without looking at their contents again, in the order of the source.

    Attributes:
        keys: large_string.
        fates: uint8 places in FATES; no row is known as a duplicate yet.
        digests: xxh3-128 of the folded content, uint64 (rows, 2); zeros where there is none.
        ids: uint64 xxh3-64 of the same.
        labels: names, equal ones the same object; None without one.
        splits: as in `Row`.
        groups: as in `Row`.
        asides: as in `Row`.
        noted: places of rows that cannot be used, int64 ascending.
        reasons: why, one for each of these.
        kept: the first bytes of those in quarantine.
    """

    keys: pa.Array
    fates: np.ndarray
    digests: np.ndarray
    ids: np.ndarray
    labels: list[str | None]
    splits: list[str | None]
    groups: list[str | None]
    asides: list[str]
    noted: np.ndarray
    reasons: list[str]
    kept: list[bytes]

    def __len__(self) -> int:
        return len(self.fates)


def worth(split: str | None, label: str | None) -> int:
    """Which of equal rows stays, the smallest first: of the test, of validation, with a label; then the first."""
    return 2 * _RANK.get(split or "", 2) + (label is None)


def read_held(
    rows: Sequence[Row], reader: ModuleType, shape: tuple[int, ...], settings: Settings
) -> tuple[Seen, dict[int, str | np.ndarray]]:
    """Read rows that are in memory.

    Args:
        rows: of one modality.
        reader: of that modality.
        shape: what `reader.fit` makes of contents.
        settings: for the reader.

    Returns:
        facts, and place -> content, of equal rows that of the worthiest only.
    """
    best: dict[bytes, int] = {}
    contents: dict[int, str | np.ndarray] = {}

    def keep(place: int, content: str | np.ndarray, digest: bytes) -> None:
        other = best.get(digest)
        if other is not None:
            if _worth(rows[other]) <= _worth(rows[place]):
                return
            del contents[other]
        best[digest] = place
        contents[place] = reader.fit(content, shape, settings)

    return read_rows(rows, reader, settings, keep, shape), contents


def _worth(row: Row) -> int:
    return worth(row.split, row.label)


def read_rows(
    rows: Iterable[Row],
    reader: ModuleType,
    settings: Settings,
    keep: Callable[[int, str | np.ndarray, bytes], None],
    shape: tuple[int, ...] = (),
) -> Seen:
    """Decode, judge and hash rows; usable contents are given to `keep` with their places and digests."""
    keys: list[str] = []
    fates: list[int] = []
    digests, ids = bytearray(), bytearray()
    labels: list[str | None] = []
    splits: list[str | None] = []
    groups: list[str | None] = []
    asides: list[str] = []
    noted: list[int] = []
    reasons: list[str] = []
    kept: list[bytes] = []
    for place, row in enumerate(rows):
        keys.append(row.key)
        labels.append(row.label)
        splits.append(row.split)
        groups.append(row.group)
        asides.append(row.aside)
        fate, reason, first = USED, "", b""
        try:
            content = reader.read(row, settings, shape)
            if rule := reader.rule(content):
                fate, reason = EXCLUDED, rule
        except Unreadable as error:
            fate, reason, first = QUARANTINED, str(error), _first_bytes(row.raw)
        fates.append(FATES.index(fate))
        if fate != USED:
            noted.append(place)
            reasons.append(reason)
            kept.append(first)
            digests += bytes(16)
            ids += bytes(8)
            continue
        folded = reader.fold(content)
        digest = xxhash.xxh3_128_digest(folded)
        digests += digest
        ids += xxhash.xxh3_64_digest(folded)
        keep(place, content, digest)
    return Seen(
        keys=pa.array(keys, pa.large_string()),
        fates=np.array(fates, dtype=np.uint8),
        digests=np.frombuffer(bytes(digests), dtype=">u8").astype(np.uint64).reshape(-1, 2),
        ids=np.frombuffer(bytes(ids), dtype=">u8").astype(np.uint64),
        labels=labels,
        splits=splits,
        groups=groups,
        asides=asides,
        noted=np.array(noted, dtype=np.int64),
        reasons=reasons,
        kept=kept,
    )


def _first_bytes(raw: Raw) -> bytes:
    if isinstance(raw, str):
        return raw[:KEPT_BYTES].encode("utf-8", "surrogatepass")
    return raw[:KEPT_BYTES] if isinstance(raw, bytes) else b""
