"""The machine: what it is, and that it computes the same bits twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from seedbed.core import device
from seedbed.core.device import Machine, autocast, configure, detect
from seedbed.core.errors import MachineError, UsageError
from seedbed.core.settings import Settings, TrainSettings

FLOAT32 = Settings(device="cpu", pretrain=TrainSettings(precision="float32"))


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_what_is_detected_is_what_there_is() -> None:
    machine = detect(FLOAT32)
    assert machine.device == "cpu" and machine.precision == "float32"
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.threads == machine.cores
    assert 2**28 < machine.memory_bytes < 2**50
    assert machine.processor


def test_settings_win_over_detection() -> None:
    machine = detect(Settings(device="cpu", threads=3, pretrain=TrainSettings(precision="bfloat16")))
    assert (machine.threads, machine.precision) == (3, "bfloat16")


def test_auto_takes_what_is_there() -> None:
    assert detect(Settings()).device == ("cuda" if torch.cuda.is_available() else "cpu")


def test_unknown_and_absent_devices() -> None:
    with pytest.raises(UsageError, match='no device "cdua"') as caught:
        detect(Settings(device="cdua"))
    assert "cuda" in caught.value.cause
    if not torch.cuda.is_available():
        with pytest.raises(MachineError, match="is not there"):
            detect(Settings(device="cuda"))


@pytest.mark.parametrize(
    "has,speedup,expected",
    [(False, 9.0, "float32"), (True, 1.1, "float32"), (True, 1.3, "bfloat16")],
)
def test_bfloat16_must_be_there_and_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, has: bool, speedup: float, expected: str
) -> None:
    monkeypatch.setattr(device, "_has_bfloat16", lambda: has)
    monkeypatch.setattr(device, "bfloat16_speedup", lambda: speedup)
    device._precision.cache_clear()
    assert detect(Settings(device="cpu", threads=1)).precision == expected
    device._precision.cache_clear()


def test_the_probe_is_made_once_and_leaves_the_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def speedup() -> float:
        asked.append(torch.get_num_threads())
        return 1.0

    monkeypatch.setattr(device, "_has_bfloat16", lambda: True)
    monkeypatch.setattr(device, "bfloat16_speedup", speedup)
    device._precision.cache_clear()
    torch.set_num_threads(2)
    for _ in range(3):
        detect(Settings(device="cpu", threads=1))
    assert asked == [1]
    assert torch.get_num_threads() == 2
    device._precision.cache_clear()


def test_the_probe_measures() -> None:
    torch.set_num_threads(1)
    assert 0.01 < device.bfloat16_speedup() < 100


def test_limits_of_a_container_count(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"/sys/fs/cgroup/memory.max": ["123456789"], "/sys/fs/cgroup/cpu.max": ["100000 100000"]}
    monkeypatch.setattr(device, "_lines", lambda path: contents.get(path.as_posix(), []))
    assert device._memory_bytes() == 123456789
    assert device._cores() == 1
    contents["/sys/fs/cgroup/memory.max"] = ["max"]
    contents["/sys/fs/cgroup/cpu.max"] = ["max 100000"]
    assert device._memory_bytes() > 2**28
    assert device._cores() >= 1


def test_configure_sets_threads_and_determinism() -> None:
    configure(replace(detect(FLOAT32), threads=1))
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory is False  # type: ignore[attr-defined]


def test_autocast_follows_the_precision() -> None:
    machine = Machine("cpu", 1, "bfloat16", 0, 1, "")
    with autocast(machine):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast(replace(machine, precision="float32")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def attend(x: Tensor) -> Tensor:
    return nn.functional.scaled_dot_product_attention(x, x, x)


def gradients(seed: int) -> list[Tensor]:
    """Backward of an embedding, of indexed reads with many repeats, and of attention."""
    generator = torch.Generator().manual_seed(seed)
    values_ID = torch.randn(2000, 64, generator=generator)
    rows = torch.randint(0, 300, (20_000,), generator=generator)
    upstream_ID = torch.randn(20_000, 64, generator=generator)
    reads: list[Callable[[Tensor], Tensor]] = [
        lambda x: x[rows],
        lambda x: x.index_select(0, rows),
        lambda x: nn.functional.embedding(rows, x),
        lambda x: attend(x.view(1, 4, 500, 64)).view(2000, 64).repeat(10, 1),
    ]
    found = []
    for read in reads:
        leaf = values_ID.clone().requires_grad_()
        read(leaf).backward(upstream_ID)
        assert leaf.grad is not None
        found.append(leaf.grad)
    return found


def test_backward_gives_the_same_bits_twice_on_two_threads() -> None:
    """`x[rows]` is the one that differs without deterministic algorithms."""
    configure(Machine("cpu", 2, "float32", 0, 2, ""))
    first = gradients(0)
    for _ in range(3):
        assert [torch.equal(a, b) for a, b in zip(first, gradients(0), strict=True)] == [True] * 4
    assert not torch.equal(first[1], gradients(1)[1])
