"""Plain stacks of 3x3 convolutions with batch norm: VGG without its fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from seedbed.models.resnet import Convolution, positions

STEMS = {"image": ("fine",)}


@dataclass(frozen=True)
class Config:
    """Shape of a trunk: the side of the map is halved after each stage, and the channels double up to `width`.

    Attributes:
        width: channels after the last stage.
        stem_width: channels of the first stage, whose first convolution is the stem.
        depths: convolutions of each stage.
    """

    width: int
    stem_width: int
    depths: tuple[int, ...]


SIZES = {
    "image": {
        "nano": Config(width=128, stem_width=16, depths=(1, 1, 1, 1)),
        "micro": Config(width=256, stem_width=32, depths=(1, 1, 2, 2)),
        "mini": Config(width=384, stem_width=48, depths=(1, 1, 2, 2)),
        "small": Config(width=512, stem_width=64, depths=(1, 1, 2, 2, 2)),  # VGG-11
        "base": Config(width=512, stem_width=64, depths=(2, 2, 3, 3, 3)),  # VGG-16
    }
}


class Trunk(nn.Module):
    """Stages of convolutions with batch norm and ReLU, each ended by taking the largest of every 2x2.

    Batch statistics couple the examples of a batch while training, so a batch is not split.

    Source: Simonyan and Zisserman 2015, Very deep convolutional networks, table 1, configurations A and D; batch norm
        as in torchvision's vgg11_bn and vgg16_bn.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width_in = config.stem_width
        self.stages = nn.ModuleList()
        for index, depth in enumerate(config.depths):
            stage = nn.ModuleList()
            for _ in range(depth - 1 if index == 0 else depth):
                width = min(config.stem_width << index, config.width)
                stage.append(Convolution(width_in, width, 3))
                width_in = width
            self.stages.append(stage)

    def forward(
        self, x_BDYX: Tensor, keep_BN: Tensor | None, causal: bool = False, at_I: Tensor | None = None
    ) -> Tensor:
        """States of the last map's positions, row by row; those wanted by `at_I` only, where it is given."""
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            for layer in stage:
                x_BDYX = F.relu(layer(x_BDYX))
            # Odd sides are rounded up, so that no image is too small for the number of stages.
            x_BDYX = F.max_pool2d(x_BDYX, 2, ceil_mode=True)
        return positions(x_BDYX, at_I)
