"""Signals, locks, damaged files and changed data, as the verbs answer them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedbed.core.errors import DataError, Interrupted, MachineError
from seedbed.core.runs import Run
from seedbed.core.types import silent
from seedbed.train import checkpoint
from seedbed.verbs import drive, ground
from seedbed.verbs import export as verb_export
from seedbed.verbs.export import export
from seedbed.verbs.finetune import finetune
from seedbed.verbs.options import Options
from seedbed.verbs.predict import predict
from seedbed.verbs.pretrain import pretrain
from tests.verbs.nursery import images, texts
from tests.verbs.test_kill import ONE_THREAD, assert_same, only_run

STEPS = "500"
PRETRAIN: Options = {"objective": "denoising", "size": "nano", "threads": 1, "steps": 12}
PRETRAIN["pretrain"] = {"save_every_s": 1e-9, "precision": "float32", "evaluations": 4, "batch_size": 16, "keep": 3}
TUNE: Options = {"label": "label", "threads": 1, "pretrain": {"precision": "float32"}}
TUNE["finetune"] = {"batch_size": 16}


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "write_report", lambda run: run / "report.html")
    monkeypatch.setattr(drive, "SAY_EVERY_S", 0.0)


def stopping_at(step: int) -> Callable[..., None]:
    """A listener that sends this process a signal."""

    def say(event: str, **fields: Any) -> None:
        if event == "step" and fields["step"] == step:
            signal.raise_signal(signal.SIGTERM)

    return say


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_to_the_command_line_saves_and_the_same_command_continues(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "pictures.npz", **images(160))
    words = f"pretrain {tmp_path}/pictures.npz --objective denoising --size nano --threads 1 --out {tmp_path}/broken"
    settings = "--set pretrain.precision=float32 --set pretrain.batch_size=16 --set pretrain.evaluations=4"
    command = [sys.executable, "-m", "seedbed.cli", *words.split(), "--steps", STEPS, *settings.split(), "--verbose"]
    code = "import sys; from seedbed.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *command[3:]]
    environment = {**os.environ, **ONE_THREAD}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        log = None
        while process.poll() is None and (log is None or log.stat().st_size < 2000):
            log = next((tmp_path / "broken").glob("pretrain-*/metrics.jsonl"), None)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert number.name in output and "same command" in output
    options: Options = {**PRETRAIN, "steps": int(STEPS)}
    options["pretrain"] = {"precision": "float32", "batch_size": 16, "evaluations": 4}
    for out in ("broken", "whole"):
        pretrain(tmp_path / "pictures.npz", out=tmp_path / out, **options)
    assert_same(only_run(tmp_path / "whole"), only_run(tmp_path / "broken"))


def test_a_second_process_is_refused_with_the_pid(tmp_path: Path) -> None:
    refused: list[MachineError] = []

    def say(event: str, **fields: Any) -> None:
        if event == "saved" and not refused:
            with pytest.raises(MachineError, match=str(os.getpid())) as caught:
                pretrain(images(160), out=tmp_path, **PRETRAIN)
            refused.append(caught.value)

    pretrain(images(160), out=tmp_path, say=say, **PRETRAIN)
    assert refused[0].exit_code == 4


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path: Path) -> None:
    pretrain(images(160), out=tmp_path / "whole", **PRETRAIN)
    with pytest.raises(Interrupted, match="SIGTERM"):
        pretrain(images(160), out=tmp_path / "broken", say=stopping_at(7), **PRETRAIN)
    saved = sorted((only_run(tmp_path / "broken") / "checkpoints" / "pretrain").iterdir())
    flip(saved[-1] / checkpoint.TENSORS)
    told: list[tuple[str, Any]] = []
    pretrain(images(160), out=tmp_path / "broken", say=lambda event, **fields: told.append((event, fields)), **PRETRAIN)
    assert [fields["path"] for event, fields in told if event == "damaged"] == [str(saved[-1])]
    assert [fields["step"] for event, fields in told if event == "resumed"] == [int(saved[-2].name[-8:])]
    assert_same(only_run(tmp_path / "whole"), only_run(tmp_path / "broken"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_changed_data_are_a_new_run_and_the_old_data_find_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "pictures.npz"
    np.savez(path, **images(160))
    first = pretrain(path, out=tmp_path / "runs", **PRETRAIN)
    np.savez(path, **images(170))
    second = pretrain(path, out=tmp_path / "runs", **PRETRAIN)
    np.savez(path, **images(160))
    assert second.folder != first.folder == pretrain(path, out=tmp_path / "runs", **PRETRAIN).folder


@pytest.mark.slow
def test_every_file_of_finished_runs_and_their_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bit is flipped in every file that a later command reads; the command names the file with exit code 3."""
    # Reading every export in a new process has its own tests.
    monkeypatch.setattr(verb_export, "check", lambda *given: {"passed": True})
    out, told = tmp_path / "runs", texts(120)
    options: Options = {**PRETRAIN, "objective": "masked_lm", "steps": 2}
    encoder = pretrain(told, out=out, **options).folder
    tuned = finetune(encoder or "", told, out=out, **TUNE).folder
    assert encoder is not None and tuned is not None
    covered, unread = 0, []
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        where = path.relative_to(out).parts
        if path.parent.parent.parent.name == "checkpoints" or path.name in ("lock", "config.toml", "metrics.jsonl"):
            continue
        actions: list[Callable[[], Any]] = []
        if where[0] == "data":
            actions = [lambda: finetune(encoder, told, out=out, **TUNE)]
            actions += [lambda: pretrain(told, out=out, **options)]
        elif where[0] == encoder.name:
            actions = [lambda: export(encoder, out=tmp_path / "hf"), lambda: pretrain(told, out=out, **options)]
        else:
            actions = [lambda: predict(tuned, ["oak ash"], threads=1), lambda: finetune(encoder, told, out=out, **TUNE)]
        content = path.read_bytes()
        flip(path)
        named = [_named(action, path) for action in actions]
        path.write_bytes(content)
        covered += any(named)
        if not any(named):
            unread.append("/".join(where[1:]))
    # of a finished run, these are read by the report only, and rates.json by a run that is not finished
    assert set(unread) <= {"plan.json", "rates.json", "eval/diagnosis.json"}, unread
    assert covered >= 18, covered


