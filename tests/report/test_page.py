"""The page: verdict first, sums that add up, users' words only as text, nothing fetched, the same bytes each time."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from seedbed.core.config import dump_toml, resolve
from seedbed.core.errors import DataError
from seedbed.core.runs import read_json, write_json
from seedbed.report.page import MAX_CLASSES, picture, write_report
from tests.report.conftest import ARMS, HOSTILE, LABELS, write_run

MakeRun = Callable[..., Path]


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open:
            self.texts.append((self.open[-1], data.strip()))

    def of(self, tag: str) -> list[str]:
        return [text for inside, text in self.texts if inside == tag]


def change(path: Path, **fields: Any) -> None:
    write_json(path, {**{k: v for k, v in read_json(path).items() if k != "xxh3"}, **fields})


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reported run, for tests that only read."""
    folder = write_run(tmp_path_factory.mktemp("paid"), "paid", proof=True, name="run-imdb-0a1b2c3d")
    write_report(folder)
    return folder


@pytest.mark.parametrize("outcome", ["paid", "did not pay", "cannot tell"])
def test_the_verdict_comes_first(make_run: MakeRun, outcome: str) -> None:
    folder = make_run(outcome)
    page = Page(write_report(folder))
    sentence = read_json(folder / "eval" / "proof.json")["verdict"]["sentence"]
    assert page.of("h1") == [sentence]
    assert outcome in page.of("span")
    assert page.source.index("<h1>") < page.source.index("<h2>")
    assert "47 min 54 s" in page.of("dd")
    assert "5 draws" in page.of("dd")
    assert "of labels, scored on 25,000 items" in page.of("dd")
    assert page.open == []
    told = json.loads((folder / "report.json").read_text())
    assert (told["headline"]["outcome"], told["headline"]["sentence"]) == (outcome, sentence)
    assert (folder / "report.md").read_text().startswith(f"# {outcome}\n\n{sentence}\n")
    assert ("about 900" in page.of("dd")) == (outcome == "cannot tell")


def test_every_chart_has_its_table(paid: Path) -> None:
    page = Page(paid / "report.html")
    assert page.tags.count("svg") == 7 + 1
    assert page.tags.count("figure") == page.tags.count("figcaption") == 7
    assert page.of("summary").count("The figures") == 7
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    labelled = [value for name, value in page.attributes if name == "aria-labelledby"]
    assert len(labelled) == 7
    assert set(labelled) <= set(ids)
    for name, *_ in ARMS:
        assert page.of("th").count(name) == 2
    for n in LABELS:
        assert f"{n:,} labels" in page.of("text")


def test_charts_have_no_colours_or_fonts_of_their_own(paid: Path) -> None:
    drawings = re.findall(r"<svg viewBox.*?</svg>", (paid / "report.html").read_text(), flags=re.DOTALL)
    assert len(drawings) == 8
    for drawing in drawings:
        assert not re.search(r"(fill|stroke): ?#(?!000000|ffffff)", drawing)
        assert "DejaVu" not in drawing
        assert "var(--" in drawing


def test_nothing_is_fetched_and_it_is_small(paid: Path) -> None:
    path = paid / "report.html"
    page = Page(path)
    assert path.stat().st_size < 300_000
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:image/png;base64,", "#"))
    assert "@import" not in page.source
    assert re.findall(r"url\((?!#)", page.source) == []
    assert "PingFang SC" in page.source
    assert "prefers-color-scheme:dark" in page.source
    assert "@media print" in page.source


def test_the_same_input_gives_the_same_bytes(paid: Path) -> None:
    names = ("report.html", "report.json", "report.md")
    before = [(paid / name).read_bytes() for name in names]
    write_report(paid)
    assert [(paid / name).read_bytes() for name in names] == before


def test_what_users_wrote_is_only_ever_text(make_run: MakeRun) -> None:
    folder = make_run(name="run-<b>-1")
    proof = read_json(folder / "eval" / "proof.json")
    proof["arms"][3]["name"] = HOSTILE
    proof["verdict"]["sentence"] = HOSTILE
    proof["detail"]["confusion"]["classes"] = [HOSTILE, "b"]
    proof["worst"] = [{**item, "key": HOSTILE, "truth": HOSTILE, "predicted": HOSTILE} for item in proof["worst"]]
    proof["worst"][1]["preview"] = '<img alt="" onerror="alert(1)" src="data:image/svg+xml;base64,PHN2Zz4=">'
    change(folder / "eval" / "proof.json", **{k: v for k, v in proof.items() if k != "xxh3"})
    hostile_rows = [{"key": HOSTILE, "reason": HOSTILE}]
    change(folder / "data.json", understood=[HOSTILE], labels={HOSTILE: 4, "b": 2}, quarantined=hostile_rows)
    change(folder / "run.json", command=HOSTILE, environment={HOSTILE: HOSTILE}, started=HOSTILE)
    change(folder / "plan.json", reasons=[HOSTILE], objective=HOSTILE)
    page = Page(write_report(folder))
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.tags.count("img") == 1
    assert page.of("h1") == [HOSTILE]
    assert page.of("pre")[0] == HOSTILE
    assert HOSTILE in page.of("text")
    assert page.source.count("alert(1)") >= 10


