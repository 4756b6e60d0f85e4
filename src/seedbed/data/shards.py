"""Files that are read through a memory map and verified block by block when they are first touched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from seedbed.core.errors import DataError
from seedbed.core.runs import friendly

BLOCK = 1 << 20


def stamp(path: Path) -> dict[str, Any]:
    """Size, xxh3-128 of the whole and xxh3-64 of each 1 MiB block of a file, as they stand in a manifest."""
    whole, blocks, size = xxhash.xxh3_128(), [], 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            whole.update(block)
            blocks.append(xxhash.xxh3_64_hexdigest(block))
            size += len(block)
    return {"bytes": size, "xxh3_128": whole.hexdigest(), "blocks": blocks}


class Shard:
    """One verified file.

    Args:
        path: where it lies.
        entry: its stamp.

    Raises:
        DataError: it is missing or has another size; later, when a block is read that is not what was written.
    """

    def __init__(self, path: Path, entry: Mapping[str, Any]) -> None:
        self.path = path
        self._entry = entry
        try:
            with friendly(path):
                size = path.stat().st_size
        except FileNotFoundError as error:
            raise damaged(path, "it is missing") from error
        if size != entry["bytes"]:
            raise damaged(path, f"it has {size:,} bytes instead of {entry['bytes']:,}")
        empty = np.zeros(0, dtype=np.uint8)
        self._bytes: np.ndarray = np.asarray(np.memmap(path, dtype=np.uint8, mode="r")) if size else empty
        self._verified = np.zeros(len(entry["blocks"]), dtype=bool)
        self._left = len(entry["blocks"])

    def read(self, dtype: np.dtype[Any], lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        """All values of the file, memory-mapped, of which the given ranges (in values) are verified."""
        if self._left and len(lows):
            firsts = lows * dtype.itemsize // BLOCK
            self._touch(firsts, np.maximum(-(-highs * dtype.itemsize // BLOCK) - 1, firsts))
        return self._bytes.view(dtype)

    def whole(self) -> np.ndarray:
        """All bytes, memory-mapped, verified the first time."""
        return self.verify() if self._left else self._bytes

    def verify(self) -> np.ndarray:
        """All bytes, memory-mapped, after verifying every one, also those touched before."""
        # Read, not mapped: what is mapped and touched counts as memory of this process.
        with friendly(self.path):
            found = stamp(self.path)
        for block, (expected, real) in enumerate(zip(self._entry["blocks"], found["blocks"], strict=False)):
            if expected != real:
                raise self._damaged_block(block)
        if found["xxh3_128"] != self._entry["xxh3_128"]:
            raise damaged(self.path, "its content does not match its hash")
        self._verified[:], self._left = True, 0
        return self._bytes

    def _touch(self, firsts: np.ndarray, lasts: np.ndarray) -> None:
        """Verify the blocks of ranges that nobody has read so far."""
        for ahead in range(int((lasts - firsts).max()) + 1):
            blocks = np.minimum(firsts + ahead, lasts)
            for block in np.unique(blocks[~self._verified[blocks]]).tolist():
                self._check(block)

    def _check(self, block: int) -> None:
        part = self._bytes[block * BLOCK : (block + 1) * BLOCK]
        if xxhash.xxh3_64_hexdigest(part.data) != self._entry["blocks"][block]:
            raise self._damaged_block(block)
        self._left -= not self._verified[block]
        self._verified[block] = True

    def _damaged_block(self, block: int) -> DataError:
        low, high = block * BLOCK, min((block + 1) * BLOCK, len(self._bytes))
        return damaged(self.path, f"block {block} (bytes {low:,} to {high - 1:,}) does not match its hash")


def damaged(path: Path, why: str) -> DataError:
    """The error for a file of prepared data that is not what was written."""
    return DataError(
        f"{path} is damaged: {why}.",
        cause="It was edited or removed by hand, or the disk changed it.",
        fix=f"Remove the folder {path.parent} and repeat the command: it prepares the data anew.",
    )
