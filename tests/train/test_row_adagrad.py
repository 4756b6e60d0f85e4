"""Row-wise Adagrad against its definition, written out row by row."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seedbed.train.row_adagrad import RowAdagrad


@pytest.fixture(autouse=True)
def unchecked() -> None:
    torch.sparse.check_sparse_tensor_invariants.disable()


def test_it_is_its_definition() -> None:
    table = nn.Embedding(6, 3, sparse=True)
    expected = table.weight.detach().clone().double()
    sums = [0.0] * 6
    optimizer = RowAdagrad(table.parameters(), lr=0.1)
    for rows in ([0, 2, 2, 5], [2, 1], [0, 0, 0]):
        factor = torch.randn(len(rows), 3)
        (table(torch.tensor(rows)) * factor).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        for row in set(rows):
            gradient = factor[[at for at, other in enumerate(rows) if other == row]].double().sum(0)
            sums[row] += float((gradient**2).mean())
            expected[row] -= 0.1 * gradient / sums[row] ** 0.5
    assert torch.allclose(table.weight.detach().double(), expected, atol=1e-5)
    assert torch.equal(expected[[3, 4]].float(), table.weight.detach()[[3, 4]]), "rows without a gradient stay"


def test_the_first_step_of_a_row_has_the_length_of_the_learning_rate() -> None:
    table = nn.Embedding(2, 4, sparse=True)
    before = table.weight.detach().clone()
    optimizer = RowAdagrad(table.parameters(), lr=0.5)
    (table(torch.tensor([1])) * torch.tensor([3.0, -3.0, 3.0, -3.0])).sum().backward()
    optimizer.step()
    assert torch.allclose((table.weight.detach() - before)[1], torch.tensor([-0.5, 0.5, -0.5, 0.5]), atol=1e-6)
