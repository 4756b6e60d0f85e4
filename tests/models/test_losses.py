"""Losses against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from seedbed.models.losses import discriminator_loss, generator_loss, negative_sampling, nt_xent, token_cross_entropy


def test_token_cross_entropy_with_a_zero_head_is_n_ln_v() -> None:
    total = token_cross_entropy(torch.randn(7, 4), torch.zeros(13, 4), torch.randint(0, 13, (7,)))
    assert float(total) == pytest.approx(7 * math.log(13), rel=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_nt_xent_of_equal_projections_is_chance(scale: float) -> None:
    total = nt_xent(torch.full((10, 3), scale), 0.5)
    assert float(total) == pytest.approx(10 * math.log(9), rel=1e-6)


def test_nt_xent_of_perfect_pairs() -> None:
    # Both views of each example alike, different examples orthogonal: one logit of 1 / t among 2 B - 2 zeros.
    total = nt_xent(torch.eye(4).repeat(2, 1), 0.2)
    assert float(total) == pytest.approx(8 * math.log(1 + 6 * math.exp(-5)), rel=1e-5)


def test_nt_xent_pairs_the_halves_and_ignores_scale() -> None:
    first_BD, second_BD = torch.randn(5, 3), torch.randn(5, 3)
    z_2BD = torch.cat((first_BD, second_BD))
    logits = F.normalize(z_2BD) @ F.normalize(z_2BD).T / 0.3
    by_hand = sum(torch.logsumexp(logits[i][torch.arange(10) != i], 0) - logits[i, (i + 5) % 10] for i in range(10))
    assert float(nt_xent(z_2BD, 0.3)) == pytest.approx(float(by_hand), rel=1e-5)
    assert float(nt_xent(7 * z_2BD, 0.3)) == pytest.approx(float(by_hand), rel=1e-5)
    swapped = torch.cat((second_BD, first_BD))
    assert float(nt_xent(swapped, 0.3)) == pytest.approx(float(by_hand), rel=1e-5)


def test_nt_xent_is_computed_in_full_precision_under_autocast() -> None:
    z_2BD = torch.randn(8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(nt_xent(z_2BD, 0.1)) == pytest.approx(float(nt_xent(z_2BD, 0.1)))
        low = nt_xent(z_2BD, 0.1)
    assert torch.equal(low, nt_xent(z_2BD, 0.1))


def test_negative_sampling() -> None:
    total = negative_sampling(torch.zeros(2, 3), torch.zeros(4), torch.tensor([[1.0], [0.5]]), 0.25)
    assert float(total) == pytest.approx((3 + 1.5 + 1) * math.log(2), rel=1e-6)
    total = negative_sampling(torch.tensor([2.0]), torch.tensor([-3.0]))
    assert float(total) == pytest.approx(math.log1p(math.exp(-2)) + math.log1p(math.exp(-3)), rel=1e-6)


def test_adversarial_losses() -> None:
    zeros_B = torch.zeros(6)
    assert float(discriminator_loss(zeros_B, zeros_B)) == pytest.approx(12 * math.log(2), rel=1e-6)
    assert float(generator_loss(zeros_B)) == pytest.approx(6 * math.log(2), rel=1e-6)
    real_B, fake_B = torch.tensor([1.0]), torch.tensor([2.0])
    assert float(discriminator_loss(real_B, fake_B)) == pytest.approx(math.log1p(math.exp(-1)) + math.log1p(math.e**2))
    # The generator gains where the discriminator loses, and its gradient does not vanish when it is found out.
    fake_B = torch.tensor([-20.0]).requires_grad_()
    generator_loss(fake_B).backward()
    assert fake_B.grad is not None and float(fake_B.grad) == pytest.approx(-1, abs=1e-6)
