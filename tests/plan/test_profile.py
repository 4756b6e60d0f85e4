from __future__ import annotations

import numpy as np

from seedbed.plan.profile import SAMPLE, profile


def test_text_counts_are_scaled_up_from_a_sample() -> None:
    texts = ["one two three four"] * (3 * SAMPLE)
    found = profile("text", texts, ["a", "b", None] * SAMPLE)
    assert found.num_examples == 3 * SAMPLE and found.num_labels == 2 * SAMPLE and found.num_classes == 2
    assert found.traits["num_words"] == 4 * 3 * SAMPLE
    assert found.traits["num_chars"] == 18 * 3 * SAMPLE
    assert found.traits["word_coverage"] == 1.0


def test_words_that_do_not_repeat_are_not_covered() -> None:
    chinese = [chr(0x4E00 + i) + chr(0x5E00 + i) + chr(0x6E00 + i) for i in range(500)]
    assert profile("text", chinese, [None] * 500).traits["word_coverage"] == 0.0
    half = ["the " + word for word in chinese]
    assert profile("text", half, [None] * 500).traits["word_coverage"] == 0.5


def test_images_are_described_by_their_size() -> None:
    found = profile("image", np.zeros((7, 3, 8, 12), np.uint8), [None] * 7)
    assert found.num_examples == 7 and found.traits == {"side": 12.0, "channels": 3.0}


def test_no_rows_at_all() -> None:
    assert profile("text", [], []).traits["word_coverage"] == 0.0
