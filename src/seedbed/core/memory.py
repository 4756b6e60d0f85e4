"""What this process holds of the machine's memory, and what becomes of memory it has freed."""

from __future__ import annotations

import ctypes
import platform
import sys
from pathlib import Path

import pyarrow as pa

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed() -> None:
    """Let glibc keep freed memory: a step frees and asks for the same again, and fresh pages cost 8 to 12 % of it.

    Only blocks of a step's size are kept; what is larger goes back to the system, or one large matrix would stay.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 512 << 20)


def give_back_freed() -> None:
    """Give freed memory back to the system: after reading millions of rows it is as much as what is kept of them."""
    pa.default_memory_pool().release_unused()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def peak_rss_bytes() -> int:
    """The most memory this process has held so far; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss would also count what the parent held when it started this process.
        lines = status.read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 0
