"""What the process has held, and that freed memory goes back to the system when it is asked to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seedbed.core.memory import give_back_freed, peak_rss_bytes


def test_peak_memory_stays_when_memory_is_given_back() -> None:
    before = peak_rss_bytes()
    big = torch.ones(100_000_000)
    peak = peak_rss_bytes()
    assert peak >= max(before, big.numel() * 4)
    del big
    assert peak_rss_bytes() > peak - 10_000_000  # the kernel counts in batches


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what is held")
def test_freed_memory_goes_back() -> None:
    def held() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    many = [bytearray(1000) for _ in range(200_000)]
    last = many[-1]  # at the top of the heap: without trimming, nothing below it goes back
    del many
    before = held()
    give_back_freed()
    assert held() < before - 100_000_000 and len(last) == 1000