def _named(action: Callable[[], Any], path: Path) -> bool:
    try:
        action()
    except DataError as error:
        assert str(path) in error.what or path.parent.name in error.what, f"{path} is not named by {error.what}"
        return True
    return False


def test_an_unfinished_run_notices_damage(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        pretrain(images(160), out=tmp_path, say=stopping_at(5), **PRETRAIN)
    folder = only_run(tmp_path)
    names = ("plan.json", "data.json", "run.json")
    for name in names:
        content = (folder / name).read_bytes()
        flip(folder / name)
        with pytest.raises(DataError, match=name):
            pretrain(images(160), out=tmp_path, **PRETRAIN)
        (folder / name).write_bytes(content)
    assert pretrain(images(160), out=tmp_path, **PRETRAIN).summary["steps"] == 12


class SlowClock:
    """A clock that stands but for what steps take: 100 s each, from the eleventh on 130."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.deadline = self.now + 3050

    def monotonic(self) -> float:
        return self.now

    def listen(self, event: str, **fields: Any) -> None:
        if event == "step":
            self.now += 100 if fields["step"] <= 10 else 130


@pytest.mark.parametrize("died_at", [11, 21])
def test_a_shortened_horizon_is_replayed(died_at: int, tmp_path: Path) -> None:
    """The same cuts lead to the same weights, also when the process died between a cut and the next checkpoint."""
    options: Options = {**PRETRAIN, "steps": 40}
    options["pretrain"] = {**PRETRAIN["pretrain"], "save_every_s": 450}

    def go(out: str, stop: int | None, *, hurried: bool = True) -> None:
        with pytest.MonkeyPatch.context() as patch:
            clock = SlowClock()

            def job(**given: Any) -> drive.Job:
                return drive.Job(**{**given, "deadline": clock.deadline if hurried else None})

            def say(event: str, **fields: Any) -> None:
                clock.listen(event, **fields)
                if event == "horizon":
                    assert cuts(tmp_path / out)[-1] == [fields["step"], fields["steps"]], "written before it is used"
                if event == "step" and fields["step"] == stop:
                    raise KeyboardInterrupt

            patch.setattr("seedbed.verbs.pretrain.Job", job)
            patch.setattr("time.monotonic", clock.monotonic)
            pretrain(images(160), out=tmp_path / out, say=say, **options)

    go("whole", None)
    assert cuts(tmp_path / "whole") == [[0, 40], [10, 30], [20, 26]]
    with pytest.raises(KeyboardInterrupt):
        go("broken", died_at)
    assert cuts(tmp_path / "broken") == cuts(tmp_path / "whole")[: 2 if died_at == 11 else 3]
    shutil.copy(only_run(tmp_path / "whole") / "horizon-pretrain.json", only_run(tmp_path / "broken"))
    go("broken", None, hurried=False)
    assert last_step(tmp_path / "whole") == 26
    assert_same(only_run(tmp_path / "whole"), only_run(tmp_path / "broken"))


def cuts(out: Path) -> list[list[int]]:
    found: list[list[int]] = Run(only_run(out)).read_json("horizon-pretrain.json")["cuts"]
    return found


def last_step(out: Path) -> int:
    found = checkpoint.load_latest(only_run(out) / "checkpoints" / "pretrain", silent)
    assert found is not None
    return found.step
