"""What every source is made of: rows, what could not be read, and the words that name splits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np

from seedbed.core.errors import DataError

Raw = str | bytes | Path | np.ndarray

KEPT_BYTES = 4096  # of what is quarantined; the file itself stays where it is
UNLABELLED = "unlabelled"
TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval"), TEST),
    **dict.fromkeys(("unsup", "unsupervised", "unlabeled", "unlabelled", "raw"), UNLABELLED),
}


class Unreadable(Exception):
    """One row or file cannot be used; its text is the reason that enters the ledger."""


class TooLarge(Unreadable):
    """It decompresses to more than anything honest would."""


@dataclass(frozen=True, slots=True)
class Row:
    """One example as it was found.

    Attributes:
        key: where it stands, "file:row", the same each time the source is opened.
        raw: text, undecoded bytes, the path of a file, or values in (channels, rows, columns).
        label: name of its class, None without one.
        split: "train", "validation", "test", or None where the data do not say.
        group: what must not be torn apart by a split, None where nothing was named.
        aside: a JSON object of further columns that were asked for, empty without any.
    """

    key: str
    raw: Raw
    label: str | None = None
    split: str | None = None
    group: str | None = None
    aside: str = ""


@dataclass(frozen=True)
class Stream(Sequence[Row]):
    """Rows of files that are too long to be held: they are read again each time somebody asks for them.

    Attributes:
        num_rows: how many there are.
        read: from the row of this number on, in order.
        identity: hash of the files, by name, size and time of change, and of what makes rows of them.
    """

    num_rows: int
    read: Callable[[int], Iterator[Row]]
    identity: str

    def __len__(self) -> int:
        return self.num_rows

    def __iter__(self) -> Iterator[Row]:
        return self.read(0)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, int):
            return next(self.read(range(self.num_rows)[at]))
        low, high, step = at.indices(self.num_rows)
        assert step > 0, "rows are read forwards"
        return list(islice(self.read(low), 0, max(high - low, 0), step))


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row or file that could not be read: where, why, and the first bytes of it."""

    key: str
    reason: str
    kept: bytes = b""


@dataclass(frozen=True)
class Source:
    """Rows in a stable order, with what was understood of the data they come from.

    Attributes:
        modality: "text", "image" or "vector": the name of the reader.
        name: of the file, the folder, or "arrays"; part of the name of a run.
        paths: files and folders asked for.
        rows: what cleaning will read; a `Stream` where the files are long.
        quarantined: what could not even be cut into rows.
        understood: sentences for the user, nothing was guessed that is not in them.
    """

    modality: str
    name: str
    paths: list[Path]
    rows: Sequence[Row]
    quarantined: list[Quarantined] = field(default_factory=list)
    understood: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """How many rows there are, how many carry a label, how many could not be cut out."""
        labelled = sum(row.label is not None for row in self.rows)
        total = len(self.rows) + len(self.quarantined)
        return {"rows": len(self.rows), "labelled": labelled, "quarantined": len(self.quarantined), "total": total}


def split_word(stem: str) -> str | None:
    """The split a file or folder name speaks of, looking at its first and its last word.

    Args:
        stem: a name without its ending, like "train-00000-of-00004" or "adult-test".

    Returns:
        "train", "validation", "test", "unlabelled", or None.
    """
    words = re.split(r"[-_. ]+", stem.lower())
    return SPLIT_WORDS.get(words[0]) or SPLIT_WORDS.get(words[-1])


def settle_splits(words: Iterable[str | None], understood: list[str]) -> Mapping[str | None, str | None]:
    """Decide what the split names found stand for, all names together.

    A test set without anything to train on is no split: its rows are split anew.

    Args:
        words: every name found, as from `split_word`.
        understood: receives a sentence where a name is not taken at its word.

    Returns:
        name -> split of its rows.
    """
    found = set(words)
    given = found & {TRAIN, VALIDATION, TEST}
    if TRAIN not in given and None not in found:
        if len(given) == 1:
            understood.append(f'splits: only "{next(iter(given))}" was found, so its rows are split anew')
            return {TRAIN: None, VALIDATION: None, TEST: None, UNLABELLED: None, None: None}
        if given:
            understood.append('splits: there is nothing called "train", so the validation rows are used for training')
            return {VALIDATION: TRAIN, TEST: TEST, UNLABELLED: TRAIN}
    rest = TRAIN if given - {TRAIN} else None
    if given == {TRAIN}:
        return {TRAIN: None, UNLABELLED: None, None: None}
    return {TRAIN: TRAIN, VALIDATION: VALIDATION, TEST: TEST, UNLABELLED: rest, None: rest}


def number(count: int, noun: str) -> str:
    """`count` with thousands separators and the noun in its number."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names in quotation marks, the first few of them."""
    names = list(names)
    tail = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(f'"{name}"' for name in names[:most]) + tail


def general(reason: str) -> str:
    """A reason without the figures of one row, so that equal ones can be counted."""
    return re.sub(r" \([^)]*\)", "", reason)


def nothing_left(where: str, quarantined: Iterable[Quarantined]) -> DataError:
    """The error for data of which nothing at all can be used."""
    reasons: dict[str, list[str]] = {}
    for entry in quarantined:
        reasons.setdefault(general(entry.reason), []).append(entry.key)
    most = sorted(reasons.items(), key=lambda item: -len(item[1]))[:5]
    found = "; ".join(f"{len(keys):,} x {reason} (first: {keys[0]})" for reason, keys in most)
    recode = any("iconv" in reason for reason in reasons)
    return DataError(
        f"Nothing in {where} can be used.",
        found=found or "no rows at all",
        cause="Every row or file is damaged, empty, or of a kind that is not what its name says." if reasons else "",
        fix="iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE" if recode else "Mend or replace the data, then try again.",
    )
