"""The masked autoencoder: what is hidden, what is seen, what is counted, by hand and with faults planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seedbed.core.errors import UsageError
from seedbed.core.find import find
from seedbed.core.types import Facts, Learner, Loss, Views
from seedbed.models.encoder import Encoder, encoder_of
from seedbed.models.patches import cut, sine_positions
from seedbed.objectives import masked_image
from tests.contract.subjects import FACTS, SIDE, Subject, image_batch, moment, scoring

PATCH, NUM_PATCHES, NUM_SEEN = 2, 9, 2


def subject() -> Subject:
    return Subject("objectives", find("objectives", "masked_image"), "image", "transformer")


def livened(learner: Learner) -> Learner:
    """Away from the start, where values near zero would hide much."""
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw))
    return learner


def loss_of(learner: Learner, views: Views) -> Loss:
    with torch.no_grad():
        loss: Loss = learner(views, "model")
    return loss


def painted(views: Views, where_BN: Tensor, value: float = 0.9) -> Views:
    """The views with a checkerboard over some patches."""
    board_YX = (torch.arange(SIDE)[:, None] + torch.arange(SIDE)) % 2 * value
    grid_BYX = where_BN.unflatten(1, (SIDE // PATCH, -1))
    over_BYX = grid_BYX.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    return {**views, "pixels_BCYX": torch.where(over_BYX[:, None], board_YX, views["pixels_BCYX"])}


def test_the_same_number_of_patches_is_hidden_in_every_image_each_as_often() -> None:
    batch = image_batch(0, 2000)
    hidden_BN = subject().views(batch)["hidden_BN"]
    assert hidden_BN.shape == (2000, NUM_PATCHES)
    assert torch.equal((~hidden_BN).sum(1), torch.full((2000,), NUM_SEEN))
    assert (hidden_BN.double().mean(0) - (1 - NUM_SEEN / NUM_PATCHES)).abs().max() < 0.04


def test_masks_change_from_epoch_to_epoch_and_stay_when_scoring() -> None:
    made, batch = subject(), image_batch(0, 64)
    later = replace(batch, epochs_B=batch.epochs_B + 1)
    assert not torch.equal(made.views(batch)["hidden_BN"], made.views(later)["hidden_BN"])
    scored = [made.views(scoring(batch), training=False, step=step) for step in (3, 4)]
    assert torch.equal(scored[0]["hidden_BN"], scored[1]["hidden_BN"])
    assert torch.equal(scored[0]["pixels_BCYX"] * 255, batch.inputs["image"].values.float())


def test_training_crops_and_mirrors_colour_only() -> None:
    grey = image_batch(0, 16)
    assert not torch.equal(subject().views(grey)["pixels_BCYX"] * 255, grey.inputs["image"].values.float())
    pixels_BCYX = torch.zeros(64, 3, SIDE, SIDE, dtype=torch.uint8)
    pixels_BCYX[:, :, :, : SIDE // 2] = 255
    padded = grey.inputs["image"]._replace(values=pixels_BCYX, keep=torch.ones(64, dtype=torch.bool))
    batch = replace(image_batch(0, 64), inputs={"image": padded})
    facts = Facts("image", image_shape=(3, SIDE, SIDE))
    seen = masked_image.views(batch, masked_image.Config(), moment(batch, "image", facts=facts))["pixels_BCYX"]
    bright_left = seen[:, :, :, 0].mean((1, 2)) > seen[:, :, :, -1].mean((1, 2))
    assert 16 < int(bright_left.sum()) < 48


def sees_only_what_is_not_hidden(learner: Learner) -> None:
    """What is under the mask must not reach the encoder: its states are the same whatever is there."""
    views = subject().views(image_batch(0))
    asked: list[Tensor] = []
    handle = learner.get_submodule("decoder").register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    loss_of(learner, views)
    loss_of(learner, painted(views, views["hidden_BN"]))
    loss_of(learner, painted(views, ~views["hidden_BN"]))
    handle.remove()
    assert torch.equal(asked[0], asked[1])
    assert not torch.equal(asked[0], asked[2])


def counts_only_what_is_hidden(learner: Learner) -> None:
    """The loss by hand, patch by patch, from the decoder's answers."""
    views = subject().views(image_batch(0))
    answers: list[Tensor] = []
    handle = learner.get_submodule("decoder").register_forward_hook(lambda _, given, out: answers.append(out))
    loss = loss_of(learner, views)
    handle.remove()
    mean, std = FACTS["image"].channel_mean[0], FACTS["image"].channel_std[0]
    total, place = 0.0, 0
    for row in range(len(views["hidden_BN"])):
        for patch in range(NUM_PATCHES):
            if not views["hidden_BN"][row, patch]:
                continue
            top, left = patch // (SIDE // PATCH) * PATCH, patch % (SIDE // PATCH) * PATCH
            values = (views["pixels_BCYX"][row, 0, top : top + PATCH, left : left + PATCH].flatten() - mean) / std
            target = (values - values.mean()) / (values.var() + 1e-6).sqrt()
            total += float((answers[0][place] - target).square().mean())
            place += 1
    assert float(loss.count) == place == len(views["hidden_BN"]) * (NUM_PATCHES - NUM_SEEN)
    assert float(loss.total) == pytest.approx(total, rel=1e-4)


