"""What comes from outside, through the command line: a clear error or a counted quarantine, and nothing lost."""

from __future__ import annotations

import errno
import fcntl
import importlib
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from seedbed.core.errors import SeedbedError
from seedbed.core.runs import Run
from tests.verbs.conftest import Kept
from tests.verbs.making import CHEAP_PROOF, QUICK, Shell, digit_folders, reviews, tree, write_csv

seedbed: Any = importlib.import_module("seedbed")

TEXTS = [text for text, _ in reviews(40)]
FEW = (*QUICK, "--steps", "3", "--set", "pretrain.evaluations=1")


def data_of(told: dict[str, Any]) -> dict[str, Any]:
    """data.json of the run a command tells of."""
    read: dict[str, Any] = json.loads((Path(told["folder"]) / "data.json").read_text())
    counts = read["counts"]
    assert counts["total"] == sum(value for name, value in counts.items() if name != "total")
    return read


def bomb(path: Path, side: int = 13_000) -> None:
    """A small PNG file that decodes to side x side pixels."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    parts = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.mark.parametrize("verb", ["run", "pretrain", "check", "plan"])
def test_nothing_usable(shell: Shell, tmp_path: Path, verb: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG and no more")
    (tmp_path / "broken" / "b.jpg").write_bytes(b"words")
    out = ("--out", tmp_path / "r")
    told = shell.refused(3, verb, tmp_path / "empty", *out)
    assert "is empty" in told and "Parquet, Arrow, CSV" in told
    told = shell.refused(3, verb, tmp_path / "broken", *out)
    assert "broken can be used" in told and "2 x" in told and "a.png" in told
    (tmp_path / "head.csv").write_text("text,label\n")
    assert "no rows at all" in shell.refused(3, verb, tmp_path / "head.csv", *out)
    assert not (tmp_path / "r").exists()


def test_broken_images_among_good_ones(shell: Shell, tmp_path: Path) -> None:
    folder = digit_folders(tmp_path / "d", each=8)
    (folder / "0" / "cut.png").write_bytes(next((folder / "0").iterdir()).read_bytes()[:60])
    bomb(folder / "1" / "bomb.png")
    told = shell.ok("pretrain", folder, "--out", tmp_path / "r", *FEW, "--json").json
    data = data_of(told)
    assert data["counts"] == {"used": 24, "duplicate": 0, "quarantined": 2, "excluded": 0, "total": 26}
    reasons = {row["key"]: row["reason"] for row in data["quarantined"]}
    assert "cut off" in reasons["0/cut.png"] and "13,000 x 13,000 pixels" in reasons["1/bomb.png"]
    assert (folder / "0" / "cut.png").exists() and told["summary"]["steps"] == 3


def test_encodings(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text)
    (folder / "latin.txt").write_bytes("un café très noir".encode("latin-1"))
    (folder / "utf16.txt").write_bytes("Grüße aus der Ferne".encode("utf-16"))
    (folder / "bare16.txt").write_bytes("Gruesse ohne Marke".encode("utf-16-le"))
    (folder / "nul.txt").write_bytes(b"a text with\x00 one NUL byte in it")
    data = data_of(shell.ok("pretrain", folder, "--out", tmp_path / "r", *FEW, "--json").json)
    assert data["counts"]["used"] == 42 and data["counts"]["quarantined"] == 2
    reasons = {row["key"]: row["reason"] for row in data["quarantined"]}
    assert "Latin-1" in reasons["latin.txt"] and "NUL" in reasons["bare16.txt"]


def test_a_long_line_and_ragged_rows(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "t.csv", reviews(40))
    with data.open("a") as file:
        file.write(f"{'endless words ' * 400_000},good\none,two,three\nalone\nlast words of all,good\n")
    told = data_of(shell.ok("pretrain", data, "--out", tmp_path / "r", *FEW, "--json").json)
    assert told["counts"] == {"used": 41, "duplicate": 0, "quarantined": 2, "excluded": 1, "total": 44}
    assert {row["key"] for row in told["quarantined"]} == {"t.csv:42", "t.csv:43", "t.csv:44"}


@pytest.mark.parametrize(
    ("rows", "what"), [("none", "no row has a label"), ("one", 'only one class, "same" (40 rows)')]
)
def test_without_labels_it_pretrains_and_says_what_is_missing(
    shell: Shell, tmp_path: Path, rows: str, what: str
) -> None:
    labels = [[], ["same"]][rows == "one"]
    data = write_csv(tmp_path / "t.csv", [[text, *labels] for text in TEXTS], ["text", *["label" for _ in labels]])
    told = shell.ok("run", data, "--out", tmp_path / "r", *FEW)
    assert told.last.startswith(f"verdict: cannot tell. Labels are missing ({what})") and "--label COLUMN" in told.last
    (run,) = (tmp_path / "r").glob("run-*")
    assert (run / "model" / "model.safetensors").is_file() and (run / "report.html").is_file()
    assert shell.ok("run", data, "--out", tmp_path / "r", *FEW).last == told.last


def test_odd_labels_are_told_and_the_run_goes_on(shell: Shell, tmp_path: Path) -> None:
    rows = reviews(40)
    conflict = [(text, "good" if label == "bad" else "bad") for text, label in rows[:3]]
    data = write_csv(tmp_path / "t.csv", [*rows, *conflict, ("a lonely text of its own kind", "rare")])
    told = shell.ok("run", data, "--label", "label", "--out", tmp_path / "r", *FEW, *CHEAP_PROOF, "--json")
    assert told.json["verdict"]["outcome"] in ("paid", "did not pay", "cannot tell")
    assert 'occur only once are dropped, their rows used without: "rare"' in told.err
    assert "3 rows used without a label: equal rows carry different labels" in told.err
    read = data_of(told.json)
    assert read["counts"]["used"] == 41 and read["counts"]["duplicate"] == 3
    assert read["labels"] == {"bad": 19, "good": 18}


def test_a_label_column_that_is_not_there(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "t.csv", reviews(10), ("text", "sentiment"))
    for verb in ("run", "pretrain", "prove", "check", "plan"):
        told = shell.refused(3, verb, data, "--label", "sentimant", "--out", tmp_path / "r")
        assert 'no column "sentimant" in' in told and 'Did you mean "sentiment"?' in told
    assert not (tmp_path / "r").exists()


def test_paths_with_spaces_and_emoji(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "my 🌱 data" / "all the rows 📄.csv", reviews(40))
    out = tmp_path / "runs — with 🌲"
    folder = Path(shell.ok("pretrain", data, "--out", out, *FEW, "--json").json["folder"])
    assert folder.is_relative_to(out)
    told = shell.ok("pretrain", data.parent, "--out", out, *FEW, "--json")
    assert told.json["folder"] != str(folder)
    assert "🌱" in (folder / "report.json").read_text() or "📄" in (folder / "report.json").read_text()
    shell.ok("report", folder)


def test_a_line_end_in_a_path(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "two\nlines" / "t\n.csv", reviews(40))
    told = shell.ok("pretrain", data, "--out", tmp_path / "r\nuns", *FEW, "--json").json
    assert Path(told["folder"]).is_dir()
    shell.ok("report", Path(told["folder"]))


def test_a_clock_that_was_set_back(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    """A run that died tomorrow goes on today, and is given no time that it did not take."""
    run = tmp_path / "r" / texts.run("pretrain").name
    shutil.copytree(texts.out, tmp_path / "r")
    began = json.loads((run / "run.json").read_text())["seconds"]
    Run(run).record(status="unfinished", since=time.time() + 86_400)
    shell.ok("pretrain", texts.data, "--out", tmp_path / "r", *QUICK)
    told = json.loads((run / "run.json").read_text())
    assert told["status"] == "finished" and began <= told["seconds"] < began + 60


@pytest.mark.skipif(sys.platform != "linux", reason="the limit counts otherwise elsewhere")
def test_little_memory(tmp_path: Path) -> None:
    """A file that does not fit is an error with its own code, and one that fits is read."""
    (tmp_path / "t.txt").write_text("".join(f"{row} {'words ' * 100}\n" for row in range(100_000)))
    # The limit comes when everything is loaded: how much that takes differs from machine to machine.
    limited = """