def test_previews_are_text_or_png() -> None:
    png = "data:image/png;base64," + base64.b64encode(b"x" * 90).decode()
    assert picture(f'<img alt="" width="64" src="{png}">') == {"image": png}
    assert picture(f'<img src="{png}" onerror="x()"><b>') == {"text": f'<img src="{png}" onerror="x()"><b>'}
    assert picture("a &lt;b&gt; &amp; c") == {"text": "a <b> & c"}
    assert picture("x" * 1000) == {"text": "x" * 400 + " …"}
    huge = "data:image/png;base64," + "A" * 50_000
    assert picture(f'<img src="{huge}">') == {"text": "(picture too large to show)"}


def test_the_data_card_adds_up(make_run: MakeRun) -> None:
    folder = make_run(proof=False)
    page = Page(write_report(folder))
    shown = {"99,572", "414", "9", "5", "100,000", "70,800", "3,772", "25,000", "24,900", "24,672"}
    assert shown <= set(page.of("td"))
    assert "do not add up" not in page.source
    assert "holds <NUL> bytes" in page.of("td")
    counts = {"used": 10, "duplicate": 1, "total": 12}
    change(folder / "data.json", counts=counts)
    assert "These counts do not add up." in Page(write_report(folder)).source


def test_a_run_without_a_comparison_says_what_was_learnt(make_run: MakeRun) -> None:
    folder = make_run(proof=False, name="pretrain-imdb-1")
    page = Page(write_report(folder))
    assert page.of("h1")[0].startswith("Pretraining has learnt from the data: after 4,000 steps its loss on validation")
    assert "against 7.100 by chance (40% lower)" in page.of("h1")[0]
    assert "Nothing here was compared with a baseline. `seedbed prove` does that." in page.of("li")
    assert page.tags.count("figure") == 2
    assert "Comparison" not in page.of("h2")


def test_a_run_that_learnt_nothing_says_so(make_run: MakeRun) -> None:
    folder = make_run(proof=False)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    flat = [{**line, "loss": 7.1} for line in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in flat))
    page = Page(write_report(folder))
    assert page.of("h1")[0].startswith("Pretraining has learnt nothing")
    assert "learnt nothing" in page.of("span")
    assert any("Nothing learnt:" in text for text in page.of("li"))


def test_reproduction_shows_command_config_versions_and_seed(paid: Path) -> None:
    page = Page(paid / "report.html")
    command, config = page.of("pre")
    assert command == "seedbed run imdb --label label --minutes 60 --seed 7"
    assert config == (paid / "config.toml").read_text().strip()
    assert "planner: 51,000 tokens/s measured" in config
    assert {"7", "3.11.7", "2.13.0"} <= set(page.of("td"))
    assert "6f0c5a3d9e" in page.of("code")


def test_the_command_is_read_back_from_the_origins(make_run: MakeRun) -> None:
    folder = make_run(proof=False, name="pretrain-a b-1")
    change(folder / "run.json", command="")
    flags = {
        "label": "the label",
        "minutes": 1.5,
        "data": {"unit": "line"},
        "prove": {"labels": [50]},
        "objective_options": {"rate": 0.5},
    }
    layers: list[tuple[str, dict[str, Any]]] = [("file my run.toml", {"seed": 3}), ("flag", flags), ("planner: x", {})]
    (folder / "config.toml").write_text(dump_toml(resolve(layers)))
    page = Page(write_report(folder))
    assert page.of("pre")[0] == (
        "seedbed pretrain DATA --minutes 1.5 --config 'my run.toml' --label 'the label' "
        "--set data.unit=line --set 'prove.labels=[50]' --set objective_options.rate=0.5"
    )
    assert "seedbed pretrain DATA --config 'pretrain-a b-1/config.toml'" in page.of("code")


def test_many_classes_stay_small(make_run: MakeRun) -> None:
    folder = make_run()
    size = 120
    counts = [[400 - abs(i - j) if i == j else (i * j) % 7 for j in range(size)] for i in range(size)]
    worst = [{"key": "k", "truth": "a", "predicted": "b", "confidence": 0.9, "preview": "y" * 9000}] * 500
    change(
        folder / "eval" / "proof.json",
        detail={"confusion": {"classes": [f"c{i}" for i in range(size)], "counts": counts}},
        worst=worst,
    )
    change(folder / "data.json", labels={f"c{i}": i + 1 for i in range(size)})
    path = write_report(folder)
    page = Page(path)
    assert f"{size - MAX_CLASSES} classes that are confused less often are not shown." in page.of("p")
    assert "and 90 more." in page.of("p")
    assert any("The classes are uneven" in text for text in page.of("li"))
    assert path.stat().st_size < 300_000


def test_an_unfinished_or_empty_run(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(proof=False)
    for name in ("run.json", "plan.json", "config.toml", "data.json"):
        (folder / name).unlink()
    assert "unfinished" in write_report(folder).read_text()
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(DataError, match="nothing to report"):
        write_report(folder)
    with pytest.raises(DataError, match="nothing to report"):
        write_report(tmp_path / "nowhere")


def test_damage_is_named(make_run: MakeRun) -> None:
    folder = make_run()
    path = folder / "eval" / "proof.json"
    path.write_text(path.read_text().replace('"confidence": 0.95', '"confidence": 0.99', 1))
    with pytest.raises(DataError, match=r"proof\.json"):
        write_report(folder)
    write_json(path, {"confidence": 0.95})
    with pytest.raises(DataError, match="does not hold a comparison"):
        write_report(folder)
