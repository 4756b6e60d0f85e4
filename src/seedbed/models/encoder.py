"""The encoder: stem and trunk, the only thing carried from pretraining to fine-tuning."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from torch import Tensor, nn

import seedbed.models
from seedbed.core.errors import UsageError, nearest
from seedbed.core.types import Facts
from seedbed.models.stems import BY_NAME, Stem, Tokens


@dataclass(frozen=True)
class EncoderSpec:
    """Everything, beside the facts of the data, that is needed to build an encoder again; JSON-able by `asdict`.

    Attributes:
        modality: "text", "image" or "vector".
        stem: name of the stem.
        trunk: file of seedbed/models that holds the trunk.
        size: row of that file's SIZES the options came from.
        options: fields of the trunk's Config.
    """

    modality: str
    stem: str
    trunk: str
    size: str
    options: dict[str, Any]

    @property
    def stem_width(self) -> int:
        """Channels the stem makes: fewer than the width of the states where the trunk widens."""
        return int(self.options.get("stem_width", self.options["width"]))


class Encoder(nn.Module):
    """A stem and a trunk of the same width, and the counts they were built with: what they look up, how they scale."""

    def __init__(self, spec: EncoderSpec, stem: Stem, trunk: nn.Module, facts: Facts) -> None:
        super().__init__()
        self.spec = spec
        self.facts = facts
        self.width: int = spec.options["width"]
        self.stem = stem
        self.trunk = trunk

    def forward(self, values: Tensor, keep: Tensor, causal: bool = False) -> Tensor:
        """States of all positions.

        Args:
            values: tokens_BN (int64), or pixels_BCYX (uint8, or floating point in 0..1).
            keep: keep_BN for text, with padding at the end only; keep_B for images.
            causal: whether a position sees only itself and those before it.

        Returns:
            states_BND after the final norm; at padded positions they mean nothing.
        """
        x_BND, keep_BN = self.stem(values, keep)
        states_BND: Tensor = self.trunk(x_BND, keep_BN, causal)
        return states_BND

    def at(self, values: Tensor, keep: Tensor, wanted_BN: Tensor, causal: bool = False) -> Tensor:
        """States of some positions only, the same as `forward(...)[wanted_BN]` with less work in the last layer.

        Args:
            values: tokens_BN.
            keep: keep_BN, with padding at the end only.
            wanted_BN: True where the state is wanted.
            causal: whether a position sees only itself and those before it.

        Returns:
            states_ID, in the order of the positions.
        """
        x_BND, keep_BN = self.stem(values, keep)
        at_I = wanted_BN.flatten().nonzero()[:, 0]
        states_ID: Tensor = self.trunk(x_BND, keep_BN, causal, at_I)
        return states_ID

    def among(self, values: Tensor, keep: Tensor, places_BN: Tensor) -> Tensor:
        """States of some positions, as if there were no others: what is left out is neither seen nor paid for.

        Args:
            values: pixels_BCYX.
            keep: keep_B.
            places_BN: int64, which of the stem's positions there are.

        Returns:
            states_BND of those positions, in their order.
        """
        x_BND, keep_BN = self.stem(values, keep)
        assert keep_BN is None, f"{self.spec.stem} pads, and which of its positions are real would be lost"
        chosen_BND = x_BND.gather(1, places_BN[:, :, None].expand(-1, -1, x_BND.shape[2]))
        states_BND: Tensor = self.trunk(chosen_BND, None)
        return states_BND

    def table(self) -> nn.Embedding:
        """The token embeddings of a text encoder, to which heads are tied."""
        assert isinstance(self.stem, Tokens), f"{self.spec.stem} has no tokens"
        return self.stem.embedding

    def pooled(self, values: Tensor, keep: Tensor) -> Tensor:
        """One vector an example, pooled_BD: the weighted mean of a text or map, the class token, the one state."""
        return self.stem.pool(self(values, keep), values, keep)


def encoder_of(encoders: nn.ModuleDict, modality: str) -> Encoder:
    """The encoder of a modality, with its type."""
    encoder = encoders[modality]
    assert isinstance(encoder, Encoder), f"{type(encoder).__name__} is no encoder"
    return encoder


def available_trunks() -> list[str]:
    """Names of the files of seedbed/models that hold a trunk which can be made from scratch."""
    return [name for name, module in _trunk_files().items() if module.STEMS]


def _trunk_files() -> dict[str, ModuleType]:
    names = sorted(found.name for found in pkgutil.iter_modules(seedbed.models.__path__))
    modules = {name: importlib.import_module(f"seedbed.models.{name}") for name in names}
    return {name: module for name, module in modules.items() if "Trunk" in vars(module)}


def shape_of(modality: str, trunk: str, size: str) -> Any:
    """The Config of one of a trunk's sizes.

    Raises:
        UsageError: an unknown trunk or size, or a trunk that cannot take the modality.
    """
    module = _trunk_module(trunk, available_trunks())
    if modality not in module.STEMS:
        able = [name for name, other in _trunk_files().items() if modality in other.STEMS]
        raise UsageError(
            f'The trunk "{trunk}" cannot read {modality}.',
            found=f"It reads: {', '.join(module.STEMS)}.",
            fix=f"For {modality} choose --trunk {' or '.join(able)}.",
        )
    sizes = module.SIZES[modality]
    if size not in sizes:
        raise UsageError(
            f'The trunk "{trunk}" has no size "{size}" for {modality}.',
            cause=nearest(size, sizes),
            fix=f"Choose --size {' or '.join(sizes)}.",
        )
    return sizes[size]


def make_spec(modality: str, trunk: str, size: str, facts: Facts) -> EncoderSpec:
    """Describe an encoder by names.

    Args:
        modality: "text", "image" or "vector".
        trunk: one of `available_trunks()`.
        size: one of the trunk's sizes for that modality, such as "nano" or "micro".
        facts: counts of the training rows.

    Raises:
        UsageError: an unknown trunk or size, a trunk that cannot take the modality, or data without a shape.
    """
    config = shape_of(modality, trunk, size)
    _check_facts(modality, facts)
    stem = next(name for name in _trunk_files()[trunk].STEMS[modality] if BY_NAME[name].suits(facts))
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}
    return EncoderSpec(modality, stem, trunk, size, options)


def build_encoder(spec: EncoderSpec, facts: Facts) -> Encoder:
    """Build an encoder, initialised from torch's global generator: the caller seeds it.

    Args:
        spec: from `make_spec`, or read back from a model folder.
        facts: the same that the spec was made with: vocabulary, document counts, image shape and pixel statistics.
    """
    module = _trunk_module(spec.trunk, _trunk_files())
    config = module.Config(**frozen(spec.options))
    return Encoder(spec, BY_NAME[spec.stem](facts, spec.stem_width), module.Trunk(config), facts)


def frozen(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields as JSON has them, with tuples for its lists: what a frozen dataclass is made of."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def num_parameters(module: nn.Module) -> int:
    """How many numbers a module learns, those shared counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def _trunk_module(name: str, known: Collection[str]) -> ModuleType:
    if name not in known:
        raise UsageError(
            f'There is no trunk "{name}".', cause=nearest(name, known), fix=f"Choose --trunk {' or '.join(known)}."
        )
    return importlib.import_module(f"seedbed.models.{name}")


def _check_facts(modality: str, facts: Facts) -> None:
    if modality == "text" and facts.vocab_size == 0:
        raise UsageError(
            "A text encoder needs a vocabulary.",
            found="The prepared data have none.",
            fix="Prepare the data again with a tokenizer: --set data.tokenizer=bpe.",
        )
    if modality == "image" and 0 in facts.image_shape:
        raise UsageError(
            "An image encoder needs images of a known size.",
            found=f"{facts.image_shape} channels, rows and columns.",
            fix="Give the size in pixels: --set data.image_size=32.",
        )
