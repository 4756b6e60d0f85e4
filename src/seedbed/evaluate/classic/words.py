"""What a word is to the classic arms, in any script."""

from __future__ import annotations

# Words; of scripts that do not part them, single characters, so that pairs of them stand for words.
WORDS = r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])\w)+"
