"""Preparing without training; data that grow, are labelled later, or lose a row on request."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import seedbed
from seedbed.core.errors import DataError
from seedbed.core.runs import Run
from seedbed.data.split import OUT, TEST, TRAIN
from seedbed.data.store import Prepared, load

from .making import CHEAP_PROOF, NANO, SAME, Shell, digit_folders, reviews, write_csv

HEAD = ("text", "label", "who")
Rows = list[tuple[str, str, str]]


def grouped(num: int, seed: int = 0) -> Rows:
    """Reviews, three of each writer."""
    return [(text, label, f"writer {row // 3}") for row, (text, label) in enumerate(reviews(num, seed))]


def prepared(told: str) -> Prepared:
    """The data whose folder a command printed last."""
    return load(folder_of(told))


def folder_of(told: str) -> Path:
    """The run folder that a command printed."""
    return Path(told.rsplit("folder: ", 1)[1].splitlines()[0])


def by_text(data: Prepared) -> dict[str, int]:
    texts = data.raw(np.arange(len(data)))
    return dict(zip(map(str, texts), data.splits.tolist(), strict=True))


def test_prepared_once_for_all_that_follow(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "t.csv", grouped(120), HEAD)
    words = (data, "--out", tmp_path / "r", "--set", "data.group=who")
    told = shell.ok("prepare", *words)
    made = prepared(told.out)
    assert made.verify() > 5 and f"dataset_id: {made.dataset_id}" in told.out
    assert "labels: bad 60, good 60" in told.out and "splits: train " in told.out and "tokens: total " in told.out
    again = shell.ok("prepare", *words, "--json").json["summary"]
    assert again["dataset_id"] == made.dataset_id and sum(again["splits"].values()) == 120
    assert seedbed.prepare(data, out=tmp_path / "r", data={"group": "who"}).summary == again
    shell.ok("pretrain", *words, *NANO, "--steps", "2")
    assert len(list((tmp_path / "r" / "data").glob("*/manifest.json"))) == 1, "training uses what was prepared"
    images = shell.ok("prepare", digit_folders(tmp_path / "d", each=6), "--out", tmp_path / "i")
    assert "images: 8 x 8 pixels in 1 channel" in images.out and "tokens" not in images.out


def test_a_dry_run_prepares_nothing(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "t.csv", reviews(20))
    assert "tokenizer: word" in shell.ok("prepare", data, "--out", tmp_path / "r", "--dry-run").out
    assert not (tmp_path / "r").exists()
    assert "There is no file" in shell.refused(3, "prepare", tmp_path / "none.csv", "--out", tmp_path / "r")


@pytest.mark.parametrize("seed", [0, 1])
def test_old_rows_keep_their_split_and_new_ones_join_them(seed: int, shell: Shell, tmp_path: Path) -> None:
    old = grouped(150, seed)
    data = write_csv(tmp_path / "t.csv", old, HEAD)
    words = ("prepare", data, "--out", tmp_path / "r", "--set", "data.group=who", "--seed", str(seed))
    before = by_text(prepared(shell.ok(*words).out))
    writer_of = {text: who for text, _, who in old}
    tested = [text for text, code in before.items() if code == TEST]
    gone = [row for row in old if row[2] == writer_of[tested[0]]]
    news: Rows = [(f"{text} once more {seed}", label, who) for text, label, who in old[::7]]
    news += [(f"a stranger wrote this {at} {seed}", "good", f"stranger {at}") for at in range(60)]
    copies: Rows = [(tested[3].upper(), "good", "copyist"), (f"{tested[4]} ", "bad", "copyist")]
    late: Rows = [("one more of a writer whose other rows are gone", "bad", gone[0][2])]
    kept = [row for row in old if row not in gone]
    draw = np.random.default_rng(seed)
    grown = [*kept, *news, *copies, *late]
    write_csv(data, [grown[row] for row in draw.permutation(len(grown))], HEAD)
    told = shell.ok(*words).out
    assert f"+{len(news) + 1} -{len(gone)} rows, +" in told and "old rows keep their split" in told
    after = by_text(prepared(told))
    assert {text: after[text] for text, _, _ in kept if text in after}.items() <= before.items()
    assert sum(text in after for text, _, _ in kept) >= len(kept) - 2, "of a row and its copy, one is used"
    for text, _, who in news:
        members = {before[row] for row in before if writer_of[row] == who}
        assert not members or after[text] in members
    for copy, _, _ in copies:
        assert {after[text] for text in after if text.lower().strip() == copy.lower().strip()} == {TEST}
    assert after[late[0][0]] == TEST, "the split of a group outlives its rows"
    assert TRAIN in after.values() and OUT not in after.values()


def test_rows_removed_on_request_stay_out(shell: Shell, tmp_path: Path) -> None:
    rows = reviews(60)
    data = write_csv(tmp_path / "t.csv", [*rows, (rows[4][0].upper(), "good")])
    words = (data, "--out", tmp_path / "r")
    run = folder_of(shell.ok("pretrain", *words, *NANO, "--steps", "2").out)
    trained = load(tmp_path / "r" / "data" / Run(run).read_json("data.json")["folder"])
    row = int(trained.rows(split="train")[0])
    key, text = trained.keys[row], str(trained.raw(np.array([row]))[0])
    dry = shell.ok("prepare", *words, "--remove", key, "--dry-run", "--json").json["summary"]
    assert dry["removed"] == [key] and len(prepared(shell.ok("prepare", *words).out)) == 60
    told = shell.ok("prepare", *words, "--remove", key)
    assert "1 row removed on request" in told.out and "+0 -1 rows" in told.out
    assert f"stays in the weights of {run}" in told.out and f"still hold them: {trained.folder}" in told.out
    for given in (rows, rows[::-1], [*rows, *reviews(20, 1)]):
        write_csv(data, [*given, (text.upper(), "good")])
        again = prepared(shell.ok("prepare", *words).out)
        assert text not in again.raw(np.arange(len(again))) and len(again) == len(given) - 1
        fates = [line for line in again.fates().to_pylist() if line["reason"] == "removed on request"]
        assert len(fates) == 2 and {line["fate"] for line in fates} == {"excluded"}
        assert again.counts["total"] == len(given) + 1 == sum(again.counts.values()) - again.counts["total"]
    assert "removed on request" in shell.ok("check", *words).out


def test_many_rows_are_removed_by_a_file_of_keys_or_a_file_of_the_data(shell: Shell, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        write_csv(tmp_path / "d" / f"{name}.csv", reviews(30, seed))
    words = ("prepare", tmp_path / "d", "--out", tmp_path / "r")
    (tmp_path / "keys.txt").write_text("a.csv:2\n\na.csv:5\n")
    assert "2 rows removed" in shell.ok(*words, "--remove", tmp_path / "keys.txt").out
    assert "30 rows removed" in shell.ok(*words, "--remove", "b.csv").out
    assert "0 rows removed" in shell.ok(*words, "--remove", "a.csv:5").out, "removed before"
    told = shell.refused(3, *words, "--remove", "a.csv:33")
    assert 'No row has the key "a.csv:33"' in told and "Did you mean" in told
    write_csv(tmp_path / "d" / "a.csv", [*reviews(30), ("", "good")])
    told = shell.refused(3, *words, "--remove", "a.csv:32")
    assert "nothing to remove" in told and "a.csv:32: excluded, empty text" in told
    with pytest.raises(DataError, match="No row has the key"):
        seedbed.prepare(tmp_path / "d", out=tmp_path / "r", remove=["a.csv:3", "c.csv"])


@pytest.mark.slow
def test_new_labels_are_compared_anew_with_the_encoder_that_is_there(shell: Shell, tmp_path: Path) -> None:
    """Half of the rows are labelled first, then more of them; the encoder is the same, the comparison is new."""
    rows = reviews(400)
    sparse = [(text, label if row % 4 == 0 else "") for row, (text, label) in enumerate(rows)]
    data = write_csv(tmp_path / "t.csv", [(text, label or None) for text, label in sparse])  # type: ignore[misc]
    words = ("run", data, "--label", "label", "--out", tmp_path / "r", *NANO, "--steps", "5", *CHEAP_PROOF)
    first = folder_of(shell.ok(*words).out)
    more = [(text, label if row % 4 in (0, 1) else "") for row, (text, label) in enumerate(rows)]
    write_csv(data, more)
    told = shell.ok(*words)
    assert "+0 -0 rows, +100 labels against" in told.out
    assert f"The encoder of {first} was pretrained on these very rows: it is used again." in told.out
    second = folder_of(told.out)
    assert second != first and (second / "report.html").exists()
    weights = [(run / "encoder" / "model.safetensors").read_bytes() for run in (first, second)]
    assert weights[0] == weights[1] and Run(second).read_json("run.json")["summary"]["verdict"]["outcome"]
    assert "pretrain:" in shell.ok(*words, "--out", tmp_path / "other").out, "elsewhere there is nothing to use again"
    write_csv(data, [*more, *reviews(30, 2)])
    told = shell.ok(*words)
    assert "+30 -0 rows" in told.out and "used again" not in told.out


def test_new_labels_need_no_new_pretraining(shell: Shell, tmp_path: Path) -> None:
    rows = reviews(120)
    data = write_csv(tmp_path / "t.csv", [(text, label if row < 60 else "") for row, (text, label) in enumerate(rows)])
    words = ("pretrain", data, "--out", tmp_path / "r", *NANO, "--steps", "2")
    first = folder_of(shell.ok(*words).out)
    write_csv(data, [(text, label if row < 90 else "") for row, (text, label) in enumerate(rows)])
    told = shell.ok(*words).out
    assert "+0 -0 rows, +30 labels" in told and f"The encoder of {first} was pretrained on these very rows" in told
    second = folder_of(told)
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (first, second)]
    assert second != first and weights[0] == weights[1] and "pretrain:" not in told
    (first / "model" / "model.safetensors").write_bytes(weights[0][:-1] + b"?")
    (second / "run.json").unlink()
    write_csv(data, [(text, label if row < 100 else "") for row, (text, label) in enumerate(rows)])
    assert "used again" not in shell.ok(*words).out, "a damaged encoder is not used"


def test_fine_tuning_accepts_grown_data(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "t.csv", reviews(80))
    run = folder_of(shell.ok("pretrain", data, "--out", tmp_path / "r", *NANO, "--steps", "2").out)
    words = ("finetune", run, data, "--out", tmp_path / "r", *SAME)
    first = json.loads(shell.ok(*words, "--json").out.splitlines()[-1])
    write_csv(data, [*reviews(80), *reviews(40, 1)])
    told = shell.ok(*words, "--json")
    assert "+40 -0 rows, +40 labels" in told.err and "this is a new run" in told.err
    assert told.json["summary"]["labels"] > first["summary"]["labels"] and told.json["folder"] != first["folder"]
