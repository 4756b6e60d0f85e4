"""Recipes: what each says of itself, that it is understood, and that its command runs on few rows in few steps."""

from __future__ import annotations

import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from seedbed.core.config import load_toml
from tests.structure.sources import ROOT
from tests.verbs.making import Shell, digit_folders, reviews, write_csv

RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
TOLD = ("command", "data", "time", "score")
LITTLE = shlex.split("--steps 12 --size nano --threads 1 --set prove.draws=2 --set prove.labels=[20]")


def told(recipe: Path) -> dict[str, str]:
    """What the comment before the options says, by its words; the first line says what it is for."""
    lines = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    parts = re.split(rf"^({'|'.join(TOLD)}): ", "\n".join(lines), flags=re.MULTILINE)
    return {"for": parts[0].strip(), **dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))}


def imdb(place: Path) -> None:
    write_csv(place / "train.csv", reviews(80), ("text", "label"))
    write_csv(place / "test.csv", reviews(40, 1), ("text", "label"))
    write_csv(place / "unsup.csv", [row[:1] for row in reviews(40, 2)], ("text",))


def sst2(place: Path) -> None:
    for name, seed in (("train", 3), ("dev", 4), ("test", 5)):
        rows = [f"{text}\t{int(label == 'good')}\n" for text, label in reviews(80, seed)]
        place.mkdir(exist_ok=True)
        (place / f"{name}.tsv").write_text("".join(rows), encoding="utf-8")


def shop(place: Path) -> None:
    rows = [("thing", str(int(label == "good")), text) for text, label in reviews(160)]
    table = write_csv(place.with_suffix(".csv"), rows, ("cat", "label", "review"))
    with zipfile.ZipFile(place, "w") as archive:
        archive.write(table, table.name)
    table.unlink()


def news(place: Path) -> None:
    rows = [(str(1 + int(label == "good")), f"title {at}", text) for at, (text, label) in enumerate(reviews(160))]
    write_csv(place, rows[1:], rows[0])


LIKE: dict[str, Callable[[Path], object]] = {
    "imdb": imdb,
    "sst2": sst2,
    "online_shopping_10_cats.zip": shop,
    "test.csv": news,
    "fashion_mnist": digit_folders,
}


def words_of(recipe: Path) -> list[str]:
    """The recipe's command, without `seedbed`."""
    return shlex.split(told(recipe)["command"])[1:]


def test_every_recipe_says_what_it_needs_costs_and_reaches() -> None:
    assert len(RECIPES) == 5
    for recipe in RECIPES:
        found = told(recipe)
        assert set(found) == {"for", *TOLD} and all(found.values()), recipe.name
        assert re.search(r"\d", found["data"]) and re.search(r"\d (s|minutes?)\b", found["time"]), recipe.name
        # An interval, or what the figures vary over.
        assert re.search(r"\d\.\d+ \(\S*\d\.\d+ to \S*\d\.\d+", found["score"]), recipe.name
        command = words_of(recipe)
        assert command[0] in ("run", "prove") and command[1] in LIKE
        assert command[2:4] == ["--config", f"recipes/{recipe.name}"]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_understood(recipe: Path, shell: Shell) -> None:
    shown = shell.ok("config", "show", "--config", recipe).out
    assert shown.count(f"# file {recipe.name}") == _leaves(load_toml(recipe)), shown


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs(recipe: Path, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    verb, name, *rest = words_of(recipe)
    LIKE[name](tmp_path / name)
    out = ["--out", str(tmp_path / "runs")]
    if "RUN" in rest:
        imdb(tmp_path / "imdb")
        shell.ok("pretrain", tmp_path / "imdb", *out, "--steps", "12", "--threads", "1")
        rest[rest.index("RUN")] = str(tmp_path / "runs")
    ended = shell.ok(verb, tmp_path / name, *rest, *out, *LITTLE)
    assert ended.last.startswith("verdict: ")


def _leaves(table: dict[str, object]) -> int:
    return sum(_leaves(value) if isinstance(value, dict) else 1 for value in table.values())
