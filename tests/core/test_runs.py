"""Run folders: finding, locking, logging, whole files, and what to say when the machine refuses."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedbed.core import runs
from seedbed.core.errors import DataError, MachineError
from seedbed.core.runs import (
    Run,
    environment,
    fingerprint,
    open_run,
    read_json,
    write_atomic,
    write_json,
)

KEY = {"paths": ["/data/plays.txt"], "options": {"steps": 120, "lr": 1e-4}}


def refuse(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int) -> None:
    def refusing(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(owner, name, refusing)


def test_the_same_command_finds_its_folder_again(tmp_path: Path) -> None:
    first = open_run(tmp_path / "runs", "pretrain", "plays é 🌱/x", KEY)
    assert re.fullmatch(r"pretrain-plays-é-x-[0-9a-f]{8}", first.folder.name)
    assert first.status() == "new"
    first.close()
    again = open_run(tmp_path / "runs", "pretrain", "plays é 🌱/x", dict(reversed(KEY.items())))
    other = open_run(tmp_path / "runs", "pretrain", "plays é 🌱/x", {**KEY, "seed": 1})
    third = open_run(tmp_path / "runs", "finetune", "plays é 🌱/x", KEY)
    assert again.folder == first.folder
    assert len({first.folder, other.folder, third.folder}) == 3
    for run in (again, other, third):
        run.close()
    with_no_name = open_run(tmp_path, "run", "🌱", {})
    assert with_no_name.folder.name.startswith("run-data-")
    with_no_name.close()


def test_status_goes_from_new_to_finished(tmp_path: Path) -> None:
    run = open_run(tmp_path, "run", "x", KEY)
    run.record(verb="run", seed=3)
    assert run.status() == "unfinished"
    run.record(seconds=1.5)
    run.finish({"verdict": "paid"})
    assert run.status() == "finished"
    assert run.read_json("run.json") == {
        "status": "finished",
        "verb": "run",
        "seed": 3,
        "seconds": 1.5,
        "summary": {"verdict": "paid"},
    }
    run.close()
    assert Run(run.folder).status() == "finished"


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run = open_run(tmp_path, "run", "x", KEY)
    with pytest.raises(MachineError, match="in use by another process") as caught:
        open_run(tmp_path, "run", "x", KEY)
    assert f"process {os.getpid()} " in caught.value.found
    assert str(os.getpid()) in caught.value.fix
    run.close()
    open_run(tmp_path, "run", "x", KEY).close()


HOLDER = """
import sys, time
from seedbed.core.runs import open_run
run = open_run(sys.argv[1], "run", "x", {})
print("held", flush=True)
time.sleep(60)
"""


def test_the_lock_goes_when_its_process_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(MachineError) as caught:
        open_run(tmp_path, "run", "x", {})
    assert f"process {holder.pid} " in caught.value.found
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    open_run(tmp_path, "run", "x", {}).close()


@pytest.mark.parametrize(
    "number,cause",
    [
        (errno.EACCES, "No permission to use it."),
        (errno.EROFS, "No permission to use it."),
        (errno.ENOSPC, "The disk or the quota is full."),
        (errno.EIO, "The disk or the connection to it failed."),
    ],
    ids=["permission", "read-only", "full", "broken"],
)
def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, cause: str) -> None:
    refuse(monkeypatch, Path, "mkdir", number)
    with pytest.raises(MachineError, match=re.escape(str(tmp_path))) as caught:
        open_run(tmp_path / "runs", "run", "x", KEY)
    assert (caught.value.found, caught.value.cause) == (os.strerror(number), cause)
    assert "--out" in caught.value.fix


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(MachineError) as caught:
        open_run(tmp_path / "runs", "run", "x", KEY)
    assert caught.value.cause == "A file stands where a folder is needed."


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, fcntl, "flock", errno.ENOLCK)
    with pytest.raises(MachineError) as caught:
        open_run(tmp_path, "run", "x", KEY)
    assert caught.value.found == os.strerror(errno.ENOLCK)


def test_the_log_keeps_every_line(tmp_path: Path) -> None:
    run = open_run(tmp_path, "run", "x", KEY)
    assert run.events() == []
    run.log({"step": 1, "loss": 0.1, "word": "é\n"})
    run.log({"step": np.int64(2), "loss": np.float32(0.5), "at": Path("a/b"), "bad": [math.nan, -math.inf]})
    assert run.events() == [
        {"step": 1, "loss": 0.1, "word": "é\n"},
        {"step": 2, "loss": 0.5, "at": "a/b", "bad": [None, None]},
    ]
    assert len((run.folder / "metrics.jsonl").read_text().splitlines()) == 2
    run.close()


def test_a_torn_last_line_is_left_out_and_not_glued_to_the_next(tmp_path: Path) -> None:
    run = open_run(tmp_path, "run", "x", KEY)
    for step in range(3):
        run.log({"step": step, "loss": 1.0})
    run.close()
    log = run.folder / "metrics.jsonl"
    whole = log.read_bytes()
    for cut in range(1, len(whole.splitlines(keepends=True)[-1])):
        log.write_bytes(whole[:-cut])
        assert [event["step"] for event in Run(run.folder).events()] == [0, 1]
        again = open_run(tmp_path, "run", "x", KEY)
        again.log({"step": 7})
        assert [event["step"] for event in again.events()] == [0, 1, 7]
        again.close()


@pytest.mark.parametrize("line", [b'{"step": 1, "lo', b"[1]", b"\xff\xfe"])
def test_a_broken_line_elsewhere_is_an_error(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 0}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl is damaged: line 2"):
        Run(tmp_path).events()


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    run.log({"step": 1})
    original = Path.open

    class Full(io.FileIO):
        def write(self, data: Any, /) -> int:
            super().write(bytes(data)[:5])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path: Path, mode: str = "r", **kwargs: Any) -> Any:
        return Full(path, "a") if mode == "ab" else original(path, mode, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(MachineError) as caught:
            run.log({"step": 2, "loss": 0.25})
    assert caught.value.cause == "The disk or the quota is full."
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"step": 1}\n'
    run.log({"step": 3})
    assert [event["step"] for event in run.events()] == [1, 3]


def test_truncating_the_log_keeps_other_stages_and_earlier_steps(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.truncate_log(3)
    for stage in ("pretrain", "finetune"):
        for step in range(1, 6):
            run.log({"stage": stage, "event": "step", "step": step})
    run.log({"stage": "finetune", "event": "note"})
    run.truncate_log(3, "finetune")
    events = run.events()
    assert [event["step"] for event in events if event["stage"] == "pretrain"] == [1, 2, 3, 4, 5]
    assert [event.get("step") for event in events if event["stage"] == "finetune"] == [1, 2, 3, None]
    run.truncate_log(2)
    assert [event.get("step") for event in run.events()] == [1, 2, 1, 2, None]
    run.truncate_log(-1, "pretrain")
    assert {event["stage"] for event in run.events()} == {"finetune"}


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    obj = {"a": [1, 2.5, None, True], "ü": {"nested": "🌱"}, "xxh3": "not this", "none": math.nan, "t": (1, 2)}
    write_json(tmp_path / "x.json", obj)
    assert read_json(tmp_path / "x.json") == {
        "a": [1, 2.5, None, True],
        "ü": {"nested": "🌱"},
        "none": None,
        "t": [1, 2],
    }
    assert re.fullmatch(r"[0-9a-f]{32}", json.loads((tmp_path / "x.json").read_text())["xxh3"])
    write_json(tmp_path / "empty.json", {})
    assert read_json(tmp_path / "empty.json") == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.json", "x.json"]


def test_every_flipped_bit_and_every_cut_of_a_json_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_json(path, {"lr": 1e-05, "é": [1, -2, 1 / 3]})
    whole = path.read_bytes()
    tried = 0
    for position in range(len(whole)):
        for bit in range(8):
            spoilt = bytearray(whole)
            spoilt[position] ^= 1 << bit
            path.write_bytes(spoilt)
            with pytest.raises(DataError, match=r"plan\.json is damaged"):
                read_json(path)
            tried += 1
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"plan\.json is damaged"):
            read_json(path)
        tried += 1
    assert tried == 9 * len(whole) > 800
    path.unlink()
    with pytest.raises(DataError, match="it is missing"):
        read_json(path)


@pytest.mark.parametrize("owner,name", [(os, "fsync"), (Path, "open"), (Path, "replace")])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_a_failed_write_leaves_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int
) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"version": 1})
    with monkeypatch.context() as patch:
        refuse(patch, owner, name, number)
        with pytest.raises(MachineError, match=r"x\.json cannot be used"):
            write_json(path, {"version": 2})
    assert read_json(path) == {"version": 1}
    assert [other.name for other in tmp_path.iterdir()] == ["x.json"]


def test_an_atomic_write_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        done.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        sync(descriptor)

    def note_replace(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_atomic(tmp_path / "x", b"content")
    assert done == ["file", "rename", "folder"]
    assert (tmp_path / "x").read_bytes() == b"content"


def test_fingerprints_do_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [2, Path("c")]}) == fingerprint({"b": (2, "c"), "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_the_environment_names_versions_and_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment()
    assert found["python"].startswith("3.") and found["versions"]["torch"].startswith("2.")
    assert re.fullmatch(r"([0-9a-f]{40}\+?)?", found["commit"])
    monkeypatch.setattr(runs, "_git", lambda *arguments: (_ for _ in ()).throw(FileNotFoundError("git")))
    assert environment()["commit"] == ""
    json.dumps(found)
