"""ONNX files compute what the networks compute, for batches and lengths that were never traced."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from seedbed.core.errors import UsageError
from seedbed.core.types import Facts, Task
from seedbed.export.gate import difference
from seedbed.export.onnx import Logits, States, export_onnx
from seedbed.models.encoder import Encoder, available_trunks, build_encoder, make_spec
from seedbed.models.hub import load_checkpoint
from seedbed.tasks.classify import Classify, Config
from tests.export.making import facts_of, livened, words
from tests.models.checkpoints import FAMILY_CLASSES, save_checkpoint

SHAPES = [(1, 1), (1, 9), (4, 30), (7, 2)]
# The cheapest in the quick tier; the exporter takes seconds for a trunk.
QUICK = (("text", "bag"), ("image", "mlp"), ("vector", "mlp"))


def kinds() -> list[Any]:
    """Every trunk on every modality it reads."""
    stems = {trunk: importlib.import_module(f"seedbed.models.{trunk}").STEMS for trunk in available_trunks()}
    found = [(modality, trunk) for trunk, of in stems.items() for modality in of]
    assert len(found) >= 15 and set(QUICK) <= set(found)
    return [pytest.param(*kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in found]


def encoder_of(modality: str, trunk: str) -> Encoder:
    facts = facts_of(modality, words())
    # A second layer meets what the first one made of the length.
    one = make_spec(modality, trunk, "nano", facts)
    spec = make_spec(modality, trunk, "micro", facts) if one.options.get("depth") == 1 else one
    return livened(build_encoder(spec, facts))


def run(path: Path, **given: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in given.items()})


@pytest.mark.parametrize(("modality", "trunk"), kinds())
@torch.no_grad()
def test_encoder_and_classifier(modality: str, trunk: str, tmp_path: Path) -> None:
    encoder = encoder_of(modality, trunk)
    facts = facts_of(modality, words())
    counted = type(facts)(**{**vars(facts), "classes": ("a", "b", "c"), "class_counts": (1, 2, 3)})
    task: Task = Classify(Config(), nn.ModuleDict({modality: encoder}), counted).eval()
    names = export_onnx(States(encoder), facts, tmp_path / "encoder.onnx", 1024)
    assert names == ["states", "pooled"]
    assert export_onnx(Logits(task), facts, tmp_path / "model.onnx", 1024) == ["logits"]
    for size, length in SHAPES:
        if modality == "text":
            values = torch.randint(5, facts.vocab_size, (size, length))
            mask = (torch.arange(length) < torch.randint(1, length + 1, (size, 1))).long()
            given, ours = {"input_ids": values, "attention_mask": mask}, States(encoder)(values, mask)
        else:
            values, mask = torch.randint(0, 256, (size, *facts.image_shape), dtype=torch.uint8), None
            values = values if modality == "image" else torch.randn(values.shape)
            given, ours = {"pixels": values}, States(encoder)(values)
        states, pooled = run(tmp_path / "encoder.onnx", **given)
        whole = mask is None or mask.shape != ours[0].shape[:2]  # weighted words are one state for all of a text
        real = torch.ones(ours[0].shape[:2]) > 0 if mask is None or whole else mask > 0
        assert float((torch.from_numpy(states) - ours[0])[real].abs().max()) <= 1e-5
        assert float((torch.from_numpy(pooled) - ours[1]).abs().max()) <= 1e-5
        (logits,) = run(tmp_path / "model.onnx", **given)
        assert float((torch.from_numpy(logits) - Logits(task)(values, mask)).abs().max()) <= 1e-5


def test_what_the_exporter_does_not_know_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of("image", "mlp")

    def data_dependent(values: torch.Tensor, keep: torch.Tensor, causal: bool = False) -> torch.Tensor:
        return torch.zeros(1, 1, 1) if bool((values > 3).all()) else torch.ones(1, 1, 1)

    monkeypatch.setattr(encoder, "forward", data_dependent)
    with pytest.raises(UsageError, match="does something that the ONNX exporter does not know") as caught:
        export_onnx(States(encoder), facts_of("image", words()), tmp_path / "encoder.onnx")
    assert "safetensors" in caught.value.fix and caught.value.found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILY_CLASSES)
@torch.no_grad()
def test_checkpoints_that_came_in_go_out(family: str, tmp_path: Path) -> None:
    folder, _ = save_checkpoint(tmp_path / family, family)
    text = family not in ("vit", "resnet")
    facts = Facts("text", 50) if text else Facts("image", image_shape=(3, 16, 16))
    inputs = {"prefix": (2,), "suffix": (3,)} if text else {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.3)}
    encoder = load_checkpoint(folder, facts, inputs).encoder
    export_onnx(States(encoder), facts, tmp_path / "encoder.onnx", encoder.spec.options["context"])
    for size, length in ((1, 1), (1, 9), (4, 30), (7, 2)):
        values = torch.randint(5, 50, (size, length)) if text else torch.randint(0, 256, (size, 3, 16, 16)).byte()
        mask = (torch.arange(length) < torch.randint(1, length + 1, (size, 1))).long() if text else None
        given = {"pixels": values} if mask is None else {"input_ids": values, "attention_mask": mask}
        states, pooled = run(tmp_path / "encoder.onnx", **given)
        ours = States(encoder)(values, mask)
        whole = mask is None or mask.shape != ours[0].shape[:2]  # weighted words are one state for all of a text
        real = torch.ones(ours[0].shape[:2]) > 0 if mask is None or whole else mask > 0
        assert difference(ours[0], torch.from_numpy(states), real) <= 1e-5
        assert difference(ours[1], torch.from_numpy(pooled), real) <= 1e-5