import resource, sys
import seedbed.verbs.check
from seedbed.cli.app import main
held = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (held + int(sys.argv.pop(1)),) * 2)
main()
"""
    alone = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
    for megabytes, code in ((2000, 0), (100, 5)):
        words = [sys.executable, "-c", limited, str(megabytes << 20), "check", str(tmp_path / "t.txt")]
        done = subprocess.run(words, capture_output=True, text=True, env=alone)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr and ("Memory ran out" in done.stderr) == (code == 5)


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, after: int) -> None:
    """Let the operating system fail every wait for the disk after so many."""
    calls = [0]
    real = os.fsync

    def fsync(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > after:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("after", [0, 3, 8, 14, 20])
def test_a_full_disk_loses_nothing(
    shell: Shell, texts: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    words = ("pretrain", texts.data, "--out", tmp_path / "r", *QUICK)
    with monkeypatch.context() as patch:
        refuse(patch, errno.ENOSPC, after)
        told = shell.refused(4, *words)
    assert "No space left on device" in told and "Make room" in told
    assert not list((tmp_path / "r").rglob("*.tmp*")) or after
    folder = Path(shell.ok(*words, "--json").json["folder"])
    weights = (folder / "model" / "model.safetensors").read_bytes()
    assert weights == (texts.run("pretrain") / "model" / "model.safetensors").read_bytes()


def test_no_permission(shell: Shell, texts: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.mkdir

    def mkdir(self: Path, *args: Any, **kwargs: Any) -> None:
        if self.is_relative_to(tmp_path / "closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    told = shell.refused(4, "pretrain", texts.data, "--out", tmp_path / "closed" / "r", *QUICK)
    assert "Permission denied" in told and "Give another --out" in told
    (tmp_path / "file").write_text("in the way")
    told = shell.refused(4, "pretrain", texts.data, "--out", tmp_path / "file", *QUICK)
    assert "A file stands where a folder is needed" in told
    assert (tmp_path / "file").read_text() == "in the way"


def test_two_runs_in_one_folder(shell: Shell, texts: Kept) -> None:
    folder, before = texts.run("pretrain"), tree(texts.out)
    program = "import sys; from seedbed.cli import main; main(sys.argv[1:])"
    words = [str(word) for word in ("pretrain", texts.data, "--out", texts.out, *QUICK)]
    lock = (folder / "lock").open("a+")
    held = Run(folder, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=100)
    finally:
        held.close()
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert f"{folder} is in use by another process" in done.stderr and "another --out" in done.stderr
    assert tree(texts.out) == before


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--set", "pretrain.lrr=3"], ['"pretrain.lrr" is not a known key (flag)', 'Did you mean "pretrain.lr"?']),
        (["--set", "stpes=4", "--set", "seeed=1"], ["2 problems", '"steps"', '"seed"']),
        (["--set", "objective_options.windw=3"], ['"objective_options.windw" is not a known key', "window"]),
        (["--set", "task_options.hed=linear"], ['"task_options.hed" is not a known key', '"task_options.head"']),
        (["--set", "task=clasify"], ['no task "clasify"', 'Did you mean "classify"?']),
        (["--set", "prove.arms=['tfidff', 'frozen+probe']"], ['no arm "tfidff"', 'Did you mean "tfidf"?']),
        (["--set", "prove.arms=['tfidf']"], ["Nothing pretrained is among the arms"]),
        (["--objective", "maskedlm"], ['no objective "maskedlm"', 'Did you mean "masked_lm"?']),
        (["--objective", "denoising"], ["denoising does not work on text data"]),
        (["--objective", "skip_gram", "--trunk", "transfomer"], ["transfomer", "It can train: bag"]),
        (["--trunk", "transfomer"], ["transfomer"]),
        (["--size", "nanoo"], ['no size "nanoo"', 'Did you mean "nano"?']),
        (["--set", "device=gpu"], ['no device "gpu"', '"cpu"']),
        (["--seed", "-3"], ['"seed" is -3']),
        (["--steps", "0"], ['"steps" is 0']),
        (["--minutes", "nan"], ['"minutes" is nan']),
        (["--config", "none.toml"], ["none.toml: there is no such configuration file"]),
    ],
)
def test_what_cannot_be_meant(shell: Shell, texts: Kept, tmp_path: Path, words: list[str], parts: list[str]) -> None:
    told = shell.refused(2, "run", texts.data, "--label", "label", "--out", tmp_path / "r", "--threads", "1", *words)
    for part in parts:
        assert part in told
    assert not (tmp_path / "r").exists()


def test_a_configuration_file_with_mistakes(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("stpes = 3\n[pretrain]\nlrr = 1\n")
    told = shell.refused(2, "pretrain", texts.data, "--config", tmp_path / "a.toml", "--out", tmp_path / "r")
    assert "2 problems" in told and "(file a.toml)" in told and '"steps"' in told and '"pretrain.lr"' in told
    (tmp_path / "a.toml").write_text("seed = 1\nsteps = = 3\n")
    told = shell.refused(2, "pretrain", texts.data, "--config", tmp_path / "a.toml", "--out", tmp_path / "r")
    assert "a.toml:2:9" in told


def test_unknown_verbs_and_flags(shell: Shell) -> None:
    assert 'Did you mean "pretrain"?' in shell.refused(2, "pretrian", "d")
    told = shell("pretrain", "d", "--lable", "y")
    assert told.code == 2 and 'Did you mean "--label"?' in told.err


def test_changed_data(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "t.csv", reviews(40))
    words = ("pretrain", data, "--out", tmp_path / "r", *FEW)
    shell.ok(*words)
    before = tree(tmp_path / "r")
    write_csv(data, reviews(45)[3:])
    told = shell.ok(*words)
    assert "+5 -3 rows, +2 labels against" in told.out and "this is a new run" in told.out
    after = tree(tmp_path / "r")
    assert all(after[name] == content for name, content in before.items() if "lock" not in name)
    assert len([name for name in after if name.endswith("run.json")]) == 2
    assert "nothing is done again" in shell.ok(*words).out


def test_a_damaged_model_is_named(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    run = texts.run("finetune")
    copy = tmp_path / "r" / run.name
    for name, content in tree(run).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    for name in ("model.safetensors", "seedbed.json", "tokenizer.json"):
        content = (run / "model" / name).read_bytes()
        middle = len(content) // 2
        for damaged in (
            content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :],
            content[:middle],
            None,
        ):
            (copy / "model" / name).unlink() if damaged is None else (copy / "model" / name).write_bytes(damaged)
            assert name in shell.refused(3, "predict", copy, "a bright film")
        (copy / "model" / name).write_bytes(content)
    shell.ok("predict", copy, "a bright film")


def test_an_error_lets_the_run_go(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "t.csv", reviews(40))
    with pytest.raises(SeedbedError, match="matches no parameter") as caught:
        seedbed.pretrain(data, out=tmp_path / "r", steps=3, threads=1, pretrain={"freeze": ["nothing"]})
    (folder,) = (tmp_path / "r").glob("pretrain-*")
    with (folder / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert caught.value.exit_code == 2
