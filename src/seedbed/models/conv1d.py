"""Convolutions over the words of a text, with growing gaps between the words they see.

`conv1d` sees both sides of a word and `tcn`, which is the same with another Config, only what stands before it. The
weights of one make no sense in the other: a layer's middle word is not the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedbed.core.errors import UsageError
from seedbed.models.heads import start_

STEMS = {"text": ("tokens",)}
# Words a layer sees, the middle one included.
TAPS = 3
# Gaps double from layer to layer and begin anew after so many: 1, 2, 4, 8 see 31 words.
CYCLE = 4
SMALL = 0.1


@dataclass(frozen=True)
class Config:
    """Shape of a trunk; `forward` ones see only what stands before a word."""

    width: int
    depth: int
    forward: bool = False


SIZES = {
    "text": {
        "nano": Config(width=128, depth=4),
        "micro": Config(width=256, depth=6),
        "mini": Config(width=384, depth=8),
        "small": Config(width=512, depth=12),
        "base": Config(width=768, depth=16),
    }
}


class Layer(nn.Module):
    """norm, convolution, GELU, linear, added to what came in.

    The convolution is one matrix product of each word beside its neighbours, which a processor does faster.
    """

    def __init__(self, width: int, gap: int, shifts: tuple[int, ...]) -> None:
        super().__init__()
        self.shifts = tuple(gap * shift for shift in shifts)
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Linear(TAPS * width, 2 * width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, x_BND: Tensor, keep_BN: Tensor, at_I: Tensor | None) -> Tensor:
        """The states of all positions, or of those at `at_I`, as indices into B x N."""
        # What is padded is zero, as what lies beyond the ends is: so padding never matters.
        normed_BND = self.norm(x_BND) * keep_BN[:, :, None]
        around = torch.cat([shifted(normed_BND, shift) for shift in self.shifts], dim=2)
        if at_I is not None:
            x_BND, around = x_BND.flatten(0, 1)[at_I], around.flatten(0, 1)[at_I]
        return x_BND + self.out(F.gelu(self.convolution(around)))


class Trunk(nn.Module):
    """Residual layers and a final norm.

    Initialisation: variance 1 / fan-in; what is added to the stream is smaller by 10 sqrt(depth), so that layers start
    close to the identity and yet every parameter has a gradient.

    Source: Bai et al. 2018, An empirical evaluation of generic convolutional and recurrent networks, section 3, with
        norms before the layers instead of in their weights.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        shifts = (2, 1, 0) if config.forward else (1, 0, -1)
        self.layers = nn.ModuleList(Layer(config.width, 2 ** (index % CYCLE), shifts) for index in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            start_(layer.convolution)
            start_(layer.out, SMALL * config.depth**-0.5)

    def forward(
        self, x_BND: Tensor, keep_BN: Tensor | None, causal: bool = False, at_I: Tensor | None = None
    ) -> Tensor:
        """States of all positions, or of those at `at_I`; at padded positions they mean nothing.

        Raises:
            UsageError: `causal` is asked of a trunk that sees both sides.
        """
        refuse_causal(causal and not self.config.forward, "conv1d", "tcn")
        keep_BN = torch.ones(x_BND.shape[:2], dtype=torch.bool, device=x_BND.device) if keep_BN is None else keep_BN
        for layer in self.layers:
            x_BND = layer(x_BND, keep_BN, at_I if layer is self.layers[-1] else None)
        states_BND: Tensor = self.norm(x_BND)
        return states_BND


def shifted(x_BND: Tensor, shift: int) -> Tensor:
    """What stood `shift` places before each position, zero where nothing did; negative: after it."""
    # Padded first and cut afterwards, so that nothing depends on the length: exporters trace it for all lengths.
    if shift < 0:
        return F.pad(x_BND, (0, 0, 0, -shift))[:, -shift:]
    return F.pad(x_BND, (0, 0, shift, 0))[:, : x_BND.shape[1]]


def refuse_causal(wrong: bool, trunk: str, instead: str) -> None:
    """Refuse to predict the next word with a trunk that has seen it.

    Raises:
        UsageError: if `wrong`.
    """
    if wrong:
        raise UsageError(
            f"The trunk {trunk} cannot predict the next word.",
            cause="It reads texts from both ends, so it has seen the word it should predict.",
            fix=f"Choose --trunk {instead}, which reads forward only, or --objective masked_lm.",
        )
