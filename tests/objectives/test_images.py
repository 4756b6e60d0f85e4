"""Contrastive, denoising and adversarial learners: views, closed forms, and a slow transcription of NT-Xent."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from seedbed.core.find import find
from seedbed.core.types import Padded
from seedbed.models.encoder import encoder_of
from seedbed.objectives import adversarial, contrastive, denoising
from tests.contract.subjects import FACTS, SIDE, Subject, image_batch, moment, run, text_batch


def subject(name: str, modality: str = "image", trunk: str = "mlp") -> Subject:
    return Subject("objectives", find("objectives", name), modality, trunk)


def test_contrastive_loss_equals_algorithm_1_of_simclr() -> None:
    made = subject("contrastive")
    learner, views = made.learner(), made.views(image_batch(0))
    encoder, projector = encoder_of(learner.encoders, "image"), learner.get_submodule("projector")
    z = [
        F.normalize(projector(encoder.pooled(views[f"{n}_values"], views[f"{n}_keep"])), dim=1)
        for n in ("first", "second")
    ]
    temperature, size = contrastive.Config().temperature, len(z[0])
    both = torch.cat(z).detach()
    total = 0.0
    for i in range(2 * size):
        scores = [math.exp(float(both[i] @ both[k]) / temperature) for k in range(2 * size)]
        total -= math.log(scores[(i + size) % (2 * size)] / (sum(scores) - scores[i]))
    loss = learner(views, "model")
    assert int(loss.count) == 2 * size
    assert float(loss.total.detach()) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_the_two_views_of_an_image_differ(training: bool) -> None:
    views = subject("contrastive").views(image_batch(0), training=training)
    assert not torch.equal(views["first_values"], views["second_values"])
    assert views["first_values"].shape == (8, 1, SIDE, SIDE)


def test_views_of_an_image_differ_in_light_by_as_much_as_is_set() -> None:
    batch = image_batch(0)
    values, keep = batch.inputs["image"]
    batch = replace(batch, inputs={"image": Padded(torch.full_like(values, 102), keep)})
    for light in (0.0, 0.5):
        views = contrastive.views(batch, contrastive.Config(light=light), moment(batch, "image"))
        spread = (views["first_values"] - 0.4).abs().amax()
        assert 0.04 < spread <= 0.2 if light else spread < 1e-6


def test_views_of_a_text_are_subsequences_and_never_empty() -> None:
    batch = text_batch(0, 32)
    at = moment(batch, "text")
    views = contrastive.views(batch, contrastive.Config(dropped=0.9), at)
    tokens_BN, keep_BN = batch.inputs["text"]
    for name in ("first", "second"):
        for row in range(32):
            whole = iter(tokens_BN[row, keep_BN[row]].tolist())
            part = views[f"{name}_values"][row, views[f"{name}_keep"][row]].tolist()
            assert part and all(token in whole for token in part)
            assert bool(views[f"{name}_keep"][row, : len(part)].all())
    assert not torch.equal(views["first_keep"], views["second_keep"])


def test_share_of_dropped_tokens() -> None:
    batch = text_batch(0, 600)
    keep_BN = batch.inputs["text"].keep
    views = contrastive.views(batch, contrastive.Config(dropped=0.4), moment(batch, "text"))
    assert int(views["first_keep"].sum()) / int(keep_BN.sum()) == pytest.approx(0.6, abs=0.03)


def test_damage_hides_whole_pixels_and_adds_noise_to_the_rest() -> None:
    batch = image_batch(0, 200)
    views = denoising.views(batch, denoising.Config(hidden=0.25, noise=0.2), moment(batch, "image"))
    mean = FACTS["image"].channel_mean[0]
    hidden = views["damaged_BCYX"] == mean
    assert float(hidden.double().mean()) == pytest.approx(0.25, abs=0.02)
    added = (views["damaged_BCYX"] - views["clean_BCYX"])[~hidden]
    assert float(added.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(added.std()) == pytest.approx(0.2, abs=0.01)
    assert torch.equal(views["clean_BCYX"] * 255, batch.inputs["image"].values.float())


def test_denoising_chance_is_what_predicting_the_mean_costs() -> None:
    """On the very images whose mean and deviation the facts hold."""
    made = subject("denoising")
    learner = made.learner()
    learner.zero_head_("model")
    views = [made.views(image_batch(seed)) for seed in range(20)]
    total = sum(float(learner(seen, "model").total.detach()) for seen in views)
    count = sum(float(learner(seen, "model").count) for seen in views)
    chance = learner.chance(views[0], "model")
    assert chance == pytest.approx(1.0)
    assert total / count == pytest.approx(chance, rel=1e-3)


def test_denoising_counts_pixels_and_sums_squares() -> None:
    made = subject("denoising")
    learner, views = made.learner(), made.views(image_batch(0))
    torch.nn.init.normal_(learner.get_submodule("decoder").out.weight)  # type: ignore[arg-type, union-attr]
    mean, std = FACTS["image"].channel_mean[0], FACTS["image"].channel_std[0]
    pooled_BD = encoder_of(learner.encoders, "image").pooled(views["damaged_BCYX"], views["keep_B"])
    restored_BCYX = learner.get_submodule("decoder")(pooled_BD)
    expected = ((restored_BCYX - (views["clean_BCYX"] - mean) / std) ** 2).sum()
    loss = learner(views, "model")
    assert int(loss.count) == 8 * SIDE * SIDE
    assert float(loss.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_generated_images_are_pixels_and_follow_the_noise() -> None:
    made = subject("adversarial")
    training = made.training(5)
    run(training, image_batch)
    views = made.views(image_batch(0))
    assert views["noise_BZ"].shape == (8, adversarial.Config().noise)
    fake = training.learner.get_submodule("generator")(views["noise_BZ"]).sigmoid()
    assert fake.shape == (8, 1, SIDE, SIDE)
    assert not torch.equal(fake[0], fake[1])


def test_the_players_losses_are_those_of_the_paper() -> None:
    made = subject("adversarial")
    learner, views = made.learner(), made.views(image_batch(0))
    critic, encoder = learner.get_submodule("critic"), encoder_of(learner.encoders, "image")
    torch.nn.init.normal_(critic.out.weight)  # type: ignore[arg-type, union-attr]
    fake = learner.get_submodule("generator")(views["noise_BZ"]).sigmoid()
    d_real = critic(encoder.pooled(views["pixels_BCYX"], views["keep_B"])).sigmoid()
    d_fake = critic(encoder.pooled(fake, views["keep_B"])).sigmoid()
    loss = learner(views, "discriminator")
    assert float(loss.total.detach()) == pytest.approx(
        float(-(d_real.log() + (1 - d_fake).log()).sum().detach()), rel=1e-4
    )
    assert float(learner(views, "generator").total.detach()) == pytest.approx(
        float(-d_fake.log().sum().detach()), rel=1e-4
    )
    told, of = loss.metrics["told_apart"]
    assert int(told) == int((d_real > 0.5).sum() + (d_fake < 0.5).sum()) and int(of) == 16


def test_the_discriminator_learns_to_tell_and_the_generator_to_deceive() -> None:
    made = subject("adversarial")
    training = made.training(60)
    done = run(training, image_batch)
    assert max(item.metrics["told_apart"] for item in done) > 0.9
    views = made.views(image_batch(0))
    before = made.learner().get_submodule("generator")(views["noise_BZ"]).sigmoid().mean()
    after = training.learner.get_submodule("generator")(views["noise_BZ"]).sigmoid().mean()
    real = views["pixels_BCYX"].float().mean() / 255
    assert abs(float((after - real).detach())) < abs(float((before - real).detach()))
