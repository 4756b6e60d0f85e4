"""Heads: small networks on top of an encoder. Those for classes mirror the class their encoder exports to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seedbed.core.settings import Section, Share

SMALL = 0.1


class HeadOptions(Section):
    """Options that every task has, because each ends in a head of `make_classifier`."""

    head: Literal["auto", "linear"] = Field("auto", description="auto: the one that the encoder's exported class has")
    dropout: Share = Field(0.0, description="share of the pooled features that each training example does without")


class Classifier(nn.Module, ABC):
    """What a task needs of a head: a last linear layer `out`, and what it reads.

    Dropout is where the head reads the pooled state. Trunks have none: they are exact images of published classes, and
    what regularises them is the same for every one of them here.
    """

    out: nn.Linear

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def hidden(self, pooled_BD: Tensor) -> Tensor:
        """What the last layer reads, hidden_BD."""

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """Logits of the classes, logits_BC."""
        return self.out(self.hidden(self.dropout(pooled_BD)))


class PooledClassifier(Classifier):
    """Dense, GELU, linear on the pooled state: the head of EuroBertForSequenceClassification.

    Initialisation: the dense layer has variance 1 / fan-in; the last layer is ten times smaller, so that the first
    predictions are nearly equal for all classes and yet every parameter has a gradient.
    """

    def __init__(self, width: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, num_classes)
        start_(self.dense)
        start_(self.out, SMALL)

    def hidden(self, pooled_BD: Tensor) -> Tensor:
        """The dense layer's features."""
        return F.gelu(self.dense(pooled_BD))


class LinearClassifier(Classifier):
    """One linear layer: the head of ViTForImageClassification, and of what has no layers. Starts small."""

    def __init__(self, width: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.out = nn.Linear(width, num_classes)
        start_(self.out, SMALL)

    def hidden(self, pooled_BD: Tensor) -> Tensor:
        """The pooled state itself."""
        return pooled_BD


class Projector(nn.Module):
    """Linear, GELU, linear: where a contrastive loss is computed, so that the encoder need not forget what it ignores.

    Source: Chen et al. 2020, SimCLR, section 4.2.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, out)
        start_(self.dense)
        start_(self.out)

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """The projection z_BD, not normalised."""
        return self.out(F.gelu(self.dense(pooled_BD)))


class PixelDecoder(nn.Module):
    """Linear, GELU, linear from one vector to a whole image, in normalised pixels. The last layer starts small."""

    def __init__(self, width: int, image_shape: tuple[int, int, int], hidden: int) -> None:
        super().__init__()
        self.image_shape = image_shape
        channels, rows, columns = image_shape
        self.dense = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, channels * rows * columns)
        start_(self.dense)
        start_(self.out, SMALL)

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """Pixels of shape (B, C, Y, X)."""
        return self.out(F.gelu(self.dense(pooled_BD))).unflatten(-1, self.image_shape)


def make_classifier(options: HeadOptions, trunk: str, modality: str, width: int, num_classes: int) -> Classifier:
    """The classification head that the encoder's exported class has; dense on a checkpoint; else linear."""
    if options.head == "auto" and (trunk == "hub" or (trunk == "transformer" and modality == "text")):
        return PooledClassifier(width, num_classes, options.dropout)
    return LinearClassifier(width, num_classes, options.dropout)


def start_(layer: nn.Linear, scale: float = 1.0) -> nn.Linear:
    """Set weights to standard deviation scale / sqrt(fan-in), and biases to zero where there are any."""
    nn.init.normal_(layer.weight, std=scale * layer.in_features**-0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def zero_(layer: nn.Linear) -> None:
    """Set weights and biases to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
