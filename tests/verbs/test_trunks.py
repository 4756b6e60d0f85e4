"""Every trunk from the command line: pretrained, fine-tuned, asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seedbed.models.folder import load_encoder
from tests.verbs.conftest import Kept
from tests.verbs.making import NANO, SAME, Shell

FEW = (*NANO, "--steps", "6", "--set", "pretrain.batch_size=16")
SHORT = ("--set", "pretrain.seq_len=16")


def walked(shell: Shell, kept: Kept, out: Path, trunk: str, objective: str, *words: str) -> Path:
    """Pretrain and fine-tune a trunk; the fine-tuned run."""
    label = ("--label", "label") if kept.data.is_file() else ()
    told = shell.ok("pretrain", kept.data, "--trunk", trunk, "--objective", objective, "--out", out, *FEW, *words)
    assert f"on the trunk {trunk}" in told.out
    (pretrained,) = out.glob("pretrain-*")
    assert load_encoder(pretrained / "model")[0].spec.trunk == trunk
    shell.ok("finetune", pretrained, kept.data, *label, "--out", out, *SAME, "--set", "finetune.batch_size=16")
    (finetuned,) = out.glob("finetune-*")
    return finetuned


@pytest.mark.slow
def test_a_residual_network_goes_the_whole_way(shell: Shell, images: Kept, tmp_path: Path) -> None:
    finetuned = walked(shell, images, tmp_path / "r", "resnet", "contrastive")
    picture = next(images.more.rglob("*.png"))
    assert shell.ok("predict", finetuned, picture).out
    encoder, _, _ = load_encoder(finetuned / "model")
    moved = [value for name, value in encoder.state_dict().items() if name.endswith("running_mean")]
    assert moved and all(bool(value.any()) and bool(torch.isfinite(value).all()) for value in moved)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "objective"), [("vgg", "denoising"), ("conv2d", "adversarial"), ("resnet", "denoising")]
)
def test_the_other_trunks_for_images(shell: Shell, images: Kept, tmp_path: Path, trunk: str, objective: str) -> None:
    walked(shell, images, tmp_path / "r", trunk, objective)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "objective"),
    [
        ("lstm", "causal_lm"),
        ("gru", "contrastive"),
        ("tcn", "causal_lm"),
        ("bilstm", "masked_lm"),
        ("bigru", "masked_lm"),
        ("conv1d", "masked_lm"),
    ],
)
def test_the_other_trunks_for_text(shell: Shell, texts: Kept, tmp_path: Path, trunk: str, objective: str) -> None:
    walked(shell, texts, tmp_path / "r", trunk, objective, *SHORT)


def test_what_does_not_go_together_is_said_before_any_work(shell: Shell, images: Kept, tmp_path: Path) -> None:
    out = tmp_path / "r"
    told = shell.refused(2, "pretrain", images.data, "--trunk", "resnet", "--objective", "adversarial", "--out", out)
    assert "adversarial cannot train the trunk resnet" in told and "conv2d" in told
    told = shell.refused(
        2, "pretrain", images.data, "--trunk", "resnet", "--objective", "denoising", "--size", "bse", "--out", out
    )
    assert 'The trunk "resnet" has no size "bse" for image' in told and 'Did you mean "base"?' in told
    assert not out.exists()


def test_batch_norm_refuses_to_split_a_batch(shell: Shell, images: Kept, tmp_path: Path) -> None:
    words = ("--trunk", "resnet", "--objective", "denoising", "--out", tmp_path / "r", *FEW)
    told = shell.refused(2, "pretrain", images.data, *words, "--set", "pretrain.micro_batch=4")
    assert "batch norm couples the examples" in told and "--trunk without it" in told
