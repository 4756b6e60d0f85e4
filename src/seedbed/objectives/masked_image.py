"""Predict the patches of an image that the encoder did not see: the masked autoencoder."""

from __future__ import annotations

from typing import Annotated, final

from pydantic import Field
from torch import Tensor, nn

from seedbed.core.errors import UsageError
from seedbed.core.settings import Count, Section
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Setup, Views
from seedbed.data.augment import crop, mirror, unit
from seedbed.models import transformer
from seedbed.models.encoder import encoder_of
from seedbed.models.heads import zero_
from seedbed.models.patches import PatchDecoder, cut, hidden_of, num_seen, restored
from seedbed.models.stems import Normalise, patch_size

SETUP = Setup(
    modalities=("image",), trunks=("transformer",), batch_size=128, optimizer="muon", lr=3e-3, weight_decay=0.05
)

# Of a patch's variance, in normalised pixels: what keeps a flat patch from being divided by nothing.
EPSILON = 1e-6


class Config(Section):
    """How much is hidden, and how deep the decoder is."""

    hidden: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.75, description="share of the patches not seen")
    decoder: Count = Field(1, description="layers of the decoder, which is half as wide as the encoder")


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """The image, cropped (and mirrored, in colour) while training, and which of its patches are hidden.

    In every image the same number of patches is seen.
    """
    pixels_BCYX, keep_B = batch.inputs["image"]
    pixels_BCYX = unit(pixels_BCYX)
    if at.training:
        pixels_BCYX = crop(pixels_BCYX, at.keys)
        pixels_BCYX = mirror(pixels_BCYX, at.keys) if pixels_BCYX.shape[1] == 3 else pixels_BCYX
    rows, columns, _ = _grid(at.facts)
    hidden_BN = hidden_of(at.keys.uniform("hidden", rows * columns), config.hidden)
    return {"pixels_BCYX": pixels_BCYX, "hidden_BN": hidden_BN, "keep_B": keep_B}


def _grid(facts: Facts) -> tuple[int, int, int]:
    """Rows and columns of patches, and the side of one."""
    _, rows, columns = facts.image_shape
    patch = patch_size(rows, columns)
    return rows // patch, columns // patch, patch


@final
class MaskedImage(Learner):
    """A deep encoder of the patches seen, a light decoder of all; the loss is that of the hidden patches alone.

    Units: hidden patches; each counts the mean squared error of its values, which are brought to mean 0 and deviation
        1 within the patch.
    Chance: every patch predicted at its mean, which is zero; a flat patch then costs nothing. An average picture
        would do somewhat better; it is not counted.
    Source: He et al. 2021, Masked autoencoders are scalable vision learners, section 3 and table 1d.
    """

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.encoders = encoders
        rows, columns, self.patch = _grid(facts)
        num_values = facts.image_shape[0] * self.patch**2
        seen = num_seen(rows * columns, config.hidden)
        if not 0 < seen < rows * columns or num_values < 2:
            raise UsageError(
                f"masked_image cannot hide {config.hidden:g} of such small images.",
                found=f"{seen} of {rows} x {columns} patches of {num_values} values would be seen.",
                cause="At least one patch must be seen and one hidden, and a patch must hold several values.",
                fix="Set objective_options.hidden nearer to 0.5, or give larger images: --set data.image_size=32.",
            )
        trunk = encoder_of(encoders, "image").trunk
        assert isinstance(trunk, transformer.Trunk), "masked_image hides patches from a transformer"
        self.normalise = Normalise(facts)
        self.decoder = PatchDecoder(trunk.config, config.decoder, (rows, columns), num_values)

    def forward(self, views: Views, player: str) -> Loss:
        hidden_BN = views["hidden_BN"]
        encoder = encoder_of(self.encoders, "image")
        restored_IP = restored(encoder, self.decoder, views["pixels_BCYX"], views["keep_B"], hidden_BN)
        total = (restored_IP.float() - self._targets(views)).square().mean(1).sum()
        return Loss(total, hidden_BN.sum(), {})

    def _targets(self, views: Views) -> Tensor:
        """What the hidden patches hold, targets_IP."""
        values_IP = cut(self.normalise(views["pixels_BCYX"]), self.patch)[views["hidden_BN"]]
        variance_I1 = values_IP.var(1, keepdim=True)
        return (values_IP - values_IP.mean(1, keepdim=True)) / (variance_I1 + EPSILON).sqrt()

    def zero_head_(self, player: str) -> None:
        zero_(self.decoder.out)

    def at_zero(self, views: Views, player: str) -> float:
        return float(self._targets(views).square().mean())

    def chance(self, views: Views, player: str) -> float:
        return self.at_zero(views, player)
