"""Fine-tuning begins with a checkpoint of another library as it does with a run, in one command."""

from __future__ import annotations

import json
import os
import re
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seedbed.core.extras import EXTRAS
from seedbed.models.folder import load_encoder
from seedbed.verbs import start
from tests.models.checkpoints import FAMILY_CLASSES, save_checkpoint, save_preprocessor, save_tokenizer
from tests.models.test_keras import write_new
from tests.verbs.conftest import Kept
from tests.verbs.making import BAD, COMMON, GOOD, Shell, digit_folders, reviews, write_csv

pytestmark = pytest.mark.filterwarnings("ignore")
FEW = ("--threads", "1", "--set", "pretrain.precision=float32", "--set", "finetune.batch_size=20")
WORDS = [*GOOD, *BAD, *COMMON]


def make(folder: Path, family: str, **told: Any) -> Path:
    """A checkpoint with what prepares its inputs."""
    save_checkpoint(folder, family)
    if family in ("vit", "resnet"):
        save_preprocessor(folder, **told)
    else:
        save_tokenizer(folder, WORDS)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("hub") / "bert", "bert")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("data") / "t.csv", reviews(40))


@pytest.mark.parametrize("family", [pytest.param(name, marks=pytest.mark.slow) for name in FAMILY_CLASSES])
def test_one_command_fine_tunes_every_family(family: str, shell: Shell, table: Path, tmp_path: Path) -> None:
    checkpoint = make(tmp_path / family, family)
    text = family not in ("vit", "resnet")
    data = table if text else digit_folders(tmp_path / "digits", each=12)
    label = ("--label", "label") if text else ()
    out = tmp_path / "r"
    told = shell.ok("finetune", checkpoint, data, *label, "--out", out, *FEW)
    assert f"{family}: {FAMILY_CLASSES[family][1]} of transformers" in told.out
    shutil.rmtree(checkpoint)
    # Every family has gone to ONNX in the tests of export.
    for form in ("hf", "onnx")[: 2 if family in ("bert", "vit") else 1]:
        gate = shell.ok("export", out, "--to", form, "--out", tmp_path / form, "--json").json["summary"]["gate"]
        assert gate["passed"] and ("texts_with_equal_ids" in gate) == (text and form == "hf")
    assert f"{family}: " not in shell.ok("export", out, "--to", "safetensors", "--out", tmp_path / "st").out
    inputs = ["bright charming story"] if text else [next(data.rglob("*.png"))]
    answer = shell.ok("predict", out, *inputs, "--json").json["summary"]["predictions"][0]
    assert answer["label"] in (("good", "bad") if text else ("0", "1", "2"))
    scored = shell.ok("evaluate", out, data, *label, "--json").json["summary"]
    assert 0 <= scored["accuracy"] <= 1


@pytest.mark.slow
def test_load_freeze_new_head_fine_tune(shell: Shell, bert: Path, table: Path, tmp_path: Path) -> None:
    words = ("--label", "label", "--freeze", "encoder", "--out", tmp_path / "r", *FEW)
    told = shell.ok("finetune", bert, table, *words)
    assert "with its tokenizer of 40 entries" in told.out
    (run,) = (tmp_path / "r").glob("finetune-*")
    encoder, facts, extra = load_encoder(run / "model")
    before = start.open_start(bert, {}, lambda event, **_: None)
    for (name, ours), theirs in zip(
        encoder.state_dict().items(), before.model.encoder.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert facts.classes == ("bad", "good") and extra["tokenizer"]
    head = [name for name in (run / "plan.json").read_text().split('"') if name == "encoder"]
    assert head and json.loads((run / "plan.json").read_text())["weights"] == before.identity()["weights"]
    # the prepared data hold the checkpoint's tokenizer, which is that of the model too
    (kept,) = (tmp_path / "r" / "data").glob("*/tokenizer.json")
    assert kept.read_bytes() == (run / "model" / "tokenizer.json").read_bytes()
    assert "finished before" in shell.ok("finetune", bert, table, *words).out
    partly = ("--label", "label", "--freeze", "embeddings", "--freeze", "encoder.layer.0", "--out", tmp_path / "r")
    shell.ok("finetune", bert, table, *partly, *FEW)
    assert "matches no parameter" in shell.refused(2, "finetune", bert, table, *words[:3], "layer.9", *words[4:])


def test_other_weights_in_the_same_folder_are_another_run(
    shell: Shell, bert: Path, table: Path, tmp_path: Path
) -> None:
    shutil.copytree(bert, tmp_path / "bert")
    words = ("--label", "label", "--out", tmp_path / "r", *FEW, "--dry-run", "--json")
    assert shell.ok("finetune", tmp_path / "bert", table, *words).json["summary"]["labels"] == {"bad": 20, "good": 20}
    first = start.open_start(tmp_path / "bert", {}, lambda event, **_: None).identity()
    torch.manual_seed(9)
    save_checkpoint(tmp_path / "bert", "bert")
    assert start.open_start(tmp_path / "bert", {}, lambda event, **_: None).identity() != first


def test_the_user_may_bring_images_to_their_size_in_another_way(tmp_path: Path) -> None:
    told = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 28}, "crop_pct": 0.875}
    folder = make(tmp_path / "resnet", "resnet", **told)

    def layers(**data: Any) -> dict[str, Any]:
        return dict(start.open_start(folder, {"data": data}, lambda event, **_: None).layers[0][1]["data"])

    assert layers() == {"image_size": 28, "image_fit": "shorter", "image_resample": "bilinear", "image_crop": 0.875}
    assert "image_crop" not in layers(image_fit="stretch") and "image_crop" in layers(image_fit="shorter")