CHECKS: tuple[Callable[[Learner], None], ...] = (sees_only_what_is_not_hidden, counts_only_what_is_hidden)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_loss_is_that_of_the_paper(check: Callable[[Learner], None]) -> None:
    check(livened(subject().learner()))


def test_a_mask_that_is_not_applied_turns_its_check_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the encoder saw everything and only gave the states of what is not hidden."""

    def leaking(self: Encoder, values: Tensor, keep: Tensor, places_BN: Tensor) -> Tensor:
        states_BND = self(values, keep)
        return states_BND.gather(1, places_BN[:, :, None].expand(-1, -1, states_BND.shape[2]))

    learner = livened(subject().learner())
    monkeypatch.setattr(Encoder, "among", leaking)
    with pytest.raises(AssertionError):
        sees_only_what_is_not_hidden(learner)


def test_a_loss_over_visible_patches_too_turns_its_check_red() -> None:
    learner = livened(subject().learner())
    sound = learner.forward

    def everywhere(views: Views, player: str) -> Loss:
        hidden, seen = sound(views, player), sound({**views, "hidden_BN": views["hidden_BN"].roll(1, 1)}, player)
        return Loss(hidden.total + seen.total, hidden.count + seen.count, {})

    learner.forward = everywhere  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        counts_only_what_is_hidden(learner)


def test_what_zero_costs_is_known_for_noise_and_for_flat_patches() -> None:
    """Deviation by n - 1 but mean over n: (n - 1) / n for a patch of n values, and nothing where all are equal."""
    learner = subject().learner()
    views = subject().views(scoring(image_batch(0, 64)), training=False)
    values = PATCH**2
    assert learner.at_zero(views, "model") == pytest.approx((values - 1) / values, rel=1e-3)
    flat = {**views, "pixels_BCYX": torch.full_like(views["pixels_BCYX"], 0.3)}
    assert learner.at_zero(flat, "model") == pytest.approx(0.0, abs=1e-6)
    assert float(loss_of(learner, flat).total.isfinite())


@pytest.mark.parametrize("hidden", [0.95, 1e-20])
def test_images_of_too_few_patches_are_refused(hidden: float) -> None:
    made = subject()
    encoders = torch.nn.ModuleDict({"image": encoder_of(made.learner().encoders, "image")})
    with pytest.raises(UsageError, match=r"cannot hide .* of such small images"):
        masked_image.MaskedImage(masked_image.Config(hidden=hidden), encoders, FACTS["image"])


def test_patches_of_one_value_are_refused() -> None:
    """Nothing is left of one value that is brought to mean 0 and deviation 1."""
    made = subject()
    with pytest.raises(UsageError, match="1 x 8 patches of 1 values"):
        made.learner(facts=replace(FACTS["image"], image_shape=(1, 1, 8)))


def test_cutting_is_by_rows_and_keeps_channels_together() -> None:
    pixels_BCYX = torch.arange(2 * 5 * 7).reshape(1, 2, 5, 7).float()
    values_BNP = cut(pixels_BCYX, 2)
    assert values_BNP.shape == (1, 2 * 3, 2 * 2 * 2)
    fourth = pixels_BCYX[0, :, 2:4, 0:2]
    assert values_BNP[0, 3].tolist() == fourth.permute(1, 2, 0).flatten().tolist()


def test_positions_are_sines_of_column_and_row() -> None:
    positions = sine_positions(2, 3, 8)[0]
    assert positions.shape == (7, 8) and not positions[0].any()
    row, column = 1, 2
    rates = torch.tensor([1.0, 0.01])
    expected = torch.cat([f(side * rates) for side in (column, row) for f in (torch.sin, torch.cos)])
    assert torch.allclose(positions[1 + row * 3 + column], expected, atol=1e-6)
