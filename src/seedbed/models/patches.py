"""Images as patches: how they are cut, where they lie, and the light decoder of a masked autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seedbed.models import transformer
from seedbed.models.encoder import Encoder
from seedbed.models.heads import SMALL, start_

TOKEN_STD = 0.02
BASE = 10_000.0


def cut(pixels_BCYX: Tensor, patch: int) -> Tensor:
    """The values of the patches, values_BNP: patches row by row, in each its rows, columns and channels.

    What is left over at the right and at the bottom belongs to no patch.
    """
    rows, columns = (side // patch for side in pixels_BCYX.shape[2:])
    whole_BCYX = pixels_BCYX[:, :, : rows * patch, : columns * patch]
    apart = whole_BCYX.unflatten(3, (columns, patch)).unflatten(2, (rows, patch))
    return apart.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def sine_positions(rows: int, columns: int, width: int) -> Tensor:
    """Fixed positions of a class token (zeros) and of a grid of patches, shape (1, 1 + rows x columns, width).

    A quarter of the width each holds sines and cosines of the column, then of the row.

    Source: Vaswani et al. 2017, section 3.5, in two dimensions as in He et al. 2021.
    """
    assert width % 4 == 0, f"a width of {width} cannot be quartered"
    rates = BASE ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    down, across = (torch.arange(side, dtype=torch.float64)[:, None] * rates for side in (rows, columns))
    grid = torch.cat(
        [
            torch.cat([across.sin(), across.cos()], dim=1).repeat(rows, 1),
            torch.cat([down.sin(), down.cos()], dim=1).repeat_interleave(columns, 0),
        ],
        dim=1,
    )
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), grid])[None].float()


def num_seen(num_patches: int, hidden: float) -> int:
    """How many patches are seen when a share of them is hidden."""
    return int(num_patches * (1 - hidden))


def hidden_of(draws_BN: Tensor, hidden: float) -> Tensor:
    """Which patches are hidden, hidden_BN: in every image the same number, those with the greatest draws."""
    rank_BN = draws_BN.argsort(dim=1, stable=True).argsort(dim=1)
    return rank_BN >= num_seen(draws_BN.shape[1], hidden)


def restored(encoder: Encoder, decoder: PatchDecoder, values: Tensor, keep: Tensor, hidden_BN: Tensor) -> Tensor:
    """Values of the hidden patches, values_IP, from those that are seen.

    Args:
        encoder: of images, a transformer over patches.
        decoder: of the same patches.
        values: pixels_BCYX.
        keep: keep_B.
        hidden_BN: which patches are hidden, in every image the same number.
    """
    class_B1 = hidden_BN.new_zeros(len(hidden_BN), 1)
    seen_BN = (~torch.cat((class_B1, hidden_BN), dim=1)).nonzero()[:, 1].unflatten(0, (len(hidden_BN), -1))
    values_IP: Tensor = decoder(encoder.among(values, keep, seen_BN), hidden_BN)
    return values_IP


class PatchDecoder(nn.Module):
    """From the states of the patches an encoder saw to the values of those it did not see.

    A transformer of half the encoder's width; what is hidden enters as one learned vector and its position, which is
    fixed. The last layer starts small, so that the first values are nearly zero.

    Args:
        config: of the encoder's trunk.
        depth: layers.
        grid: rows and columns of patches.
        num_values: of a patch.

    Source: He et al. 2021, Masked autoencoders are scalable vision learners, section 3.
    """

    positions: Tensor

    def __init__(self, config: transformer.Config, depth: int, grid: tuple[int, int], num_values: int) -> None:
        super().__init__()
        width = config.width // 2
        self.config = transformer.Config(
            "classic", width, depth, heads=max(config.heads // 2, 1), hidden=4 * width, eps=config.eps
        )
        self.embed = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("positions", sine_positions(*grid, width), persistent=False)
        self.trunk = transformer.Trunk(self.config)
        self.out = nn.Linear(width, num_values)
        nn.init.normal_(self.mask_token, std=TOKEN_STD)
        start_(self.embed)
        start_(self.out, SMALL)

    def forward(self, states_BND: Tensor, hidden_BN: Tensor) -> Tensor:
        """Values of the hidden patches, values_IP, in the order of the patches.

        Args:
            states_BND: of the class token and of the patches that were seen, in their order.
            hidden_BN: which patches were not.
        """
        # The class token stands before the patches and is always seen.
        missing_BN = torch.cat((hidden_BN.new_zeros(len(hidden_BN), 1), hidden_BN), dim=1)
        embedded_BND = self.embed(states_BND).to(self.mask_token.dtype)
        masks_BND = self.mask_token.expand(*missing_BN.shape, -1)
        filled_BND = masks_BND.masked_scatter(~missing_BN[:, :, None], embedded_BND)
        at_I = missing_BN.flatten().nonzero()[:, 0]
        return self.out(self.trunk(filled_BND + self.positions, None, at_I=at_I))
