"""Exports and reports of runs, what has no class elsewhere, and the gate that every export passes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seedbed.core import extras
from seedbed.core.runs import Run
from seedbed.export.tensors import export_safetensors
from seedbed.models.folder import write_folder
from seedbed.verbs import export as verb
from tests.verbs.conftest import Kept
from tests.verbs.making import CHEAP_PROOF, QUICK, SAME, Shell, reviews, write_csv


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose trunk has a class elsewhere."""
    from seedbed.cli.app import execute

    root = tmp_path_factory.mktemp("transformer")
    data = write_csv(root / "d" / "t.csv", reviews(40))
    words = ["--objective", "masked_lm", "--seed", "7", "--out", str(root / "r"), *QUICK, "--steps", "2"]
    smaller = ["--set", "pretrain.batch_size=4", "--set", "pretrain.seq_len=16"]
    assert execute(["pretrain", str(data), *words, *smaller]) == 0
    return root / "r"


@pytest.mark.slow
def test_a_text_transformer_to_every_format(shell: Shell, transformer: Path, tmp_path: Path) -> None:
    told = shell.ok("export", transformer, "--to", "hf", "--out", tmp_path / "hf")
    assert f"folder: {tmp_path / 'hf'}" in told.out and "gate: passed True" in told.out
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["architectures"]
    assert (tmp_path / "hf" / "model.safetensors").is_file() and (tmp_path / "hf" / "tokenizer.json").is_file()
    gate = json.loads((tmp_path / "hf" / "export.json").read_text())["gate"]
    assert gate["passed"] and gate["texts_with_equal_ids"] == 24 and gate["largest_difference"] <= 1e-5
    assert gate["inputs"] == "24 rows of the run"
    told = shell.ok("export", transformer, "--to", "onnx", "--out", tmp_path / "onnx", "--json")
    assert told.json["summary"]["files"] == {"encoder.onnx": ["states", "pooled"]}
    assert told.json["summary"]["gate"]["passed"] and (tmp_path / "onnx" / "tokenizer.json").is_file()


@pytest.mark.slow
def test_a_causal_run_is_checked_as_one(shell: Shell, transformer: Path, tmp_path: Path) -> None:
    data = transformer.parent / "d" / "t.csv"
    words = ("--objective", "causal_lm", "--out", tmp_path / "r", *QUICK, "--steps", "2")
    shell.ok("pretrain", data, *words, "--set", "pretrain.batch_size=4", "--set", "pretrain.seq_len=16")
    told = shell.ok("export", tmp_path / "r", "--to", "hf", "--out", tmp_path / "hf", "--json")
    assert told.json["summary"]["class"] == "LlamaForCausalLM" and told.json["summary"]["gate"]["passed"]


@pytest.mark.slow
def test_a_masked_autoencoder_goes_whole(shell: Shell, images: Kept, tmp_path: Path) -> None:
    place = ("--set", "data.image_size=16", "--out", tmp_path / "r")
    few = ("--steps", "3", "--set", "objective_options.hidden=0.5", "--set", "pretrain.batch_size=8")
    words = ("--objective", "masked_image", *QUICK, *few, *place)
    shell.ok("pretrain", images.data, *words)
    (run,) = (tmp_path / "r").glob("pretrain-*")
    told = shell.ok("export", run, "--to", "hf", "--out", tmp_path / "hf", "--json").json["summary"]
    assert told["class"] == "ViTModel" and told["autoencoder"] == "ViTMAEForPreTraining" and told["gate"]["passed"]
    whole = json.loads((tmp_path / "hf" / "autoencoder" / "config.json").read_text())
    assert whole["mask_ratio"] == 0.5 and whole["decoder_num_hidden_layers"] == 1
    # A run that takes over its encoder exports the same decoder; what was trained further has none.
    shell.ok("run", images.data, *words, *CHEAP_PROOF)
    (proven,) = (tmp_path / "r").glob("run-*")
    there, taken = (verb._subject(folder).autoencoder() for folder in (run, proven))
    assert there is not None and taken is not None
    pixels, kept = torch.zeros(2, *there.facts.image_shape, dtype=torch.uint8), torch.ones(2, dtype=torch.bool)
    assert torch.equal(there(pixels, kept), taken(pixels, kept))
    shell.ok("finetune", run, images.data, *SAME, *place)
    (tuned,) = (tmp_path / "r").glob("finetune-*")
    assert verb._subject(tuned).autoencoder() is None
    # A decoder that changes is noticed: everything is checked before it is handed out.
    damage(run / "decoder" / "model.safetensors")
    assert "does not match the hash" in shell.refused(3, "export", run, "--to", "hf", "--out", tmp_path / "x")


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_a_classifier_goes_to_onnx_with_its_head(shell: Shell, texts: Kept, images: Kept, tmp_path: Path) -> None:
    for kept, classes in ((texts, ["bad", "good"]), (images, ["0", "1", "2"])):
        out = tmp_path / kept.data.stem
        told = shell.ok("export", kept.run("finetune"), "--to", "onnx", "--out", out, "--json")
        assert told.json["summary"]["files"] == {"encoder.onnx": ["states", "pooled"], "model.onnx": ["logits"]}
        assert told.json["summary"]["classes"] == classes and told.json["summary"]["gate"]["passed"]
        assert (out / "tokenizer.json").is_file() == kept.data.is_file()


