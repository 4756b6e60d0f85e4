"""Tokenizers trained on the user's text, byte-level BPE, words, or characters; and those that come with a checkpoint.

Each is a `tokenizers` tokenizer, saved as the tokenizer.json that other libraries read. What is our own is speed: text
is cut at white space, where none of the three ever joins anything, and every distinct piece is encoded once. One that
comes with a checkpoint may join what it likes, so it is given whole texts.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from seedbed.core.errors import DataError
from seedbed.core.tokens import NUM_SPECIAL, SPECIAL_NAMES, UNK

# Without a word from us the library warns when a process that has used its threads forks; nothing here forks.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

WORD_CAP = 50_000
WORD_MIN_COUNT = 3
# Unicode's White_Space, which is what \s means to the library and not quite what it means to `re`.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# GPT-2's pattern, seen from afar: a word takes one space before it, a run of spaces gives its last to the next word.
_BPE_PIECE = re.compile(rf" ?[^{_SPACE}]+|[{_SPACE}]+(?![^{_SPACE}])|[{_SPACE}]")
_WORD_PIECE = re.compile(rf"[^{_SPACE}]+")
_WORD = r"\w+|[^\w\s]"
_CHARACTER = r"[\s\S]"
_CHARACTERS_PER_ENTRY = 2_000
_DOCUMENT_CAP = 10_000
_CACHE_CAP = 1 << 20
_MAX_BYTES = 1 << 27
_WORDS_CAP = 1 << 22
_TEXTS_AT_ONCE = 4096


class _Seen:
    """Distinct pieces of text in the order they were met, and the ids of each."""

    def __init__(self) -> None:
        self.numbers: defaultdict[str, int] = defaultdict()
        self.numbers.default_factory = self.numbers.__len__
        self.ids, self.ends, self.lengths = (np.zeros(0, dtype=np.int64) for _ in range(3))

    def number(self, pieces: list[str]) -> np.ndarray:
        """The number of each piece; one that was never met gets the next."""
        return np.fromiter(map(self.numbers.__getitem__, pieces), np.int64, len(pieces))

    def encode(self, backend: tokenizers.Tokenizer) -> None:
        """Encode the pieces that are new."""
        new = list(islice(self.numbers, len(self.ends), None))
        encoded = [encoding.ids for encoding in backend.encode_batch_fast(new, add_special_tokens=False)]
        self.ids = np.concatenate([self.ids, np.fromiter(chain.from_iterable(encoded), np.int64)])
        self.lengths = np.concatenate([self.lengths, np.array([len(ids) for ids in encoded], dtype=np.int64)])
        self.ends = np.cumsum(self.lengths)


@dataclass
class Tokenizer:
    """Text to ids and back; ids 0..4 are special and cannot be spelt by any text.

    Attributes:
        kind: "bpe", "word" or "char"; "hub" for one of a checkpoint, whose special ids are its own.
        backend: the library's tokenizer.
    """

    kind: str
    backend: tokenizers.Tokenizer
    _seen: _Seen = field(default_factory=_Seen, repr=False)

    @property
    def vocab_size(self) -> int:
        """Number of entries, the special ones included; with gaps among the ids, one more than the largest."""
        if self.kind == "hub":
            return max(self.backend.get_vocab().values()) + 1
        return self.backend.get_vocab_size()

    @property
    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids that stand before and after every text given to the network; none unless a checkpoint wants them."""
        encoded = self.backend.encode("a", add_special_tokens=True)
        special = list(encoded.special_tokens_mask)
        if all(special):
            return (), ()
        low, high = special.index(0), len(special) - special[::-1].index(0)
        return tuple(encoded.ids[:low]), tuple(encoded.ids[high:])

    @property
    def dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        """The smallest unsigned integer that holds every id."""
        return np.dtype(np.uint16) if self.vocab_size <= 1 << 16 else np.dtype(np.uint32)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, uint16 (or uint32 above 65,536 entries), without special tokens."""
        if self.kind == "hub":
            encoded = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
            # What leaves no token is one unknown.
            rows = [encoding.ids or [self._unknown()] for encoding in encoded]
            return [np.array(ids, dtype=self.dtype) for ids in rows]
        if self.kind == "char":
            table = self._character_table()
            return [table[_codepoints(self.backend.normalizer.normalize_str(text))] for text in texts]
        return [ids for part in _parts(texts) for ids in self._encode_pieces(part)]

    def _encode_pieces(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encode texts piece by piece, each distinct piece once."""
        if len(self._seen.numbers) > _CACHE_CAP:
            self._seen = _Seen()
        cut = _BPE_PIECE if self.kind == "bpe" else _WORD_PIECE
        rows = [self._seen.number(cut.findall(text)) for text in texts]
        self._seen.encode(self.backend)
        numbers = np.concatenate(rows)
        lengths = self._seen.lengths[numbers]
        starts = self._seen.ends[numbers] - lengths
        ends = np.cumsum(lengths)
        ids = self._seen.ids[np.repeat(starts - (ends - lengths), lengths) + np.arange(int(lengths.sum()))]
        # A row ends where its last piece ends; one without a piece, where the row before it does.
        row_ends = np.concatenate([[0], ends])[np.cumsum([len(row) for row in rows])]
        return np.split(ids.astype(self.dtype), row_ends[:-1])

    def _unknown(self) -> int:
        names = (name for name in ("[UNK]", "<unk>", "<|endoftext|>", "</s>") if self.backend.token_to_id(name))
        return self.backend.token_to_id(next(names, "")) or 0

    def _character_table(self) -> np.ndarray:
        """Id of every code point."""
        table = np.full(0x110000, UNK, dtype=self.dtype)
        for name, index in self.backend.get_vocab().items():
            if index >= NUM_SPECIAL:
                table[ord(name)] = index
        return table

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special tokens appear by name, words with single spaces between them."""
        return self.backend.decode([int(index) for index in ids], skip_special_tokens=False)

    def to_json(self) -> str:
        """The tokenizer as the text of a tokenizer.json."""
        return self.backend.to_str(pretty=False)

    def save(self, path: Path) -> None:
        """Write tokenizer.json."""
        path.write_text(self.to_json(), encoding="utf-8")


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json: one written by `save`, or one that came with a checkpoint.

    Raises:
        DataError: the file is missing, far too large, or no tokenizer.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes; at most {_MAX_BYTES:,} are read")
        backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception
        raise DataError(
            f"{path} cannot be read as a tokenizer.",
            found=str(error),
            cause="It is missing, was edited by hand, or was made by other means.",
            fix="Restore it from a copy, or remove its folder and repeat the command that made it.",
        ) from error
    if [backend.id_to_token(index) for index in range(NUM_SPECIAL)] != list(SPECIAL_NAMES):
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        return Tokenizer("hub", backend)
    if isinstance(backend.model, models.BPE):
        return _tokenizer("bpe", backend)
    return _tokenizer("char" if isinstance(backend.decoder, decoders.Fuse) else "word", backend)


def default_vocab_size(kind: str, num_characters: int) -> int:
    """Entries by amount of text: few words cannot fill a large vocabulary.

    Source: a rule of thumb over published models; 4096 up to 2 M words, 8192 about 10 M, 16384 up to 100 M, then 32768.
    """
    if kind != "bpe":
        return WORD_CAP
    num_words = num_characters / 6
    return next((size for size, most in ((4096, 2e6), (8192, 2e7), (16384, 1e8)) if num_words <= most), 32768)


def train_tokenizer(texts: Sequence[str], kind: str, vocab_size: int = 0) -> Tokenizer:
    """Train a tokenizer; equal texts in equal order give equal tokenizers.

    Args:
        texts: training rows only; for BPE a sample of 2,000 characters per entry is taken from all over them.
        kind: "bpe", "word" (lower-cased words and punctuation that occur three times) or "char".
        vocab_size: most entries, special ones included; 0: by amount of text.
    """
    num_characters = sum(len(text) for part in _parts(texts) for text in part)
    size = vocab_size or default_vocab_size(kind, num_characters)
    if kind == "bpe":
        return _train_bpe(texts, size, num_characters)
    backend = _word_backend() if kind == "word" else _character_backend()
    counts = _count_words(texts, backend) if kind == "word" else _count_characters(texts, backend)
    least = WORD_MIN_COUNT if kind == "word" else 1
    ranked = sorted((-count, name) for name, count in counts.items() if count >= least and name not in SPECIAL_NAMES)
    names = [*SPECIAL_NAMES, *(name for _, name in ranked[: max(size - NUM_SPECIAL, 0)])]
    backend.model = models.WordLevel({name: index for index, name in enumerate(names)}, unk_token=SPECIAL_NAMES[UNK])
    return _tokenizer(kind, backend)


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[low : low + _TEXTS_AT_ONCE] for low in range(0, len(texts), _TEXTS_AT_ONCE))


def _tokenizer(kind: str, backend: tokenizers.Tokenizer) -> Tokenizer:
    """Fix the special ids, and keep user text from being read as special tokens."""
    backend.add_special_tokens(list(SPECIAL_NAMES))
    backend.encode_special_tokens = True
    return Tokenizer(kind, backend)


def _train_bpe(texts: Sequence[str], size: int, num_characters: int) -> Tokenizer:
    """Byte-level BPE: all 256 bytes are entries, so nothing is unknown."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL_NAMES),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    stride = max(1, -(-num_characters // (size * _CHARACTERS_PER_ENTRY)))
    backend.train_from_iterator(islice(_passages(texts), 0, None, stride), trainer)
    return _tokenizer("bpe", backend)