@pytest.mark.slow
def test_a_file_of_keras(shell: Shell, tmp_path: Path) -> None:
    write_new(tmp_path / "resnet50_notop.h5")
    data, words = digit_folders(tmp_path / "digits", each=6), ("--set", "data.image_size=32", "--freeze", "encoder")
    told = shell.ok("finetune", tmp_path / "resnet50_notop.h5", data, "--out", tmp_path / "r", *FEW, *words)
    assert "keras resnet50" in told.out and "its top is left out" in told.out
    (tmp_path / "resnet50_notop.h5").unlink()
    answer = shell.ok("predict", tmp_path / "r", next(data.rglob("*.png")), "--json").json["summary"]["predictions"][0]
    assert answer["label"] in ("0", "1", "2")


REFUSED: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), 3, "tokenizer.json is missing"),
    "tokenizer of another": (
        lambda folder: edit(folder / "config.json", vocab_size=30), 3, "belongs to another model",
    ),
    "tokenizer damaged": (
        lambda folder: (folder / "tokenizer.json").write_text("{}"), 3, "cannot be read as a tokenizer",
    ),
    "tokenizer without end": (
        lambda folder: os.truncate(folder / "tokenizer.json", 1 << 28), 3, "at most 134,217,728 are read",
    ),
    "pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), 3, "as a pickle",
    ),
    "code": (lambda folder: edit(folder / "config.json", auto_map={"AutoModel": "x.Y"}), 2, "wants to run code"),
    "architecture": (lambda folder: edit(folder / "config.json", model_type="mamba"), 2, "'mamba' cannot come in"),
}  # fmt: skip


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("fault", REFUSED)
def test_bad_checkpoints_are_refused(fault: str, shell: Shell, bert: Path, table: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "bert")
    spoil, code, words = REFUSED[fault]
    spoil(tmp_path / "bert")
    told = shell.refused(code, "finetune", tmp_path / "bert", table, "--label", "label", "--out", tmp_path / "r")
    assert words in told
    assert not (tmp_path / "r").exists()


def test_templates_are_not_even_read(shell: Shell, bert: Path, table: Path, tmp_path: Path) -> None:
    """Those of chats are programs; a checkpoint's text around its words stands in tokenizer.json."""
    shutil.copytree(bert, tmp_path / "bert")
    hostile = {"chat_template": "{{ ''.__class__.__mro__[1].__subclasses__() }}", "auto_map": {"AutoTokenizer": "x.Y"}}
    for content in (json.dumps(hostile), "[" * 200_000):
        (tmp_path / "bert" / "tokenizer_config.json").write_text(content)
        (tmp_path / "bert" / "chat_template.jinja").write_text("{% for x in range(10**9) %}{% endfor %}")
        words = ("--label", "label", "--out", tmp_path / "r", "--dry-run")
        assert shell.ok("finetune", tmp_path / "bert", table, *words, "--json").json["summary"]["labels"]


def test_data_of_another_kind(shell: Shell, bert: Path, images: Kept, tmp_path: Path) -> None:
    told = shell.refused(3, "finetune", bert, images.data, "--out", tmp_path / "r")
    assert "reads text, these data are image" in told


def test_without_the_extra_nothing_begins(
    shell: Shell, bert: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, "hub", ("no_such_package",))
    told = shell.refused(4, "finetune", bert, table, "--label", "label", "--out", tmp_path / "r")
    assert "pip install 'seedbed[hub]'" in told and not (tmp_path / "r").exists()


class TestDownloads:
    def test_only_when_asked_for(self, shell: Shell, table: Path, tmp_path: Path) -> None:
        told = shell.refused(2, "finetune", "hf:owner/name", table, "--out", tmp_path / "r")
        assert "would have to be downloaded" in told and "--allow-download" in told
        told = shell.refused(2, "finetune", "hf:../../etc", table, "--allow-download", "--out", tmp_path / "r")
        assert "is no name of a checkpoint" in told

    def test_only_what_is_needed(
        self, shell: Shell, bert: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []

        def fetch(name: str, **given: Any) -> str:
            asked.append((name, given))
            return str(bert)

        monkeypatch.setattr(start, "importlib", fake(fetch))
        words = ("--label", "label", "--out", tmp_path / "r", "--allow-download", "--dry-run")
        shell.ok("finetune", "hf:owner/name@abc123", table, *words)
        assert asked == [("owner/name", {"revision": "abc123", "allow_patterns": ["*.json", "*.safetensors"]})]

    def test_what_cannot_be_had(self, shell: Shell, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fetch(name: str, **given: Any) -> str:
            raise OSError("no route to host")

        monkeypatch.setattr(start, "importlib", fake(fetch))
        told = shell.refused(3, "finetune", "hf:owner/name", table, "--allow-download")
        assert "cannot be downloaded" in told and re.search("no route to host", told)


def fake(fetch: Callable[..., str]) -> Any:
    return types.SimpleNamespace(import_module=lambda name: types.SimpleNamespace(snapshot_download=fetch))
