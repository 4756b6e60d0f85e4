"""Adagrad with one learning rate a row, for tables of which a step touches a few rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

EPS = 1e-12


class RowAdagrad(Optimizer):
    """Adagrad whose accumulator is the mean square of a row's gradients, so that a row keeps the shape of its gradient.

    It holds one number a row instead of one a weight and is a little faster than the elementwise form; on word vectors
    of film reviews neither was clearly better.

    Args:
        params: tables (rows, width) with sparse gradients, or groups of them with their own rates.
        lr: step of a row whose gradients have all been alike, at its first step.
    Source: Duchi et al. 2011 (Adagrad); Gupta et al. 2014, "Training highly multiclass classifiers", section 5.2 (one
        rate a row).
    """

    def __init__(self, params: ParamsT, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        for group in self.param_groups:
            for table in group["params"]:
                self.state[table]["sum"] = table.new_zeros(len(table), 1, dtype=torch.float32)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change the rows that have a gradient."""
        assert closure is None, "no closure is called"
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    _change_(table, self.state[table]["sum"], table.grad, group["lr"])


def _change_(table: Tensor, total: Tensor, grad: Tensor, lr: float) -> None:
    if grad.is_sparse:
        grad = grad.coalesce()
        rows, values = grad.indices()[0], grad.values()
    else:
        rows, values = torch.arange(len(grad), device=grad.device), grad
    # Coalesced rows are unique, so reading, adding and writing back loses nothing.
    sums = total.index_select(0, rows) + values.square().mean(1, keepdim=True)
    total.index_copy_(0, rows, sums)
    table.index_add_(0, rows, values * (-lr / (sums.sqrt() + EPS)))