def _passages(texts: Sequence[str]) -> Iterator[str]:
    """All texts in passages of at most 10,000 characters."""
    for part in _parts(texts):
        for text in part:
            yield from (text[low : low + _DOCUMENT_CAP] for low in range(0, len(text), _DOCUMENT_CAP))


def _word_backend() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel({}, unk_token=SPECIAL_NAMES[UNK]))
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(_WORD), behavior="removed", invert=True)
    return backend


def _character_backend() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel({}, unk_token=SPECIAL_NAMES[UNK]))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(_CHARACTER), behavior="isolated")
    backend.decoder = decoders.Fuse()
    return backend


def _count_words(texts: Sequence[str], backend: tokenizers.Tokenizer) -> Counter[str]:
    """How often each word occurs; distinct pieces are cut into words once.

    Beyond four million different words those met once so far are forgotten now and then, so that memory is bounded.
    """
    words: Counter[str] = Counter()
    seen, counts = _Seen(), np.zeros(0, dtype=np.int64)
    for part in _parts(texts):
        numbers = np.concatenate([seen.number(_WORD_PIECE.findall(text)) for text in part])
        more = np.bincount(numbers, minlength=len(seen.numbers))
        more[: len(counts)] += counts
        counts = more
        if len(counts) > _CACHE_CAP:
            _cut_words(seen, counts, backend, words)
            seen, counts = _Seen(), np.zeros(0, dtype=np.int64)
            if len(words) > _WORDS_CAP:
                words = Counter({word: count for word, count in words.items() if count > 1})
    _cut_words(seen, counts, backend, words)
    return words


def _cut_words(seen: _Seen, counts: np.ndarray, backend: tokenizers.Tokenizer, words: Counter[str]) -> None:
    """Add the words of counted pieces."""
    for piece, count in zip(seen.numbers, counts.tolist(), strict=True):
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(piece)):
            words[word] += count


def _count_characters(texts: Sequence[str], backend: tokenizers.Tokenizer) -> Counter[str]:
    """How often each character occurs."""
    totals = np.zeros(0x110000, dtype=np.int64)
    for part in _parts(texts):
        joined = "".join(backend.normalizer.normalize_str(text) for text in part)
        codes, counts = np.unique(_codepoints(joined), return_counts=True)
        totals[codes] += counts
    return Counter({chr(code): int(totals[code]) for code in np.flatnonzero(totals)})


def _codepoints(text: str) -> np.ndarray:
    """Code point of each character, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
