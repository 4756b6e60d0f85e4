"""Tokenizers: lossless where they say so, deterministic, blind to special names, equal to the library's own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from seedbed.core.errors import DataError
from seedbed.core.tokens import BOS, EOS, MASK, NUM_SPECIAL, PAD, SPECIAL_NAMES, UNK
from seedbed.data.tokenizer import Tokenizer, default_vocab_size, load_tokenizer, train_tokenizer

KINDS = ["bpe", "word", "char"]
TEXTS = [
    "The quick brown fox jumps over the lazy dog. It's 1234 o'clock!",
    "  two  spaces,   three \t tab\t\tand\n\n new lines \n  \r\n end ",
    "naïve café — “quotes” … 你好，世界。 हिन्दी 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🙂👍🏽",
    "\u00a0no-break\u2003em\u3000wide \u2028line\x1cseparator\x85next",
    "[MASK] [PAD] [UNK][BOS] <mask> [mask]",
    "don't  stop...!!  ",
    "a",
    " ",
    "\n",
]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train_tokenizer(TEXTS * 3, request.param)


def test_special_ids_come_first(tokenizer: Tokenizer) -> None:
    assert [tokenizer.backend.token_to_id(name) for name in SPECIAL_NAMES] == [PAD, UNK, MASK, BOS, EOS]
    assert NUM_SPECIAL == len(SPECIAL_NAMES) == 5
    assert tokenizer.vocab_size > NUM_SPECIAL


def test_no_text_spells_a_special_token(tokenizer: Tokenizer) -> None:
    for ids in tokenizer.encode_batch(["[MASK] [PAD][BOS] x [EOS]", "[UNK]", *SPECIAL_NAMES]):
        assert len(ids)
        assert not np.isin(ids, [PAD, MASK, BOS, EOS]).any()


def test_encoding_by_pieces_is_the_library_s_own(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    alphabet = [*"ab'sB12.,!- \n\t\r\u00a0\u2003\u3000\x85\u2028\x1cé你🙂\u0301", "  ", " \n", "don't", "\n "]
    texts = TEXTS + ["".join(rng.choice(alphabet, size=rng.integers(0, 40))) for _ in range(1500)]
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert ids.tolist() == tokenizer.backend.encode(text, add_special_tokens=False).ids, repr(text)
        assert ids.dtype == np.uint16


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_nothing_is_lost(kind: str) -> None:
    tokenizer = train_tokenizer(TEXTS, kind)
    for text, ids in zip(TEXTS, tokenizer.encode_batch(TEXTS), strict=True):
        assert tokenizer.decode(ids) == text


def test_bytes_spell_what_was_never_seen() -> None:
    tokenizer = train_tokenizer(["abc"], "bpe")
    assert tokenizer.decode(tokenizer.encode_batch(["žluťoučký 🐎"])[0]) == "žluťoučký 🐎"


def test_words_are_lower_case_and_frequent() -> None:
    tokenizer = train_tokenizer(["Good, GOOD good film! rare"] * 2 + ["film! film"], "word")
    names = [tokenizer.backend.id_to_token(index) for index in range(NUM_SPECIAL, tokenizer.vocab_size)]
    assert names == ["good", "film", "!"]
    assert tokenizer.decode(tokenizer.encode_batch(["A GOOD film"])[0]) == "[UNK] good film"


@pytest.mark.parametrize("kind", ["word", "char"])
def test_the_cap_keeps_the_most_frequent(kind: str) -> None:
    tokenizer = train_tokenizer(["a a a a a b b b b c c c", "d d d"], kind, NUM_SPECIAL + 2)
    assert tokenizer.vocab_size == NUM_SPECIAL + 2
    assert UNK in tokenizer.encode_batch(["d"])[0]


def test_bpe_fills_the_vocabulary_asked_for(shared_data: Path) -> None:
    text = (shared_data / "tiny_shakespeare" / "input.txt").read_text()
    start = time.process_time()
    tokenizer = train_tokenizer([text[:200_000]], "bpe", 1024)
    assert tokenizer.vocab_size == 1024
    assert len(tokenizer.encode_batch([text[:200_000]])[0]) < 80_000
    assert time.process_time() - start < 10


def test_equal_texts_give_equal_tokenizers(tokenizer: Tokenizer) -> None:
    assert train_tokenizer(TEXTS * 3, tokenizer.kind).to_json() == tokenizer.to_json()


def test_saved_and_loaded_it_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded.kind == tokenizer.kind
    assert loaded.to_json() == tokenizer.to_json()
    for one, other in zip(loaded.encode_batch(TEXTS), tokenizer.encode_batch(TEXTS), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_a_broken_file_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        load_tokenizer(path)


def test_size_follows_the_amount_of_text() -> None:
    sizes = [default_vocab_size("bpe", characters) for characters in (0, 12_000_000, 60_000_000, 5 * 10**8, 5 * 10**9)]
    assert sizes == [4096, 4096, 8192, 16384, 32768]
    assert default_vocab_size("word", 100) == 50_000


def test_many_entries_need_more_than_16_bits() -> None:
    blocks = [(0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x20000, 0x2A6DF)]
    texts = ["".join(map(chr, range(low, high))) for low, high in blocks]
    tokenizer = train_tokenizer(texts, "char", 70_000)
    assert tokenizer.dtype == np.uint32
    assert tokenizer.decode(tokenizer.encode_batch(["一𠀀"])[0]) != ""
    assert train_tokenizer(texts, "char").vocab_size == 50_000


def test_no_text_at_all(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_batch([]) == []
    assert [len(ids) for ids in tokenizer.encode_batch(["", "a", ""])][::2] == [0, 0]
    assert train_tokenizer([], tokenizer.kind).vocab_size >= NUM_SPECIAL


def test_a_fork_after_use_says_nothing() -> None:
    program = (
        "import os\nfrom seedbed.data.tokenizer import train_tokenizer\n"
        "t = train_tokenizer(['some text here'] * 50, 'bpe')\nt.encode_batch(['x y'] * 50)\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
