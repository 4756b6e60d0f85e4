"""What is fused computes the plain expression: values and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seedbed.models import fused
from seedbed.models.fused import Rotary, _KeptAttention, add_norm, attention, linear_cross_entropy, rotary_table
from seedbed.models.transformer import padding_mask

H, K = 2, 6


def plain_attention(qkv_BN3D: Tensor, rotary: Rotary | None, mask: Tensor | None, causal: bool) -> Tensor:
    """By the book: complex rotation, a full score matrix."""
    q, k, v = qkv_BN3D.unflatten(-1, (3, H, K)).permute(2, 0, 3, 1, 4)
    if rotary is not None:
        turn_NK = torch.complex(*rotary)
        q, k = (torch.complex(*x.chunk(2, dim=-1)) * turn_NK for x in (q, k))
        q, k = (torch.cat((x.real, x.imag), dim=-1) for x in (q, k))
    scores = q @ k.mT / K**0.5
    if causal:
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


CASES = [
    pytest.param(n, causal, padded, turned, id=f"{n}-{'causal' if causal else 'full'}-{padded}-{turned}")
    for n in (1, 7, 130)
    for causal, padded in ((False, False), (False, True), (True, False))
    for turned in (True, False)
]


@pytest.mark.parametrize(("num_positions", "causal", "padded", "turned"), CASES)
def test_attention_is_the_plain_expression(num_positions: int, causal: bool, padded: bool, turned: bool) -> None:
    qkv_BN3D = torch.randn(3, num_positions, 3 * H * K, dtype=torch.float64, requires_grad=True)
    cos_NK, sin_NK = (table.double() for table in rotary_table(num_positions, K, 100.0))
    rotary = (cos_NK, sin_NK) if turned else None
    lengths = torch.tensor([num_positions, max(1, num_positions // 2), 0])
    mask = padding_mask(torch.arange(num_positions) < lengths[:, None]) if padded else None
    plain_BND = plain_attention(qkv_BN3D, rotary, mask, causal)
    direction_BND = torch.randn_like(plain_BND)
    expected = torch.autograd.grad(plain_BND, qkv_BN3D, direction_BND)[0]
    kept_BND = _KeptAttention.apply(qkv_BN3D, H, *(rotary or (None, None)), mask, causal)
    for found_BND in (kept_BND, attention(qkv_BN3D, H, rotary, mask, causal)):
        torch.testing.assert_close(found_BND, plain_BND, atol=1e-12, rtol=0)
        torch.testing.assert_close(torch.autograd.grad(found_BND, qkv_BN3D, direction_BND)[0], expected)


def test_bfloat16_on_a_processor_takes_the_kept_path_up_to_its_limit() -> None:
    def node(num_positions: int) -> str:
        qkv_BN3D = torch.randn(1, num_positions, 3 * H * K, dtype=torch.bfloat16, requires_grad=True)
        return str(attention(qkv_BN3D, H, None, None, False).grad_fn)

    assert "KeptAttention" in node(fused.MAX_KEPT)
    assert "KeptAttention" not in node(fused.MAX_KEPT + 1)


def test_bfloat16_attention_is_close_to_full_precision() -> None:
    qkv_BN3D = torch.randn(2, 40, 3 * H * K)
    low = attention(qkv_BN3D.bfloat16(), H, rotary_table(40, K, 100.0), None, True)
    full = attention(qkv_BN3D, H, rotary_table(40, K, 100.0), None, True)
    torch.testing.assert_close(low.float(), full, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("adds", [True, False])
def test_add_norm_is_the_plain_expression(adds: bool) -> None:
    x, y, direction = torch.randn(3, 2, 5, 8, dtype=torch.float64)
    weight = torch.rand(8, dtype=torch.float64) + 0.5
    leaves = [tensor.requires_grad_() for tensor in ((x, y, weight) if adds else (x, weight))]
    total, normed = add_norm(x, y if adds else None, weight, 1e-3)
    plain_total = x + y if adds else x
    plain = plain_total / (plain_total.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight
    torch.testing.assert_close(total, plain_total)
    torch.testing.assert_close(normed, plain)
    # Both outputs lead on: the stream itself, and what the next layer reads of it.
    found = torch.autograd.grad((total.sin() * direction + normed.cos()).sum(), leaves)
    expected = torch.autograd.grad((plain_total.sin() * direction + plain.cos()).sum(), leaves)
    torch.testing.assert_close(found, expected)


def test_add_norm_with_an_unused_sum() -> None:
    x, y, weight = torch.randn(2, 3, 4).requires_grad_(), torch.randn(2, 3, 4).requires_grad_(), torch.ones(4)
    found = torch.autograd.grad(add_norm(x, y, weight, 1e-5)[1].square().sum() + 0 * x.sum(), (x, y))
    torch.testing.assert_close(found[0], found[1])
    assert torch.autograd.grad(add_norm(x, y, weight, 1e-5)[0].sum(), x)[0].eq(1).all()


@pytest.mark.parametrize("piece", [1, 40, 10_000])
def test_cross_entropy_in_pieces_is_the_plain_one(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "MAX_LOGITS", piece)
    states_ND, weight_VD = torch.randn(23, 8).requires_grad_(), torch.randn(11, 8).requires_grad_()
    targets_N = torch.randint(0, 11, (23,))
    found = linear_cross_entropy(states_ND, weight_VD, targets_N)
    expected = F.cross_entropy(states_ND @ weight_VD.T, targets_N, reduction="sum")
    torch.testing.assert_close(found, expected)
    leaves = (states_ND, weight_VD)
    torch.testing.assert_close(torch.autograd.grad(found / 7, leaves), torch.autograd.grad(expected / 7, leaves))
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(states_ND, weight_VD, targets_N), expected)


def test_cross_entropy_of_nothing_is_zero_with_a_gradient() -> None:
    states_ND, weight_VD = torch.randn(0, 8).requires_grad_(), torch.randn(11, 8).requires_grad_()
    total = linear_cross_entropy(states_ND, weight_VD, torch.zeros(0, dtype=torch.int64))
    total.backward()
    assert total == 0 and weight_VD.grad is not None and not weight_VD.grad.any()


def test_cross_entropy_trains_a_frozen_head_s_states_only() -> None:
    states_ND, weight_VD = torch.randn(5, 8).requires_grad_(), torch.randn(11, 8)
    linear_cross_entropy(states_ND, weight_VD, torch.arange(5)).backward()
    assert states_ND.grad is not None and states_ND.grad.any() and weight_VD.grad is None
