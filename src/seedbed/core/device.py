"""The machine: device, threads, precision, memory; the only place that asks what the hardware can do."""

from __future__ import annotations

import functools
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from seedbed.core.errors import MachineError, UsageError, nearest
from seedbed.core.memory import keep_freed
from seedbed.core.settings import Settings

DEVICES = ("auto", "cpu", "cuda", "mps")

# bfloat16 costs accuracy: it must be clearly faster, not by the noise of one timing.
WORTH_IT = 1.2


@dataclass(frozen=True)
class Machine:
    """What a run may use; written into its plan.

    Attributes:
        device: "cpu", "cuda" or "mps".
        threads: processor threads torch computes with.
        precision: "float32", or "bfloat16" for matrix products under autocast.
        memory_bytes: of the device; on a CPU what the container allows, where there is one.
        cores: processor cores this process may use.
        processor: its name, or that of the graphics card.
    """

    device: str
    threads: int
    precision: str
    memory_bytes: int
    cores: int
    processor: str


def detect(settings: Settings) -> Machine:
    """What is there, as far as the settings leave it open; takes well under a second.

    Raises:
        UsageError: an unknown device.
        MachineError: a device that is not there.
    """
    device = _device(settings.device)
    cores = _cores()
    threads = settings.threads or cores
    wanted = settings.pretrain.precision
    precision = _precision(device) if wanted == "auto" else wanted
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        memory_bytes, processor = properties.total_memory, properties.name
    else:
        memory_bytes, processor = _memory_bytes(), _processor()
    if settings.memory is not None:
        wanted_bytes = int(settings.memory * 2**30)
        memory_bytes = min(memory_bytes or wanted_bytes, wanted_bytes)
    return Machine(device, threads, precision, memory_bytes, cores, processor)


def configure(machine: Machine) -> None:
    """Make torch compute the same bits each time: fixed threads and deterministic kernels, for the whole process."""
    torch.set_num_threads(machine.threads)
    # The linear algebra of NumPy and SciPy, which classic arms compute with, has threads of its own.
    threadpool_limits(machine.threads)
    if machine.device == "cuda":
        # cuBLAS repeats itself only with a fixed workspace, which it reads when first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # A warning would not do on cuda: attention is deterministic there only where anything else is refused.
    torch.use_deterministic_algorithms(True, warn_only=machine.device == "mps")
    # float32 means float32: torch would let a card's convolutions round to 10 bits.
    torch.backends.cudnn.allow_tf32 = False
    keep_freed()
    # Filling fresh memory is for finding bugs; it costs a pass over every tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set by torch at import


def autocast(machine: Machine) -> AbstractContextManager[object]:
    """Where forward passes run: under autocast in bfloat16, else plainly."""
    if machine.precision == "bfloat16":
        return torch.autocast(machine.device, dtype=torch.bfloat16)
    return nullcontext()


def _device(wanted: str) -> str:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        # Apple's has neither doubles nor sparse gradients, which word vectors need: it is taken when asked for.
        return "cuda" if there["cuda"] else "cpu"
    if wanted not in there:
        raise UsageError(
            f'There is no device "{wanted}".', cause=nearest(wanted, DEVICES), fix=f"One of: {', '.join(DEVICES)}."
        )
    if not there[wanted]:
        raise MachineError(
            f'The device "{wanted}" is not there.',
            found=f"torch {torch.__version__} sees {', '.join(name for name in there if there[name])}",
            cause="No such hardware, no driver, or a build of torch without support for it.",
            fix="Leave --device out, or install a torch built for it.",
        )
    return wanted


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = _first_line(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, round(int(quota[0]) / int(quota[1]))))
    return cores


def _memory_bytes() -> int:
    limits = [
        _first_line(Path(path)) for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    ]
    sizes = [int(limit) for limit in limits if limit.isdigit()]
    if sys.platform != "win32":
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(sizes, default=0)


def _processor() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _has_bfloat16() -> bool:
    flags = next((line for line in _lines(Path("/proc/cpuinfo")) if line.startswith("flags")), "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _first_line(path: Path) -> str:
    return next(iter(_lines(path)), "")


@functools.cache
def _precision(device: str) -> str:
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if device == "mps" or not _has_bfloat16():
        return "float32"
    before = torch.get_num_threads()
    # One thread: on a busy machine two wait for one another, and a timing says nothing about either type.
    torch.set_num_threads(1)
    try:
        return "bfloat16" if bfloat16_speedup() >= WORTH_IT else "float32"
    finally:
        torch.set_num_threads(before)


def bfloat16_speedup(repeats: int = 15) -> float:
    """How much faster a matrix product as in a small model's layer is in bfloat16, casts included; timed in turn."""
    values_ND, weights_DD = torch.ones(1024, 256), torch.ones(256, 1024)

    def full() -> None:
        values_ND @ weights_DD

    def half() -> None:
        (values_ND.bfloat16() @ weights_DD.bfloat16()).float()

    timed = [(_seconds(full), _seconds(half)) for _ in range(repeats)]
    return min(one for one, _ in timed) / min(other for _, other in timed)


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
