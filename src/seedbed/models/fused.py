"""The few operations a transformer repeats most, written so that a processor reads and writes memory less often.

Each is exact: it computes the same function as the plain expression in its docstring, and the tests compare values and
gradients with that expression.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x_BND: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """The function x / sqrt(mean(x^2) + eps) * weight."""
    return F.rms_norm(x_BND, (x_BND.shape[-1],), weight_D, eps)


def swiglu(inner_BNE: Tensor) -> Tensor:
    """The function silu(first half) * second half, over the last axis."""
    gate, up = inner_BNE.chunk(2, dim=-1)
    return F.silu(gate) * up


def rotary_table(num_positions: int, head_width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, of shape (N, K / 2) each.

    Source: Su et al. 2021, RoFormer, equation 34, with the halves of a head paired instead of its neighbours.
    """
    frequency = theta ** -(torch.arange(0, head_width, 2, dtype=torch.float32) / head_width)
    angle_NK = torch.arange(num_positions, dtype=torch.float32)[:, None] * frequency
    return angle_NK.cos(), angle_NK.sin()


def rotate_and_split(qkv_BNE: Tensor, heads: int, rotary: tuple[Tensor, Tensor] | None) -> tuple[Tensor, ...]:
    """Queries, keys and values of shape (B, H, N, K); queries and keys turned by their position unless it is None."""
    B, N, E = qkv_BNE.shape
    qkv_BN3HK = qkv_BNE.view(B, N, 3, heads, E // (3 * heads))
    q_BNHK, k_BNHK, v_BNHK = qkv_BN3HK.unbind(2)
    if rotary is not None:
        q_BNHK, k_BNHK = _turn(q_BNHK, *rotary), _turn(k_BNHK, *rotary)
    return q_BNHK.transpose(1, 2), k_BNHK.transpose(1, 2), v_BNHK.transpose(1, 2)


def _turn(x_BNHK: Tensor, cos_NK: Tensor, sin_NK: Tensor) -> Tensor:
    cos_N1K, sin_N1K = cos_NK[:, None].to(x_BNHK.dtype), sin_NK[:, None].to(x_BNHK.dtype)
    first, second = x_BNHK.chunk(2, dim=-1)
    return torch.cat((first * cos_N1K - second * sin_N1K, second * cos_N1K + first * sin_N1K), dim=-1)


def attend(q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """The function softmax(q k^T / sqrt(K)) v; `mask` is True where a key may be seen."""
    return F.scaled_dot_product_attention(q_BHNK, k_BHNK, v_BHNK, attn_mask=mask, is_causal=causal)
