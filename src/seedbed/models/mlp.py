"""Fully connected layers over one vector: small images, weighted words, and the honest network to compare with."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

STEMS = {"image": ("flat",), "text": ("tfidf",), "vector": ("flat",)}


@dataclass(frozen=True)
class Config:
    """Width and number of hidden layers; the stem's projection comes before them."""

    width: int
    depth: int


SIZES = {
    "image": {
        "nano": Config(width=256, depth=2),
        "micro": Config(width=512, depth=3),
        "mini": Config(width=1024, depth=3),
        "small": Config(width=2048, depth=3),
        "base": Config(width=4096, depth=3),
    },
    "text": {"nano": Config(width=100, depth=2), "micro": Config(width=300, depth=2)},
    "vector": {"nano": Config(width=128, depth=2), "micro": Config(width=256, depth=3)},
}


class Trunk(nn.Module):
    """norm, GELU, linear, `depth` times, then a final norm: hidden layers that can be taken one by one.

    Initialisation: weights are normal with variance 2 / fan-in, which keeps the scale through GELU; biases are zero.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(config.depth))
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        for name, parameter in self.layers.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=(2 / config.width) ** 0.5)

    def forward(
        self, x_BND: Tensor, keep_BN: Tensor | None, causal: bool = False, at_I: Tensor | None = None
    ) -> Tensor:
        """Transform each position by itself, so neither `keep_BN` nor `causal` matters."""
        if at_I is not None:
            x_BND = x_BND.flatten(0, 1)[at_I]
        for level in range(self.config.depth + 1):
            x_BND = self.level(level, x_BND)
        return x_BND

    def level(self, level: int, x_BND: Tensor) -> Tensor:
        """The normalised states after so many layers, from those before the last of them; at 0 from the stem's."""
        if level > 0:
            x_BND = self.layers[level - 1](F.gelu(x_BND))
        norm = self.norms[level] if level < self.config.depth else self.norm
        states_BND: Tensor = norm(x_BND)
        return states_BND
