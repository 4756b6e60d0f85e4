"""Checkpoints under everything that can go wrong: damage, full disks, failing disks, sudden death."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from seedbed.core.errors import DataError, MachineError
from seedbed.core.types import silent
from seedbed.train import checkpoint
from seedbed.train.checkpoint import FILES, MANIFEST, STATE, TENSORS, load_latest, pack, save, unpack_
from tests.train.toys import Rig, same_bits


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def content(step: int) -> dict[str, torch.Tensor]:
    return {
        "table": torch.full((3, 5), float(step)),
        "step": torch.tensor(float(step)),
        "half": torch.arange(7).bfloat16() + step,
        "flags": torch.tensor([True, False, True]),
        "counts": torch.arange(6).reshape(2, 3).T,  # not contiguous
        "bytes": torch.arange(11, dtype=torch.uint8),
        "nothing": torch.empty(0, 4),
        "Ω/é": torch.tensor([step], dtype=torch.int64),
    }


def saved(folder: Path, *steps: int, keep: int = 3) -> list[Path]:
    return [save(folder, step, content(step), {"step": step, "word": "é"}, keep) for step in steps]


class Heard:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))


def assert_is(found: checkpoint.Checkpoint | None, step: int) -> None:
    assert found is not None and found.step == step
    assert same_bits(found.tensors, content(step))
    assert found.state == {"step": step, "word": "é"}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "with space é" / "pretrain"
    assert load_latest(folder, silent) is None
    for step in (0, 5, 12):
        saved(folder, step)
        assert_is(load_latest(folder, silent), step)
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000000", "step-00000005", "step-00000012"]
    assert sorted(path.name for path in (folder / "step-00000005").iterdir()) == sorted([*FILES, MANIFEST])


def test_the_library_reads_our_file(tmp_path: Path) -> None:
    path = saved(tmp_path, 3)[0]
    assert same_bits(load_file(path / TENSORS), content(3))


def test_old_ones_go_and_a_step_is_never_overwritten(tmp_path: Path) -> None:
    saved(tmp_path, *range(5), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    made = save(tmp_path, 4, content(9), {"again": True}, 3)
    assert made.name == "step-00000004-1"
    assert before == {path: path.stat().st_mtime_ns for path in before}
    found = load_latest(tmp_path, silent)
    assert found is not None and found.step == 4 and found.state == {"again": True}
    shutil.rmtree(tmp_path / "step-00000004")
    assert save(tmp_path, 4, content(4), {}, 3).name == "step-00000004-2"
    saved(tmp_path, 5, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]


def flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ (1 << bit)]))


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def swap(path: Path) -> None:
    shutil.copy(path.parents[1] / "step-00000001" / path.name, path)


def damages(path: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Every way to spoil each file: bits over its whole length, a cut, an addition, zeros, absence."""
    for name in sorted(file.name for file in path.iterdir()):
        size = (path / name).stat().st_size
        for position in sorted({*range(0, size, max(1, size // 40)), size - 1}):
            yield f"{name} bit {position}", partial(flip, position=position, bit=position % 8)
        for cut in (0, 1, size // 2, size - 1):
            yield f"{name} cut {cut}", partial(os.truncate, length=cut)
        yield f"{name} longer", partial(rewrite, change=lambda data: data + b"\0")
        yield f"{name} zeros", partial(rewrite, change=lambda data: bytes(len(data)))
        yield f"{name} missing", Path.unlink
        yield f"{name} folder", become_folder
        yield f"{name} older", swap


def test_every_damage_is_named_and_the_one_before_is_used(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    newest = saved(kept, 1, 2)[-1]
    tried: dict[str, int] = dict.fromkeys((TENSORS, STATE, MANIFEST), 0)
    for number, (name, spoil) in enumerate(damages(newest)):
        folder = tmp_path / str(number)
        shutil.copytree(kept, folder)
        spoil(folder / newest.name / name.split()[0])
        heard = Heard()
        assert_is(load_latest(folder, heard), 1)
        assert [event for event, _ in heard.events] == ["damaged"], name
        fields = heard.events[0][1]
        assert fields["path"] == str(folder / newest.name)
        assert name.split()[0] in str(fields["why"]), (name, fields)
        tried[name.split()[0]] += 1
    assert all(count >= 45 for count in tried.values()) and sum(tried.values()) >= 150, tried


def test_a_whole_foreign_checkpoint_under_another_name_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    shutil.rmtree(tmp_path / "step-00000002")
    shutil.copytree(tmp_path / "step-00000001", tmp_path / "step-00000002")
    heard = Heard()
    assert_is(load_latest(tmp_path, heard), 1)
    assert "another checkpoint" in str(heard.events[0][1]["why"])


def test_when_none_is_sound_that_is_an_error(tmp_path: Path) -> None:
    for path in saved(tmp_path, 1, 2):
        (path / STATE).unlink()
    heard = Heard()
    with pytest.raises(DataError, match="None of the 2 checkpoints") as caught:
        load_latest(tmp_path, heard)
    assert len(heard.events) == 2 and "step-00000001, step-00000002" in caught.value.found


def test_a_damaged_later_one_goes_once_a_new_one_is_sound(tmp_path: Path) -> None:
    paths = saved(tmp_path, 10, 20, 30)
    flip(paths[-1] / TENSORS, 100, 3)
    saved(tmp_path, 25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000020", "step-00000025"]
    saved(tmp_path, 15)  # a sound later one stays: it is not ours to remove
    assert_is(load_latest(tmp_path, silent), 25)


def test_the_only_sound_one_stays_while_the_new_one_does_not_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1, keep=1)
    stream = checkpoint._stream

    def spoiling(file: Any, tensors: Any) -> dict[str, Any]:
        measured = stream(file, tensors)
        file.seek(60)
        file.write(b"?")
        return measured

    monkeypatch.setattr(checkpoint, "_stream", spoiling)
    with pytest.raises(MachineError, match=r"cannot be used") as caught:
        saved(tmp_path, 2, keep=1)
    assert "does not read back" in caught.value.found
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert_is(load_latest(tmp_path, silent), 1)


class Failing:
    """Counts the calls of the operations a save is made of, and fails the n-th of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int, number: int, forever: bool = False) -> None:
        self.calls, self.fail_at, self.number, self.forever = 0, fail_at, number, forever
        self._patch(monkeypatch, os, "fsync")
        for name in ("open", "mkdir", "rename"):
            self._patch(monkeypatch, Path, name)
        self._patch(monkeypatch, checkpoint, "_stream")

    def _patch(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if name != "open" or "wb" in args:
                self.calls += 1
                if self.calls == self.fail_at or (self.forever and self.calls > self.fail_at):
                    raise OSError(self.number, os.strerror(self.number))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES], ids=errno.errorcode.get)
def test_a_failure_at_any_operation_leaves_the_last_good_one(tmp_path: Path, number: int) -> None:
    points = 0
    for fail_at in range(1, 60):
        folder = tmp_path / str(fail_at)
        saved(folder, 1, 2)
        with pytest.MonkeyPatch.context() as patch:
            failing = Failing(patch, fail_at, number)
            try:
                saved(folder, 3)
                told = False
            except MachineError as error:
                told = True
                assert error.found == os.strerror(number) and error.fix
        heard = Heard()
        found = load_latest(folder, heard)
        if failing.calls < fail_at:
            break
        points += 1
        assert heard.events == []
        assert found is not None and found.step in ((2, 3) if told else (3,))
        assert_is(found, found.step)
        saved(folder, 4)
        assert_is(load_latest(folder, silent), 4)
        assert list(folder.glob(".tmp*")) == []
    assert points >= 12, points


def test_a_full_disk_gives_up_older_ones_but_never_the_newest_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1, 2, 3)
    with monkeypatch.context() as patch:
        Failing(patch, 2, errno.ENOSPC)
        saved(tmp_path, 4)  # the second try succeeds
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]
    flip(tmp_path / "step-00000004" / TENSORS, 50, 0)
    with monkeypatch.context() as patch:
        Failing(patch, 6, errno.ENOSPC, forever=True)
        with pytest.raises(MachineError) as caught:
            saved(tmp_path, 5)
    assert caught.value.cause == "The disk or the quota is full."
    assert_is(load_latest(tmp_path, silent), 3)


def test_a_truly_full_disk(tmp_path: Path) -> None:
    """A file system of 1 MiB: three checkpoints of 300 kB fit only if older ones make room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        for step in range(6):
            save(disk / "c", step, {"weights": torch.full((75_000,), float(step))}, {}, 5)
        found = load_latest(disk / "c", silent)
        assert found is not None and found.step == 5 and float(found.tensors["weights"][0]) == 5.0
        with pytest.raises(MachineError, match="cannot be used"):
            save(disk / "c", 6, {"weights": torch.zeros(300_000)}, {}, 5)
        found = load_latest(disk / "c", silent)
        assert found is not None and found.step == 5
        assert float(found.tensors["weights"][-1]) == 5.0
        del found
        assert list((disk / "c").glob(".tmp*")) == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, capture_output=True)


@pytest.mark.parametrize("name,sparse", [("muon", True), ("adamw", False)])
def test_training_goes_on_bit_for_bit_from_disk(tmp_path: Path, name: str, sparse: bool) -> None:
    straight, first, second = (Rig(name, sparse=sparse) for _ in range(3))
    straight.train(0, 8)

    def save_each(step: int) -> None:
        tensors, scalars = pack(first.learner, first.optimizers, first.ema)
        save(tmp_path, step + 1, tensors, {"scalars": scalars}, 2)

    first.train(0, 5, save_each)
    flip(tmp_path / "step-00000005" / TENSORS, 5000, 1)
    found = load_latest(tmp_path, silent)
    assert found is not None and found.step == 4
    unpack_(found.tensors, found.state["scalars"], second.learner, second.optimizers, second.ema)
    second.train(found.step, 8)
    assert same_bits(
        pack(second.learner, second.optimizers, second.ema)[0],
        pack(straight.learner, straight.optimizers, straight.ema)[0],
    )


def test_packing_names_everything_once_and_leaves_other_names_alone() -> None:
    rig = Rig("muon", sparse=True)
    rig.train(0, 1)
    tensors, scalars = pack(rig.learner, rig.optimizers, rig.ema)
    assert scalars == {}
    assert tensors["optimizer/model/0-muon/encoders.text.trunk.0.up.weight/momentum_buffer"].shape == (32, 16)
    assert float(tensors["optimizer/model/1-adamw/head.weight/step"]) == 1.0
    assert {name.split("/")[0] for name in tensors} == {"model", "optimizer", "ema"}
    tied = pack(Rig("adamw", ema=False).learner, {}, None)[0]
    assert "model/head.weight" not in tied and "model/norm.num_batches_tracked" in tied
    unpack_({**tensors, "best/head.weight": torch.zeros(1)}, scalars, rig.learner, rig.optimizers, rig.ema)


def test_a_checkpoint_of_another_learner_is_refused() -> None:
    rig, wide, plain = Rig("adamw"), Rig("adamw", width=24), Rig("adamw", ema=False)
    tensors, scalars = pack(wide.learner, wide.optimizers, wide.ema)
    with pytest.raises(DataError, match="another model") as caught:
        unpack_(tensors, scalars, rig.learner, rig.optimizers, rig.ema)
    assert "position: (1, 8, 24) saved, (1, 8, 16) expected" in caught.value.found
    rig.train(0, 1)
    muon = Rig("muon")
    tensors, scalars = pack(rig.learner, rig.optimizers, rig.ema)
    with pytest.raises(DataError, match="another optimizer") as caught:
        unpack_(tensors, scalars, muon.learner, muon.optimizers, muon.ema)
    assert "0-adamw/" in caught.value.found
    with pytest.raises(DataError, match="another ema"):
        unpack_(tensors, scalars, plain.learner, plain.optimizers, plain.ema)


def test_saving_is_fast(tmp_path: Path) -> None:
    """100 MB in well under half a second plus what the disk takes; the bound here allows for a busy machine."""
    tensors = {str(index): torch.ones(250_000) for index in range(100)}
    save(tmp_path, 0, tensors, {}, 1)
    started = time.process_time()
    save(tmp_path, 1, tensors, {}, 1)
    assert time.process_time() - started < 1.0
