"""Words become calls of verbs; errors become four lines and an exit code; nothing heavy is imported for help."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from seedbed.cli.app import execute
from seedbed.cli.flags import VERBS
from seedbed.core import errors


@dataclass(frozen=True)
class Result:
    folder: Path = Path("runs/pretrain-plays-1")
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass
class Fake:
    """Stands in for every verb and remembers how it was called."""

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    raises: BaseException | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def verb(self, name: str) -> Any:
        def call(*positional: Any, say: Any, **options: Any) -> Result:
            self.calls.append((name, positional, options))
            for event, fields in self.events:
                say(event, **fields)
            if self.raises is not None:
                raise self.raises
            return Result(summary=self.summary)

        return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    stand_in = Fake()
    for verb in VERBS:
        module = ModuleType(f"seedbed.verbs.{verb.name}")
        setattr(module, verb.name, stand_in.verb(verb.name))
        monkeypatch.setitem(sys.modules, f"seedbed.verbs.{verb.name}", module)
    yield stand_in


def make_run(out: Path, name: str) -> Path:
    folder = out / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"status": "finished", "verb": name.partition("-")[0]}))
    return folder


def test_pretrain_as_in_the_readme(fake: Fake) -> None:
    words = "pretrain plays.txt --objective masked_lm --size nano --steps 120 --seed 7 --out r".split()
    assert execute(words) == 0
    given = {"objective": "masked_lm", "size": "nano", "steps": 120, "seed": 7, "out": "r"}
    assert fake.calls == [("pretrain", ("plays.txt",), given)]


def test_export_takes_the_out_folder_of_the_run(fake: Fake, tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", "pretrain-plays-0a1b")
    (tmp_path / "r" / "data").mkdir()
    assert execute(["export", str(tmp_path / "r"), "--to", "hf", "--out", "hf"]) == 0
    assert execute(["export", str(run), "--to", "onnx", "--out", "there"]) == 0
    assert fake.calls == [
        ("export", (run,), {"to": "hf", "out": "hf"}),
        ("export", (run,), {"to": "onnx", "out": "there"}),
    ]


def test_flags_and_set_become_nested_options(fake: Fake) -> None:
    words = ["run", "d", "--label", "1", "--minutes", "0.5", "--set", "pretrain.lr=3e-4", "--set", "data.text=body"]
    assert execute([*words, "--labels", "50,200", "--dry-run", "--seed", "0", "--config", "c.toml"]) == 0
    options = {
        "label": "1", "minutes": 0.5, "pretrain": {"lr": 3e-4}, "data": {"text": "body"}, "dry_run": True,
        "prove": {"labels": [50, 200]}, "seed": 0, "config": "c.toml",
    }  # fmt: skip
    assert fake.calls == [("run", ("d",), options)]


def test_prove_from_a_run_and_predict(fake: Fake, tmp_path: Path) -> None:
    run = make_run(tmp_path, "pretrain-a-1")
    tuned = make_run(tmp_path, "finetune-a-1")
    assert execute(["prove", "d", "--label", "y", "--from", str(run)]) == 0
    assert execute(["predict", str(tmp_path), "a.png", "b.png", "--to", "o.csv"]) == 0
    assert execute(["evaluate", str(tuned)]) == 0
    assert execute(["evaluate", str(tuned), "d"]) == 0
    assert execute(["demo"]) == 0
    assert fake.calls == [
        ("prove", ("d",), {"label": "y", "encoder": run}),
        ("predict", (tuned, ["a.png", "b.png"]), {"to": "o.csv"}),
        ("evaluate", (tuned,), {}),
        ("evaluate", (tuned, "d"), {}),
        ("demo", (), {}),
    ]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["pretrian", "d"], ['There is no verb "pretrian"', 'Did you mean "pretrain"?', "seedbed --help"]),
        (["prove", "d", "--lable", "y"], ["--lable", 'Did you mean "--label"?', "seedbed prove --help"]),
        (["prove", "d", "--labels", "some"], ['--labels "some" is not a list of numbers', "50,200,1000"]),
        (["pretrain"], ["Missing argument", "DATA", "seedbed pretrain --help"]),
        (["export", "r"], ["Missing option", "--out", "seedbed export --help"]),
        (["pretrain", "d", "--steps", "many"], ["--steps", "integer"]),
        (["pretrain", "d", "--set", "seed"], ['--set "seed" is not KEY=VALUE']),
        (["report", "nowhere"], ["nowhere: there is no such run folder", "--out"]),
    ],
)
def test_misuse_is_told_and_exits_2(
    fake: Fake, capsys: pytest.CaptureFixture[str], words: list[str], parts: list[str]
) -> None:
    assert execute(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    for part in parts:
        assert part in captured.err
    assert fake.calls == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [("UsageError", 2), ("DataError", 3), ("MachineError", 4), ("OutOfMemoryError", 5), ("BudgetError", 6),
     ("TrainingError", 1), ("Interrupted", 130)],
)  # fmt: skip
def test_errors_have_four_lines_and_their_exit_code(
    fake: Fake, capsys: pytest.CaptureFixture[str], kind: str, code: int
) -> None:
    fake.raises = getattr(errors, kind)("a.csv:3: [bold]bad[/]", found="x", cause="y", fix="z")
    assert execute(["check", "d"]) == code
    assert capsys.readouterr().err == "error: a.csv:3: [bold]bad[/]\nx\ny\nz\n"


def test_a_bug_is_one_line_and_a_log_file(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.raises = KeyError("vanished")
    assert execute(["check", "d"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: KeyError: 'vanished'\n")
    assert "Traceback (" not in told
    log = Path(told.split("traceback is in ")[1].splitlines()[0])
    assert "Traceback (" in log.read_text()
    log.unlink()
    assert execute(["check", "d", "--verbose"]) == 1
    told = capsys.readouterr().err
    assert "Traceback (" in told
    Path(told.split("traceback is in ")[1].splitlines()[0]).unlink()


def test_interrupt_and_memory(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.raises = KeyboardInterrupt()
    assert execute(["check", "d"]) == 130
    assert "The same command continues" in capsys.readouterr().err
    fake.raises = MemoryError()
    assert execute(["check", "d"]) == 5
    assert "Memory ran out" in capsys.readouterr().err


def test_what_torch_says_of_the_machine(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(10**15)
    card = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB."
    library = ImportError("libx.so: failed to map segment from shared object")
    system = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    for error in (real.value, torch.OutOfMemoryError(card), library, system):
        fake.raises = error
        assert execute(["check", "d"]) == 5
        told = capsys.readouterr().err
        assert "Memory ran out" in told and "micro_batch" in told and told.splitlines()[1]
    fake.raises = RuntimeError("grid_sampler_2d_backward_cuda does not have a deterministic implementation, but you")
    assert execute(["check", "d"]) == 4
    assert "--device cpu" in capsys.readouterr().err
    fake.raises = RuntimeError("shapes do not fit")
    assert execute(["check", "d"]) == 1
    Path(capsys.readouterr().err.split("traceback is in ")[1].splitlines()[0]).unlink()


def test_json_is_the_only_thing_on_stdout(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.events = [
        ("understood", {"lines": ["a folder of text"]}),
        ("warning", {"text": "few labels"}),
        ("report", {"path": Path("runs/x/report.html")}),
        ("verdict", {"outcome": "paid", "sentence": "Yes."}),
    ]
    fake.summary = {"accuracy": 0.5, "loss": float("nan"), "folder": Path("a"), "nested": {"n": (1, 2)}}
    assert execute(["run", "d", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert json.loads(captured.out) == {
        "verb": "run",
        "exit_code": 0,
        "folder": "runs/pretrain-plays-1",
        "summary": {"accuracy": 0.5, "loss": None, "folder": "a", "nested": {"n": [1, 2]}},
        "report": "runs/x/report.html",
        "verdict": {"outcome": "paid", "sentence": "Yes."},
        "warnings": ["warning: few labels"],
    }
    assert "a folder of text" in captured.err
    assert captured.err.splitlines()[-1] == "verdict: paid. Yes."


def test_json_tells_errors_too(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.raises = errors.DataError("empty", fix="fill it")
    assert execute(["run", "d", "--json"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["exit_code"] == 3
    assert json.loads(captured.out)["error"]["fix"] == "fill it"
    assert execute(["rnu", "--json"]) == 2
    assert 'Did you mean "run"?' in json.loads(capsys.readouterr().out)["error"]["cause"]


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(VERBS) == 17
    for verb in VERBS:
        assert execute([verb.name, "--help"]) == 0
        assert verb.help.split()[0] in capsys.readouterr().out
    assert execute([]) == 0
    told = capsys.readouterr().out
    assert all(verb.name in told for verb in VERBS)
    assert execute(["--version"]) == 0
    assert capsys.readouterr().out.startswith("seedbed ")


def test_the_package_is_a_command_too() -> None:
    told = subprocess.run([sys.executable, "-m", "seedbed", "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("seedbed ")


HEAVY = ("torch", "sklearn", "pyarrow", "matplotlib", "numpy", "tokenizers", "PIL")


def loaded_after(statement: str) -> list[str]:
    code = f"import sys\n{statement}\nprint('LOADED', *[n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


def test_nothing_heavy_before_a_verb_runs() -> None:
    assert loaded_after("import seedbed") == []
    assert loaded_after("from seedbed.cli.app import execute; execute(['--help'])") == []
    assert loaded_after("from seedbed.cli.app import execute; execute(['run', '--help'])") == []
    assert loaded_after("from seedbed.cli.app import execute; execute(['run', 'd', '--set', 'x'])") == []


def seconds(statement: str) -> float:
    """Processor time of the best of five: other work on the machine is not our cost."""
    best = 9.0
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-c", statement], capture_output=True, check=True)
        after = os.times()
        best = min(best, after.children_user + after.children_system - before.children_user - before.children_system)
    return best


def test_start_up_time() -> None:
    assert seconds("import seedbed") < 0.15
    assert seconds("from seedbed.cli import main; main(['--help'])") < 0.4
