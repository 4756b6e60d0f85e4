"""ResNets: parity with transformers, stems by image size, and what batch statistics ask of everything around them."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch

from seedbed.core.types import Facts
from seedbed.export.layouts import resnet_state
from seedbed.models import resnet
from seedbed.models.encoder import Encoder, build_encoder, make_spec, num_parameters
from seedbed.models.stems import Coarse, Fine

LARGE = Facts("image", image_shape=(3, 96, 80), channel_mean=(0.5, 0.4, 0.3), channel_std=(0.25, 0.2, 0.3))
SMALL = replace(LARGE, image_shape=(3, 64, 48))
# Published numbers of parameters without the classifier.
PUBLISHED = {"small": 11_176_512, "resnet34": 21_284_672, "base": 23_508_032}


def livened(encoder: Encoder) -> Encoder:
    """Gains, biases and statistics away from their start, where a forgotten one would not show.

    Blocks add little to what came in, as in a trained network: else states grow from block to block, and with them the
    rounding error.
    """
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    assert tensor is not None
                    tensor.add_(0.2 * torch.rand_like(tensor))
            if isinstance(module, resnet.Block):
                module.layers[-1].get_submodule("norm").weight.mul_(0.2)  # type: ignore[operator]
    return encoder.eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", ["nano", "small", "resnet34", "base"])
def test_the_coarse_stem_is_resnet_of_transformers(size: str) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    encoder = livened(build_encoder(make_spec("image", "resnet", size, LARGE), LARGE))
    assert isinstance(encoder.stem, Coarse)
    config = resnet.SIZES["image"][size]
    theirs = ResNetForImageClassification(
        ResNetConfig(
            embedding_size=config.stem_width,
            hidden_sizes=[config.width >> shift for shift in range(len(config.depths) - 1, -1, -1)],
            depths=list(config.depths),
            layer_type="bottleneck" if config.bottleneck else "basic",
        )
    ).eval()
    theirs.resnet.load_state_dict(resnet_state(encoder), strict=True)
    pixels_BCYX = torch.randint(0, 256, (3, 3, 96, 80), dtype=torch.uint8)
    keep_B = torch.ones(3, dtype=torch.bool)
    with torch.no_grad():
        expected = theirs.resnet(encoder.stem.normalise(pixels_BCYX))
        states_BND = encoder(pixels_BCYX, keep_B)
        assert float(states_BND.std()) > 0.1
        difference = states_BND - expected.last_hidden_state.flatten(2).transpose(1, 2)
        assert float(difference.abs().max()) <= 1e-5
        pooled_BD = encoder.pooled(pixels_BCYX, keep_B)
        torch.testing.assert_close(pooled_BD, expected.pooler_output.flatten(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", sorted(PUBLISHED))
def test_published_sizes_have_the_published_number_of_parameters(size: str) -> None:
    with torch.device("meta"):
        trunk = resnet.Trunk(resnet.SIZES["image"][size])
    stem = Coarse(LARGE, 64)
    assert num_parameters(trunk) + num_parameters(stem) == PUBLISHED[size]


def test_small_images_get_the_stem_that_keeps_every_pixel() -> None:
    assert make_spec("image", "resnet", "nano", LARGE).stem == "coarse"
    spec = make_spec("image", "resnet", "nano", SMALL)
    assert spec.stem == "fine"
    encoder = build_encoder(spec, SMALL)
    assert isinstance(encoder.stem, Fine) and not isinstance(encoder.stem, Coarse)
    # Three halvings of 64 x 48 pixels.
    states_BND = encoder(torch.zeros(2, 3, 64, 48, dtype=torch.uint8), torch.ones(2, dtype=torch.bool))
    assert states_BND.shape == (2, 8 * 6, 128)


def test_wanted_positions_are_those_of_the_whole() -> None:
    trunk = resnet.Trunk(resnet.Config(width=16, stem_width=8, depths=(1, 1))).eval()
    x_BDYX = torch.randn(2, 8, 6, 4)
    at_I = torch.tensor([0, 5, 7])
    assert torch.equal(trunk(x_BDYX, None, at_I=at_I), trunk(x_BDYX, None).flatten(0, 1)[at_I])


def test_every_size_ends_in_the_width_it_states() -> None:
    assert list(resnet.SIZES["image"]) == ["nano", "micro", "mini", "small", "resnet34", "base"]
    for config in resnet.SIZES["image"].values():
        with torch.device("meta"):
            states_BND = resnet.Trunk(config)(torch.zeros(1, config.stem_width, 16, 16), None)
        assert states_BND.shape[2] == config.width, asdict(config)
