"""The gate lets an export through only if a new process computes the same from it, and leaves nothing otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from seedbed.core.errors import MachineError, UsageError
from seedbed.export import gate
from seedbed.export.gate import BATCHES, RECORD, Sample, check, difference, record, sample, staged
from seedbed.export.tensors import export_safetensors
from seedbed.models.encoder import Encoder
from tests.export.making import facts_of, model_folder, words

Ours = Callable[[Encoder, Sample], list[dict[str, Tensor]]]


@torch.no_grad()
def states(encoder: Encoder, given: Sample) -> list[dict[str, Tensor]]:
    return [{"states": encoder(batch.values, batch.keep)} for batch in given.batches]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Encoder, Sample]:
    """An export as safetensors, its encoder, and inputs."""
    root = tmp_path_factory.mktemp("bag")
    encoder = model_folder(root / "model", "text", "bag")
    facts = facts_of("text", words())
    (root / "out").mkdir()
    assert export_safetensors(encoder, facts, None, root / "out") == ["encoder.safetensors", "config.json"]
    return root / "out", encoder, sample(root / "no-run", facts, words(), longest=9)


def test_drawn_inputs_have_all_sizes_and_are_said_to_be_drawn(bag: tuple[Path, Encoder, Sample]) -> None:
    given = bag[2]
    assert [len(batch.values) for batch in given.batches] == list(BATCHES)
    assert "drawn inputs" in given.told and not given.texts
    assert all(batch.values.shape[1] <= 9 and batch.keep.any(1).all() for batch in given.batches)
    images = sample(Path("nowhere"), facts_of("image", words()), None)
    assert [tuple(batch.values.shape) for batch in images.batches] == [(size, 3, 12, 16) for size in BATCHES]


def test_the_same_numbers_pass_and_others_do_not(bag: tuple[Path, Encoder, Sample]) -> None:
    folder, encoder, given = bag
    told = check("safetensors", folder, given, states(encoder, given))
    assert told["passed"] and told["largest_difference"] <= 1e-7 and told["batches"] == len(BATCHES)
    planted = states(encoder, given)
    planted[-1]["states"] = planted[-1]["states"].clone()
    planted[-1]["states"][0, 0, 0] += 1e-4
    with pytest.raises(MachineError, match="failed its check") as caught:
        check("safetensors", folder, given, planted)
    assert "0.0001" in caught.value.found and caught.value.fix


def test_what_cannot_be_read_fails(bag: tuple[Path, Encoder, Sample], tmp_path: Path) -> None:
    _, encoder, given = bag
    with pytest.raises(MachineError, match="failed its check") as caught:
        check("safetensors", tmp_path, given, states(encoder, given))
    assert "A new process cannot read it" in caught.value.found


def test_other_ids_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Sample([], ["one", "two"], "made")
    answers = {"ids.0": torch.tensor([5, 6]), "ids.1": torch.tensor([7])}
    monkeypatch.setattr(gate, "_answers", lambda *_: answers)
    told = check("hf", Path(), given, [], [np.array([5, 6]), np.array([7])])
    assert told["texts_with_equal_ids"] == 2
    with pytest.raises(MachineError, match="failed its check") as caught:
        check("hf", Path(), given, [], [np.array([5, 6]), np.array([8])])
    assert "1 of 2 texts get other ids" in caught.value.found and "'two'" in caught.value.found


def test_a_process_that_hangs_fails(bag: tuple[Path, Encoder, Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, encoder, given = bag
    monkeypatch.setattr(gate, "PATIENCE_S", 0.01)
    with pytest.raises(MachineError, match="failed its check") as caught:
        check("safetensors", folder, given, states(encoder, given))
    assert "had not read it" in caught.value.found


def test_differences_are_measured_at_real_positions_and_against_the_largest() -> None:
    keep_BN = torch.tensor([[True, False]])
    ours, theirs = torch.tensor([[[50.0], [0.0]]]), torch.tensor([[[50.5], [9.0]]])
    assert difference(ours, theirs, keep_BN) == pytest.approx(0.01)
    assert difference(ours / 100, theirs / 100, keep_BN) == pytest.approx(0.005)
    assert difference(ours, theirs[:, :1], keep_BN) == float("inf")
    assert not difference(ours, torch.full_like(ours, float("nan")), keep_BN) <= 1.0


class TestStaged:
    def test_files_arrive_together_with_the_record_last(self, tmp_path: Path) -> None:
        out = tmp_path / "a" / "out"
        with staged(out) as folder:
            (folder / "weights").write_text("new")
            record(folder, {"to": "hf"})
            assert not list(out.iterdir())
        assert {path.name for path in out.iterdir()} == {"weights", RECORD}
        assert json.loads((out / RECORD).read_text()) == {"to": "hf"}
        assert [path.name for path in out.parent.iterdir()] == ["out"]

    def test_a_failure_leaves_nothing_or_the_export_before(self, tmp_path: Path) -> None:
        def fail(out: Path) -> None:
            with pytest.raises(RuntimeError, match="planted"), staged(out) as folder:
                (folder / "weights").write_text("half")
                raise RuntimeError("planted")

        fail(tmp_path / "new")
        assert not list(tmp_path.iterdir())
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / "weights").write_text("whole")
        fail(tmp_path / "old")
        assert [path.read_text() for path in (tmp_path / "old").iterdir()] == ["whole"]

    def test_a_model_folder_is_not_written_over(self, tmp_path: Path) -> None:
        model_folder(tmp_path / "model", "text", "bag")
        with pytest.raises(UsageError, match="is a model folder"), staged(tmp_path / "model"):
            pass

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("")
        with pytest.raises(MachineError, match="cannot be used"), staged(tmp_path / "out"):
            pass


def test_safetensors_are_plain(bag: tuple[Path, Encoder, Sample]) -> None:
    folder, encoder, _ = bag
    found = safetensors.torch.load_file(folder / "encoder.safetensors")
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in encoder.state_dict().items()
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["encoder"]["spec"]["trunk"] == "bag" and len(config["encoder"]["facts"]["document_counts"]) > 0