def test_safetensors_hold_every_trunk(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    told = shell.ok("export", texts.run("finetune"), "--to", "safetensors", "--out", tmp_path / "st", "--json")
    names = {"encoder.safetensors", "head.safetensors", "config.json", "tokenizer.json", "export.json"}
    assert {path.name for path in (tmp_path / "st").iterdir()} == names
    gate = told.json["summary"]["gate"]
    assert gate["passed"] and gate["inputs"] == "24 rows of the run" and gate["largest_difference"] <= 1e-6


def test_where_a_classic_arm_won_the_encoder_is_exported(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    shutil.copytree(texts.run("pretrain"), tmp_path / "run-t-1")
    (tmp_path / "run-t-1" / "model").rename(tmp_path / "run-t-1" / "encoder")
    write_folder(tmp_path / "run-t-1" / "model", {}, {"arm": "tfidf"})
    told = shell.ok("export", tmp_path / "run-t-1", "--to", "safetensors", "--out", tmp_path / "st", "--json")
    assert told.json["summary"]["files"] == ["encoder.safetensors", "config.json"]
    assert "drawn inputs" in told.json["summary"]["gate"]["inputs"]


def test_a_failing_gate_leaves_nothing(
    shell: Shell, texts: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(*given: Any) -> list[str]:
        files = export_safetensors(*given)
        (tmp_path / "st").mkdir(exist_ok=True)
        for path in tmp_path.glob(".tmp-st-*/encoder.safetensors"):
            path.write_bytes(path.read_bytes()[:-4])
        return files

    monkeypatch.setattr(verb, "export_safetensors", forgetful)
    told = shell.refused(4, "export", texts.run("pretrain"), "--to", "safetensors", "--out", tmp_path / "st")
    assert "failed its check, and nothing is left" in told
    assert not list(tmp_path.iterdir())


def test_without_the_library_that_reads_it(
    shell: Shell, transformer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "missing", lambda extra: ["transformers"])
    told = shell.ok("export", transformer, "--out", tmp_path / "hf")
    assert "is not checked: transformers" in told.out and "seedbed[hub]" in told.out
    assert json.loads((tmp_path / "hf" / "export.json").read_text())["gate"]["passed"] is None
    monkeypatch.setitem(extras.EXTRAS, "export", ("no_such_package",))
    told_wrong = shell.refused(4, "export", transformer, "--to", "onnx", "--out", tmp_path / "onnx")
    assert "pip install 'seedbed[export]'" in told_wrong and not (tmp_path / "onnx").exists()


def test_a_trunk_without_a_class_elsewhere(shell: Shell, texts: Kept, images: Kept, tmp_path: Path) -> None:
    for kept, trunk in ((texts, "bag"), (images, "mlp")):
        told = shell.refused(2, "export", kept.out, "--out", tmp_path / "hf")
        assert f'The trunk "{trunk}"' in told and "--trunk transformer" in told
    assert not (tmp_path / "hf").exists()


def test_formats_and_targets(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    assert "There is no format" in shell.refused(2, "export", texts.out, "--to", "h5", "--out", tmp_path / "hf")
    assert "no such run folder" in shell.refused(2, "export", tmp_path / "nothing", "--out", tmp_path / "hf")


def test_the_report_is_written_again(shell: Shell, texts: Kept) -> None:
    page = texts.run("finetune") / "report.html"
    before = page.read_bytes()
    told = shell.ok("report", texts.run("finetune"), "--json")
    assert told.json["report"] == str(page) and page.read_bytes() == before
    assert len(before) < 2_000_000


def test_the_log_goes_to_tensorboard(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    folder = texts.run("pretrain")
    summary = shell.ok("export", folder, "--to", "tensorboard", "--out", tmp_path / "tb", "--json").json["summary"]
    events = Run(folder).events()
    steps = [event for event in events if event["event"] == "step"]
    assert summary["points"]["pretrain/step/loss"] == len(steps) >= 10
    read = EventAccumulator(str(tmp_path / "tb"))
    read.Reload()
    scalars = read.Scalars("pretrain/step/loss")
    assert [(point.step, point.value) for point in scalars] == [
        (event["step"], pytest.approx(event["loss"], rel=1e-6)) for event in steps
    ]
    assert read.Scalars("pretrain/evaluation/chance")[0].value > 0


def test_a_run_without_a_log_has_nothing_for_tensorboard(shell: Shell, texts: Kept, tmp_path: Path) -> None:
    folder = shutil.copytree(texts.run("pretrain"), tmp_path / "run")
    (folder / "metrics.jsonl").unlink()
    assert "has logged nothing" in shell.refused(3, "export", folder, "--to", "tensorboard", "--out", tmp_path / "tb")
