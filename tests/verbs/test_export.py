"""Exports and reports of runs, and what has no class elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

from tests.verbs.conftest import Kept
from tests.verbs.making import QUICK, Shell, reviews, write_csv


def test_a_text_transformer_from_command_to_export(shell: Shell, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "d" / "t.csv", reviews(40))
    words = ("--objective", "masked_lm", "--seed", "7", "--out", tmp_path / "r", *QUICK, "--steps", "2")
    shell.ok("pretrain", data, *words, "--set", "pretrain.batch_size=4", "--set", "pretrain.seq_len=16")
    told = shell.ok("export", tmp_path / "r", "--to", "hf", "--out", tmp_path / "hf")
    assert f"folder: {tmp_path / 'hf'}" in told.out
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["architectures"]
    assert (tmp_path / "hf" / "model.safetensors").is_file() and (tmp_path / "hf" / "tokenizer.json").is_file()


def test_a_trunk_without_a_class_elsewhere(shell: Shell, texts: Kept, images: Kept, tmp_path: Path) -> None:
    for kept, trunk in ((texts, "bag"), (images, "mlp")):
        told = shell.refused(2, "export", kept.out, "--out", tmp_path / "hf")
        assert f'The trunk "{trunk}"' in told and "--trunk transformer" in told
    assert not (tmp_path / "hf").exists()


def test_formats_and_targets(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    assert "There is no format" in shell.refused(2, "export", texts.out, "--to", "onnx", "--out", tmp_path / "hf")
    assert "no such run folder" in shell.refused(2, "export", tmp_path / "nothing", "--out", tmp_path / "hf")


def test_the_report_is_written_again(shell: Shell, texts: Kept) -> None:
    page = texts.run("finetune") / "report.html"
    before = page.read_bytes()
    told = shell.ok("report", texts.run("finetune"), "--json")
    assert told.json["report"] == str(page) and page.read_bytes() == before
    assert len(before) < 2_000_000
