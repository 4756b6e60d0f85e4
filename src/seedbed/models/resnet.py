"""Residual convolutional networks, exact images of transformers' ResNetModel on the `coarse` stem.

On the `fine` stem, which small images get, no published class holds them. Names of parameters are our own;
export/hf.py holds the table that translates them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from seedbed.models.stems import start_convolution_

STEMS = {"image": ("fine", "coarse")}
BOTTLENECK = 4


@dataclass(frozen=True)
class Config:
    """Shape of a trunk: the width doubles and the side of the map is halved from stage to stage.

    Attributes:
        width: channels after the last stage.
        stem_width: channels the stem makes.
        depths: blocks of each stage.
        bottleneck: whether a block is 1x1, 3x3, 1x1 with a quarter of the channels inside, instead of 3x3, 3x3.
        stride_first: whether a bottleneck's stride stands in its first convolution, as in the paper and in Keras.
    """

    width: int
    stem_width: int
    depths: tuple[int, ...]
    bottleneck: bool = False
    stride_first: bool = False


SIZES = {
    "image": {
        "nano": Config(width=128, stem_width=16, depths=(1, 1, 1, 1)),
        "micro": Config(width=256, stem_width=32, depths=(2, 2, 2, 2)),
        "mini": Config(width=384, stem_width=48, depths=(2, 2, 2, 2)),
        "small": Config(width=512, stem_width=64, depths=(2, 2, 2, 2)),  # ResNet-18
        "resnet34": Config(width=512, stem_width=64, depths=(3, 4, 6, 3)),
        "base": Config(width=2048, stem_width=64, depths=(3, 4, 6, 3), bottleneck=True),  # ResNet-50
    }
}


class Convolution(nn.Module):
    """A convolution without bias, which the batch norm after it would take out again, and that batch norm."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width_in, width, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)
        start_convolution_(self.convolution)

    def forward(self, x_BDYX: Tensor) -> Tensor:
        """Convolve and normalise over the batch."""
        normed_BDYX: Tensor = self.norm(self.convolution(x_BDYX))
        return normed_BDYX


class Block(nn.Module):
    """Two or three convolutions, added to what came in; a 1x1 convolution makes the shapes equal where they differ."""

    def __init__(self, width_in: int, width: int, stride: int, config: Config) -> None:
        super().__init__()
        shapes: tuple[tuple[int, int, int, int], ...] = ((width_in, width, 3, stride), (width, width, 3, 1))
        if config.bottleneck:
            inner, (first, second) = width // BOTTLENECK, (stride, 1) if config.stride_first else (1, stride)
            shapes = ((width_in, inner, 1, first), (inner, inner, 3, second), (inner, width, 1, 1))
        self.layers = nn.ModuleList(Convolution(*shape) for shape in shapes)
        equal = width_in == width and stride == 1
        self.shortcut = None if equal else Convolution(width_in, width, 1, stride)

    def forward(self, x_BDYX: Tensor) -> Tensor:
        """ReLU after all convolutions but the last, and after the sum."""
        y_BDYX = x_BDYX
        for layer in self.layers:
            y_BDYX = layer(y_BDYX if y_BDYX is x_BDYX else F.relu(y_BDYX))
        return F.relu(y_BDYX + (x_BDYX if self.shortcut is None else self.shortcut(x_BDYX)))


class Trunk(nn.Module):
    """Stages of residual blocks.

    Batch statistics couple the examples of a batch while training, so a batch is not split. Initialisation: that of the
    paper, with gains of one, so that every parameter has a gradient.

    Source: He et al. 2016, Deep residual learning; the stride of a bottleneck stands in its 3x3 convolution unless
    `stride_first` says otherwise.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width_in, first = config.stem_width, config.width >> (len(config.depths) - 1)
        self.stages = nn.ModuleList()
        for index, depth in enumerate(config.depths):
            width, stride = first << index, 1 if index == 0 else 2
            blocks = [Block(width_in, width, stride, config)]
            blocks += [Block(width, width, 1, config) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
            width_in = width

    def forward(
        self, x_BDYX: Tensor, keep_BN: Tensor | None, causal: bool = False, at_I: Tensor | None = None
    ) -> Tensor:
        """States of the last map's positions, row by row; those wanted by `at_I` only, where it is given."""
        for stage in self.stages:
            x_BDYX = stage(x_BDYX)
        return positions(x_BDYX, at_I)


def positions(x_BDYX: Tensor, at_I: Tensor | None) -> Tensor:
    """A map as states_BND, row by row, or as states_ID of the positions wanted, as indices into B x N."""
    states_BND = x_BDYX.flatten(2).transpose(1, 2)
    return states_BND if at_I is None else states_BND.flatten(0, 1)[at_I]
