"""Recurrent layers, which `lstm`, `gru`, `bilstm` and `bigru` name.

Those that read forward can write text; those that read from both ends can fill gaps. Padding stands at the end, where
a layer that reads forward meets it last; for the other direction each text is turned round by its own length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seedbed.models.conv1d import refuse_causal

STEMS = {"text": ("tokens",)}
CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class Config:
    """Shape of a trunk.

    Attributes:
        cell: "lstm" or "gru".
        width: of the states; with both ends half of it for each direction.
        depth: layers.
        both_ends: whether a second half of each layer reads from the end.
    """

    cell: str
    width: int
    depth: int
    both_ends: bool


def sizes(cell: str, *, both_ends: bool) -> dict[str, dict[str, Config]]:
    """SIZES of the trunks made of these layers."""
    shapes = {"nano": (128, 1), "micro": (256, 2), "mini": (384, 3), "small": (512, 3), "base": (768, 4)}
    return {"text": {size: Config(cell, width, depth, both_ends) for size, (width, depth) in shapes.items()}}


class Layer(nn.Module):
    """norm, then one or two recurrent networks, added to what came in."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        cell, width = CELLS[config.cell], config.width // (2 if config.both_ends else 1)
        self.norm = nn.LayerNorm(config.width)
        self.ahead = cell(config.width, width, batch_first=True)
        self.back = cell(config.width, width, batch_first=True) if config.both_ends else None
        for module in (self.ahead, self.back):
            if module is not None:
                start_(module)

    def forward(self, x_BND: Tensor, turned_BN: Tensor) -> Tensor:
        """Read every text; `turned_BN` holds for each place the one to be read there from the end."""
        normed_BND = self.norm(x_BND)
        read_BND, _ = self.ahead(normed_BND)
        if self.back is not None:
            back_BND, _ = self.back(_picked(normed_BND, turned_BN))
            read_BND = torch.cat((read_BND, _picked(back_BND, turned_BN)), dim=2)
        return x_BND + read_BND


class Recurrent(nn.Module):
    """Layers and a final norm.

    Source: Hochreiter and Schmidhuber 1997 (LSTM) with the forget gate's bias at one: Jozefowicz et al. 2015; Cho et
        al. 2014 (GRU); Schuster and Paliwal 1997 (both directions).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(
        self, x_BND: Tensor, keep_BN: Tensor | None, causal: bool = False, at_I: Tensor | None = None
    ) -> Tensor:
        """States of all positions, or of those at `at_I`; at padded positions they mean nothing.

        Raises:
            UsageError: `causal` is asked of a trunk that reads from both ends.
        """
        cell = self.config.cell
        refuse_causal(causal and self.config.both_ends, f"bi{cell}", cell)
        places_N = torch.arange(x_BND.shape[1], device=x_BND.device)
        lengths_B1 = places_N.new_full((len(x_BND), 1), len(places_N)) if keep_BN is None else keep_BN.sum(1)[:, None]
        turned_BN = torch.where(places_N < lengths_B1, lengths_B1 - 1 - places_N, places_N)
        for layer in self.layers:
            x_BND = layer(x_BND, turned_BN)
        states_BND: Tensor = self.norm(x_BND if at_I is None else x_BND.flatten(0, 1)[at_I])
        return states_BND


def start_(cell: nn.RNNBase) -> None:
    """Set weights on the input to variance 1 / fan-in, those on the state to orthogonal ones, biases to zero.

    An LSTM starts with its forget gate open (bias one), so that gradients reach far back.
    """
    for name, parameter in cell.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
        elif name.startswith("weight_ih"):
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        else:
            for gate in parameter.detach().split(cell.hidden_size):
                nn.init.orthogonal_(gate)
        if isinstance(cell, nn.LSTM) and name.startswith("bias_ih"):
            nn.init.ones_(parameter.detach()[cell.hidden_size : 2 * cell.hidden_size])


def _picked(x_BND: Tensor, places_BN: Tensor) -> Tensor:
    return x_BND.gather(1, places_BN[:, :, None].expand_as(x_BND))
