"""The classic convolutional network: convolution and pooling in turn, without batch statistics.

Each example is normalised by itself, so that any objective can train it, adversarial ones too, and a batch be split.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from seedbed.models.resnet import positions
from seedbed.models.stems import start_convolution_

STEMS = {"image": ("pixels",)}
# Channels that are normalised together.
GROUP = 16


@dataclass(frozen=True)
class Config:
    """Shape of a trunk: each layer halves the side of the map and doubles the channels up to `width`.

    Attributes:
        width: channels after the last layer, a multiple of 16 as `stem_width` is.
        stem_width: channels the stem makes.
        depth: convolutions after the stem.
    """

    width: int
    stem_width: int
    depth: int


SIZES = {
    "image": {
        "nano": Config(width=128, stem_width=32, depth=2),
        "micro": Config(width=256, stem_width=32, depth=3),
        "mini": Config(width=384, stem_width=48, depth=3),
        "small": Config(width=512, stem_width=64, depth=3),
        "base": Config(width=1024, stem_width=64, depth=4),
    }
}


class Trunk(nn.Module):
    """norm, ReLU, 2x2 pooling, 3x3 convolution, `depth` times, then a final norm and ReLU.

    Source: LeCun et al. 1998, Gradient-based learning applied to document recognition, section II; norms of groups of
        channels instead of none: Wu and He 2018, Group normalization.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        widths = [min(config.stem_width << index, config.width) for index in range(config.depth)] + [config.width]
        self.norms = nn.ModuleList(nn.GroupNorm(max(width // GROUP, 1), width) for width in widths)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width_in, width, 3, padding=1, bias=False) for width_in, width in pairwise(widths)
        )
        for layer in self.convolutions:
            assert isinstance(layer, nn.Conv2d)
            start_convolution_(layer)

    def forward(
        self, x_BDYX: Tensor, keep_BN: Tensor | None, causal: bool = False, at_I: Tensor | None = None
    ) -> Tensor:
        """States of the last map's positions, row by row; those wanted by `at_I` only, where it is given."""
        for norm, convolution in zip(self.norms, self.convolutions, strict=False):
            # Odd sides are rounded up, so that no image is too small for the number of layers.
            x_BDYX = convolution(F.max_pool2d(F.relu(norm(x_BDYX)), 2, ceil_mode=True))
        return positions(F.relu(self.norms[-1](x_BDYX)), at_I)
