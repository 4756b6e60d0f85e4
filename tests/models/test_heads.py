"""Heads of tasks: what their last layer reads, and dropout on what they read."""

from __future__ import annotations

import pytest
import torch

from seedbed.models.heads import HeadOptions, LinearClassifier, PooledClassifier, make_classifier


@pytest.mark.parametrize("trunk", ["transformer", "bag"])
def test_the_last_layer_reads_what_is_hidden(trunk: str) -> None:
    torch.manual_seed(0)
    head = make_classifier(HeadOptions(), trunk, "text", 8, 3)
    assert isinstance(head, PooledClassifier if trunk == "transformer" else LinearClassifier)
    pooled_BD = torch.randn(5, 8)
    assert torch.equal(head(pooled_BD), head.out(head.hidden(pooled_BD)))
    assert isinstance(make_classifier(HeadOptions(head="linear"), trunk, "text", 8, 3), LinearClassifier)


def test_dropout_is_for_training_alone_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    head = make_classifier(HeadOptions(dropout=0.25), "mlp", "image", 4000, 1)
    torch.nn.init.ones_(head.out.weight)
    ones_BD = torch.ones(1, 4000)
    dropped = float(head.train()(ones_BD).detach())
    assert dropped != 4000 and dropped == pytest.approx(4000, rel=0.05)
    assert float(head.eval()(ones_BD).detach()) == 4000
    assert "dropout" not in "".join(head.state_dict())
