"""Texts to tokens, some thousand at a time; parts of long data are kept, so that a killed command goes on from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xxhash

from seedbed.core.runs import friendly, read_json, write_atomic, write_json
from seedbed.core.tokens import UNK
from seedbed.data.facts import TokenCounts
from seedbed.data.split import TRAIN
from seedbed.data.strings import pick
from seedbed.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer

_ROWS_AT_ONCE = 8192
_HASH_BYTES = 16


def trained_on(
    texts: Sequence[str], splits: np.ndarray, kind: str, vocab_size: int, work: Path | None = None
) -> Tokenizer:
    """A tokenizer of the training rows.

    Args:
        texts: all rows.
        splits: their codes.
        kind: "bpe", "word" or "char".
        vocab_size: most entries; 0: by amount of text.
        work: folder in which it is kept, and found again by the same command.
    """
    if work is None:
        return train_tokenizer(pick(texts, np.flatnonzero(splits == TRAIN)), kind, vocab_size)
    path, mark = work / "tokenizer.json", work / "tokenizer-hash.json"
    if mark.exists() and read_json(mark)["hash"] == xxhash.xxh3_128_hexdigest(path.read_bytes()):
        return load_tokenizer(path)
    tokenizer = trained_on(texts, splits, kind, vocab_size)
    content = tokenizer.to_json().encode()
    with friendly(work):
        work.mkdir(exist_ok=True)
    write_atomic(path, content)
    write_json(mark, {"hash": xxhash.xxh3_128_hexdigest(content)})
    return tokenizer


def encoded(
    texts: Sequence[str], splits: np.ndarray, tokenizer: Tokenizer, counts: TokenCounts, work: Path | None = None
) -> Iterator[list[np.ndarray]]:
    """Tokens of all texts, some rows at a time, counting those of training rows; what leaves no token is one unknown.

    Args:
        texts: all rows.
        splits: their codes.
        tokenizer: of these.
        counts: receives the counts.
        work: folder in which parts are kept, and found again by the same command.
    """
    for number, low in enumerate(range(0, len(texts), _ROWS_AT_ONCE)):
        path = None if work is None else work / f"part-{number:05d}"
        part = None if path is None else _known(path, tokenizer.dtype)
        if part is None:
            part = _encode(texts[low : low + _ROWS_AT_ONCE], tokenizer)
            if path is not None:
                _keep(path, part)
        counts.add([ids for ids, code in zip(part, splits[low : low + _ROWS_AT_ONCE], strict=True) if code == TRAIN])
        yield part


def _encode(texts: Sequence[str], tokenizer: Tokenizer) -> list[np.ndarray]:
    nothing = np.array([UNK], dtype=tokenizer.dtype)
    return [ids if len(ids) else nothing for ids in tokenizer.encode_batch(texts)]


def _keep(path: Path, part: list[np.ndarray]) -> None:
    lengths = np.array([len(ids) for ids in part], dtype="<i8")
    body = len(part).to_bytes(8, "little") + lengths.tobytes() + np.concatenate(part).tobytes()
    with friendly(path):
        path.parent.mkdir(exist_ok=True)
    write_atomic(path, xxhash.xxh3_128_digest(body) + body)


def _known(path: Path, dtype: np.dtype[np.uint16] | np.dtype[np.uint32]) -> list[np.ndarray] | None:
    """A part that was encoded before; None where there is none or it is damaged."""
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    body = content[_HASH_BYTES:]
    if xxhash.xxh3_128_digest(body) != content[:_HASH_BYTES]:
        return None
    start = 8 + 8 * int.from_bytes(body[:8], "little")
    lengths = np.frombuffer(body[8:start], dtype="<i8")
    return np.split(np.frombuffer(body[start:], dtype=dtype), np.cumsum(lengths)[:-1])
