"""A comparison around an encoder that is there already."""

from __future__ import annotations

from pathlib import Path

from tests.verbs.conftest import Kept
from tests.verbs.making import CHEAP_PROOF, QUICK, Shell


def test_an_encoder_of_an_earlier_run(shell: Shell, images: Kept, tmp_path: Path) -> None:
    words = ("prove", images.data, "--from", images.out, "--out", tmp_path, *QUICK, *CHEAP_PROOF)
    told = shell.ok(*words)
    assert told.last.startswith("verdict: ") and "pretrain: " not in told.out
    (run,) = tmp_path.glob("prove-*")
    assert (run / "eval" / "predictions.parquet").is_file() and (run / "model" / "model.safetensors").is_file()
    assert shell.ok(*words).last == told.last
    assert len(list(tmp_path.glob("prove-*"))) == 1


def test_another_modality_and_no_labels(shell: Shell, texts: Kept, images: Kept, tmp_path: Path) -> None:
    out = ("--out", tmp_path, *QUICK)
    assert "reads text" in shell.refused(3, "prove", images.data, "--from", texts.out, *out)
    assert "reads image" in shell.refused(3, "prove", texts.data, "--label", "label", "--from", images.out, *out)
    folder = tmp_path / "bare"
    folder.mkdir()
    for row in range(6):
        (folder / f"{row}.txt").write_text(f"words of text {row}")
    assert "no row has a label" in shell.refused(3, "prove", folder, "--from", texts.out, *out)
    assert "no such run folder" in shell.refused(2, "prove", images.data, "--from", tmp_path / "nothing", *out)
    assert not list(tmp_path.glob("prove-*"))
