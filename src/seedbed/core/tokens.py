"""The first ids of every tokenizer: what no text can spell."""

from __future__ import annotations

PAD = 0
UNK = 1
MASK = 2
BOS = 3
EOS = 4
NUM_SPECIAL = 5
SPECIAL_NAMES = ("[PAD]", "[UNK]", "[MASK]", "[BOS]", "[EOS]")
