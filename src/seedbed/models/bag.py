"""No layers: a text is the idf-weighted mean of its word vectors. The cheapest trunk there is, and a strong one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

STEMS = {"text": ("words",)}


@dataclass(frozen=True)
class Config:
    """Width of a word vector."""

    width: int


SIZES = {"text": {"nano": Config(width=128), "micro": Config(width=300)}}


class Trunk(nn.Module):
    """The identity: everything is in the stem's word vectors and in how they are pooled."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(
        self, x_BND: Tensor, keep_BN: Tensor | None, causal: bool = False, at_I: Tensor | None = None
    ) -> Tensor:
        """What came in, at the positions wanted: word vectors do not see one another."""
        return x_BND if at_I is None else x_BND.flatten(0, 1)[at_I]
