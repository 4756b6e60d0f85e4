"""Every block of commands or code in the documents is run as it stands there, only with less to do."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import seedbed
from tests.structure.sources import ROOT

DOCUMENTS = ("README.md", "README.zh.md", "CONTRIBUTING.md")
BLOCK = re.compile(r"^(?:<!-- check: (\w+) -->\n)?```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALLER = {
    "--minutes 30": "--steps 20 --set prove.draws=2 --set prove.labels=[20] --threads 2",
    "minutes=30": 'steps=20, threads=2, prove={"draws": 2, "labels": [20]}',
    "--steps 120": "--steps 4 --threads 2",
}


@dataclass(frozen=True)
class Block:
    document: str
    check: str
    language: str
    text: str

    def commands(self) -> list[str]:
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]


def blocks(language: str, check: str) -> list[Block]:
    found = []
    for name in DOCUMENTS:
        for match in BLOCK.finditer((ROOT / name).read_text(encoding="utf-8")):
            found.append(Block(name, match.group(1) or "", match.group(2), match.group(3)))
    return [block for block in found if block.language == language and block.check == check]


def smaller(text: str) -> str:
    for long, short in SMALLER.items():
        text = text.replace(long, short)
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with a small reviews.csv: 240 rows, half of them labelled, two classes that differ by words."""
    words = {"good": ("lovely", "warm", "moving"), "bad": ("dull", "cold", "tired")}
    with (tmp_path / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "sentiment"])
        for row in range(240):
            label = ("good", "bad")[row % 2]
            told = " ".join(words[label][(row + shift) % 3] for shift in range(2))
            writer.writerow([f"film {row} was {told} and about {row * 7} minutes long", label if row < 120 else ""])
    return tmp_path


def run(words: list[str], folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_block_says_how_it_is_checked() -> None:
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        checks = [match.group(1) for match in BLOCK.finditer(text)]
        assert text.count("\n```") == 2 * len(checks), f"{name} has a block of another kind"
        assert all(check in {"make", "run"} for check in checks)


def test_make_blocks_name_targets() -> None:
    commands = [command for block in blocks("console", "make") for command in block.commands()]
    assert len(commands) == 6  # those of the README stand in its Chinese form too
    for command in commands:
        run(["make", "--dry-run", "--directory", str(ROOT), *shlex.split(command)[1:]], ROOT)


@pytest.mark.slow
def test_console_blocks_run(folder: Path) -> None:
    found = [block for block in blocks("console", "run") if block.document == "README.md"]
    commands = [smaller(command) for block in found for command in block.commands()]
    assert len(found) == 2 and len(commands) == 9
    told = [run(shlex.split(command), folder) for command in commands]
    assert told[0].splitlines()[-1].startswith("verdict: ")
    assert (folder / "hf" / "config.json").is_file()


@pytest.mark.slow
def test_python_blocks_run(folder: Path) -> None:
    found = [block for block in blocks("python", "run") if block.document == "README.md"]
    assert len(found) == 1
    told = run([sys.executable, "-c", smaller(found[0].text)], folder)
    assert any(outcome in told for outcome in ("paid", "did not pay", "cannot tell"))


def test_the_chinese_readme_has_the_same_blocks() -> None:
    def told(name: str) -> list[tuple[str, str, str]]:
        every = [block for way in ("run", "make") for kind in ("console", "python") for block in blocks(kind, way)]
        return [(block.check, block.language, block.text) for block in every if block.document == name]

    assert len(told("README.md")) == 4
    assert told("README.zh.md") == told("README.md")
    links = [re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text(encoding="utf-8")) for name in DOCUMENTS[:2]]
    assert set(links[0]) - {"README.zh.md"} == set(links[1]) - {"README.md"}


@pytest.mark.slow
def test_the_reference_holds_every_verb(tmp_path: Path) -> None:
    run([sys.executable, str(ROOT / "docs" / "build_reference.py"), str(tmp_path)], ROOT)
    page = (tmp_path / "seedbed.html").read_text(encoding="utf-8")
    assert all(f'id="{verb}"' in page for verb in seedbed.VERBS)
    assert 'id="nt_xent"' in (tmp_path / "seedbed" / "models" / "losses.html").read_text(encoding="utf-8")
