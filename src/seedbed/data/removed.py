"""Rows taken out on request: remembered by their content, so that they stay out when the same data are given again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seedbed.core.errors import DataError, nearest
from seedbed.core.runs import friendly, read_json, write_json
from seedbed.data.clean import REMOVED, Cleaned
from seedbed.data.reading import DUPLICATE, USED
from seedbed.data.rows import listed, number

_FILE = "removed.json"


def removed_ids(folder: Path) -> np.ndarray:
    """Content hashes of all rows that were ever removed.

    Args:
        folder: of prepared data, <out>/data.
    """
    if not (folder / _FILE).exists():
        return np.zeros(0, dtype=np.int64)
    return np.array([int(name) for name in read_json(folder / _FILE)["rows"]], dtype=np.int64)


def remember(folder: Path, rows: Mapping[int, str]) -> None:
    """Add rows, content hash -> key, to those that are removed."""
    before = read_json(folder / _FILE)["rows"] if (folder / _FILE).exists() else {}
    with friendly(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _FILE, {"rows": {**before, **{str(name): key for name, key in rows.items()}}})


def rows_to_remove(cleaned: Cleaned, words: Sequence[str]) -> dict[int, str]:
    """The rows that are meant, content hash -> key; rows equal to them have the same hash.

    Args:
        cleaned: the data.
        words: keys as a ledger has them ("reviews.csv:17"), names of files among the data, or text files of keys.

    Raises:
        DataError: no row has such a key, or it is not in use anyway.
    """
    keys = cleaned.ledger.column("key")
    chosen = np.zeros(len(keys), dtype=bool)
    for word in words:
        found = _places(keys, word)
        if not found.any() and Path(word).is_file():
            lines = Path(word).read_text(encoding="utf-8").splitlines()
            for line in filter(None, map(str.strip, lines)):
                chosen |= _known(keys, line, _places(keys, line))
            continue
        chosen |= _known(keys, word, found)
    lines = cleaned.ledger.filter(pa.array(chosen)).select(("key", "fate", "reason", "of")).to_pylist()
    kept = {line["of"] if line["fate"] == DUPLICATE else line["key"]: line["key"] for line in lines}
    used = np.asarray(pc.equal(cleaned.ledger.column("fate"), USED))
    wanted = np.asarray(pc.is_in(keys, pa.array(list(kept), keys.type))) & used
    ids = cleaned.ids[wanted[used]].tolist()
    if not ids and not any(line["reason"] == REMOVED for line in lines):
        raise DataError(
            f"{listed(words)}: nothing to remove.",
            found="; ".join(f"{line['key']}: {line['fate']}, {line['reason']}" for line in lines[:3]),
            cause="These rows are not used as it is.",
            fix="Name a row that is used: seedbed check DATA shows what is not.",
        )
    return dict(zip(ids, (kept[key] for key in keys.filter(pa.array(wanted)).to_pylist()), strict=True))


def _places(keys: pa.ChunkedArray, word: str) -> np.ndarray:
    """Where a key occurs, or the keys of the rows of a file."""
    return np.asarray(pc.or_(pc.equal(keys, word), pc.starts_with(keys, f"{word}:")))


def _known(keys: pa.ChunkedArray, word: str, places: np.ndarray) -> np.ndarray:
    if places.any():
        return places
    shown = keys.slice(0, 1000).to_pylist()
    raise DataError(
        f'No row has the key "{word}".',
        found=f"{number(len(keys), 'row')}: {listed(shown, 3)}",
        cause=nearest(word, shown),
        fix="Keys are FILE:ROW, or FILE for all of its rows; a text file with one key a line names many.",
    )
