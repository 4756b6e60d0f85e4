"""One transformer with two dialects, each an exact image of a published class, so that an export loses nothing.

`text` is the layer of LlamaForCausalLM and EuroBertForMaskedLM: RMSNorm, rotary positions, a gated feed-forward
network, no biases. `classic` is the layer of ViTModel: LayerNorm before each half, biases, GELU, learned positions
(which are the stem's). Names of parameters are our own; export/hf.py holds the one table that translates them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedbed.models.fused import attend, rms_norm, rotary_table, rotate_and_split, swiglu

STEMS = {"text": "tokens", "image": "patches"}


@dataclass(frozen=True)
class Config:
    """Shape of a trunk; `hidden` is the inner width of the feed-forward network, `context` positions are tabulated.

    The gated network has three matrices where the classic one has two, so its inner width is 8/3 of the width instead
    of 4 and both dialects hold about the same number of parameters at the same size.
    """

    dialect: str
    width: int
    depth: int
    heads: int
    hidden: int
    context: int = 1024
    theta: float = 10_000.0
    eps: float = 1e-5


SIZES = {
    "text": {
        "nano": Config("text", width=128, depth=4, heads=2, hidden=352),
        "micro": Config("text", width=256, depth=6, heads=4, hidden=672),
    },
    "image": {
        "nano": Config("classic", width=128, depth=4, heads=2, hidden=512, eps=1e-6),
        "micro": Config("classic", width=256, depth=6, heads=4, hidden=1024, eps=1e-6),
    },
}


class Attention(nn.Module):
    """Multi-head self-attention; the three input projections are separate parameters and one matrix product."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        bias = config.dialect == "classic"
        self.heads = config.heads
        self.q = nn.Linear(config.width, config.width, bias=bias)
        self.k = nn.Linear(config.width, config.width, bias=bias)
        self.v = nn.Linear(config.width, config.width, bias=bias)
        self.o = nn.Linear(config.width, config.width, bias=bias)

    def forward(self, x_BND: Tensor, rotary: tuple[Tensor, Tensor] | None, mask: Tensor | None, causal: bool) -> Tensor:
        """Mix positions; `rotary` is None where the stem has added positions, `mask` where nothing is padded."""
        qkv_BNE = joint_linear(x_BND, self.q, self.k, self.v)
        q_BHNK, k_BHNK, v_BHNK = rotate_and_split(qkv_BNE, self.heads, rotary)
        mixed_BHNK = attend(q_BHNK, k_BHNK, v_BHNK, mask, causal)
        out: Tensor = self.o(mixed_BHNK.transpose(1, 2).flatten(2))
        return out


class TextLayer(nn.Module):
    """One layer of the text dialect."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention_norm = RmsNorm(config.width, config.eps)
        self.attention = Attention(config)
        self.mlp_norm = RmsNorm(config.width, config.eps)
        self.gate = nn.Linear(config.width, config.hidden, bias=False)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x_BND: Tensor, rotary: tuple[Tensor, Tensor] | None, mask: Tensor | None, causal: bool) -> Tensor:
        """Attention, then the gated network, each added to what came in."""
        x_BND = x_BND + self.attention(self.attention_norm(x_BND), rotary, mask, causal)
        inner_BNE = joint_linear(self.mlp_norm(x_BND), self.gate, self.up)
        return x_BND + self.down(swiglu(inner_BNE))


class ClassicLayer(nn.Module):
    """One layer of the classic dialect."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=config.eps)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width, eps=config.eps)
        self.up = nn.Linear(config.width, config.hidden)
        self.down = nn.Linear(config.hidden, config.width)

    def forward(self, x_BND: Tensor, rotary: tuple[Tensor, Tensor] | None, mask: Tensor | None, causal: bool) -> Tensor:
        """Attention, then the feed-forward network, each added to what came in."""
        x_BND = x_BND + self.attention(self.attention_norm(x_BND), rotary, mask, causal)
        return x_BND + self.down(F.gelu(self.up(self.mlp_norm(x_BND))))


class RmsNorm(nn.Module):
    """Division by the root of the mean square, times a learned gain; statistics in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_BND: Tensor) -> Tensor:
        """The same shape, in the type the next matrix product wants."""
        return rms_norm(x_BND, self.weight, self.eps)


class Trunk(nn.Module):
    """Layers and a final norm.

    Initialisation: matrices are normal with variance 1 / fan-in, so that a normalised input keeps its scale at any
    width; what writes to the residual stream (attention `o`, feed-forward `down`) is smaller by sqrt(2 depth), so that
    the stream's variance does not grow with depth; biases are zero and gains one.
    """

    cos_NK: Tensor
    sin_NK: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        text = config.dialect == "text"
        layer = TextLayer if text else ClassicLayer
        self.layers = nn.ModuleList(layer(config) for _ in range(config.depth))
        self.norm = RmsNorm(config.width, config.eps) if text else nn.LayerNorm(config.width, eps=config.eps)
        cos_NK, sin_NK = rotary_table(config.context if text else 0, config.width // config.heads, config.theta)
        self.register_buffer("cos_NK", cos_NK, persistent=False)
        self.register_buffer("sin_NK", sin_NK, persistent=False)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                residual = name.rsplit(".", 1)[-1] in ("o", "down")
                shrink = (2 * config.depth) ** -0.5 if residual else 1.0
                nn.init.normal_(module.weight, std=shrink * module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x_BND: Tensor, keep_BN: Tensor | None, causal: bool) -> Tensor:
        """Transform embedded positions.

        Args:
            x_BND: what the stem made.
            keep_BN: True where a position is real, padding at the end only; None: nothing is padded.
            causal: whether a position sees only itself and those before it.

        Returns:
            States after the final norm; at padded positions they mean nothing.
        """
        rotary = self._rotary(x_BND.shape[1]) if self.config.dialect == "text" else None
        # A causal position never sees the padding, which is at the end, so only full attention needs the mask.
        mask_B11N = None if keep_BN is None or causal else padding_mask(keep_BN)
        for layer in self.layers:
            x_BND = layer(x_BND, rotary, mask_B11N, causal)
        states_BND: Tensor = self.norm(x_BND)
        return states_BND

    def _rotary(self, num_positions: int) -> tuple[Tensor, Tensor]:
        if num_positions > len(self.cos_NK):
            head = self.config.width // self.config.heads
            cos_NK, sin_NK = rotary_table(num_positions, head, self.config.theta)
            self.cos_NK, self.sin_NK = cos_NK.to(self.cos_NK), sin_NK.to(self.sin_NK)
        return self.cos_NK[:num_positions], self.sin_NK[:num_positions]


def padding_mask(keep_BN: Tensor) -> Tensor | None:
    """A mask over keys of shape (B, 1, 1, N), None where nothing is padded: no mask is the faster path."""
    if bool(keep_BN.all()):
        return None
    # An example without a single real position attends to everything: a softmax over nothing would be undefined.
    return (keep_BN | ~keep_BN.any(dim=1, keepdim=True))[:, None, None, :]


def joint_linear(x_BND: Tensor, *layers: nn.Linear) -> Tensor:
    """Several projections of one input as one matrix product, side by side in the last axis."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    return F.linear(x_BND, weight, bias)
