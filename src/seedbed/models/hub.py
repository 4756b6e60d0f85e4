"""Checkpoints of the transformers library as encoders: its own classes, filled from verified files.

The one place that knows how a stranger's checkpoint becomes an encoder. Only the families below, only weights in
safetensors, never code that comes with a checkpoint. What the encoder needs to be built again stands in its spec, so
that a model folder of ours does not need the original one; it does need the library (the extra [hub]).
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.core.errors import DataError, UsageError, first_line, nearest
from seedbed.core.extras import require
from seedbed.core.types import Facts
from seedbed.models.encoder import Encoder, EncoderSpec
from seedbed.models.stems import BY_NAME
from seedbed.models.untrusted import load_weights, read_json_file

# Nothing is made from scratch here: a checkpoint brings its own shape.
STEMS: dict[str, tuple[str, ...]] = {}
SIZES: dict[str, Any] = {}

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"


@dataclass(frozen=True)
class Family:
    """One of the architectures that may come in.

    Attributes:
        modality: what it reads.
        name: its class in transformers, without a head.
        stem: how its states become one vector an example.
        pooler: whether the class has a pooling layer on top, which is left out: its weights are a head's.
    """

    modality: str
    name: str
    stem: str
    pooler: bool = False


FAMILIES = {
    "bert": Family("text", "BertModel", "raw_mean", pooler=True),
    "roberta": Family("text", "RobertaModel", "raw_mean", pooler=True),
    "gpt2": Family("text", "GPT2Model", "raw_mean"),
    "llama": Family("text", "LlamaModel", "raw_mean"),
    "eurobert": Family("text", "EuroBertModel", "raw_mean"),
    "vit": Family("image", "ViTModel", "raw_first", pooler=True),
    "resnet": Family("image", "ResNetModel", "raw_mean"),
}
# What a config.json may say that would change how numbers are held, or where something is looked up.
DROPPED = ("dtype", "torch_dtype", "_name_or_path", "transformers_version", "_attn_implementation")


@dataclass(frozen=True)
class Config:
    """A checkpoint's shape, and how its inputs are made.

    Attributes:
        width: of a state.
        family: a key of FAMILIES.
        config: its config.json.
        context: most tokens of a text, those put around it not counted; None: any number, and for images.
        prefix, suffix: ids that stand before and after every text.
        pad: id at positions that are not real.
        scale: what pixels in 0..255 are multiplied with.
        mean, std: what is then subtracted, and divided by, per channel.
    """

    width: int
    family: str
    config: dict[str, Any]
    context: int | None = None
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    pad: int = 0
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


class Trunk(nn.Module):
    """A network of transformers between plain inputs and the states of its last layer."""

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        require("hub", "A model that began as a checkpoint of transformers")
        self.config = config
        self.net = _class_of(config.family)(_library_config(config), **_without_pooler(config.family))
        for name, values in (("mean_C11", config.mean), ("std_C11", config.std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None], persistent=False)

    def forward(self, x: Tensor, keep_BN: Tensor | None, causal: bool = False, at_I: Tensor | None = None) -> Tensor:
        """States after the last layer.

        Args:
            x: tokens_BN, or pixels_BCYX (uint8, or floating point in 0..1).
            keep_BN: True where a token is real, padding at the end only; None for images.
            causal: not looked at: what a position sees is the checkpoint's own affair.
            at_I: positions whose states are wanted, as indices into B x N; None: all.

        Returns:
            states_BND: those of the text's own tokens; of the class token and the patches; of the last map's places.
        """
        states_BND = self._of_pixels(x) if keep_BN is None else self._of_tokens(x, keep_BN)
        return states_BND if at_I is None else states_BND.flatten(0, 1)[at_I]

    def _of_tokens(self, tokens_BN: Tensor, keep_BN: Tensor) -> Tensor:
        before, after = self.config.prefix, self.config.suffix
        num = tokens_BN.shape[1]
        # Some families find their positions by looking for padding, so it has to be theirs.
        ids_BN = tokens_BN.masked_fill(~keep_BN, self.config.pad)
        ends_B1 = keep_BN.sum(1, keepdim=True) + len(before)
        rows = [tokens_BN.new_tensor(before).expand(ids_BN.shape[0], -1), ids_BN]
        ids_BN = torch.cat([*rows, ids_BN.new_full((ids_BN.shape[0], len(after)), self.config.pad)], dim=1)
        places_1N = torch.arange(len(after), device=ids_BN.device)
        ids_BN = ids_BN.scatter(1, ends_B1 + places_1N, tokens_BN.new_tensor(after).expand(ids_BN.shape[0], -1))
        mask_BN = torch.arange(ids_BN.shape[1], device=ids_BN.device) < ends_B1 + len(after)
        states_BND = self.net(input_ids=ids_BN, attention_mask=mask_BN.long()).last_hidden_state
        return states_BND[:, len(before) : len(before) + num]

    def _of_pixels(self, pixels_BCYX: Tensor) -> Tensor:
        # 0..1 comes from augmentation: back to where the checkpoint's own scale applies.
        raw_BCYX = pixels_BCYX.float() if pixels_BCYX.dtype == torch.uint8 else pixels_BCYX * 255
        given_BCYX = (raw_BCYX * self.config.scale - self.mean_C11) / self.std_C11
        if self.config.family == "vit":
            side = self.net.config.image_size
            other = list(pixels_BCYX.shape[2:]) != (list(side) if isinstance(side, list | tuple) else [side, side])
            states_BND: Tensor = self.net(given_BCYX, interpolate_pos_encoding=other).last_hidden_state
            return states_BND
        return self.net(given_BCYX).last_hidden_state.flatten(2).mT


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        encoder: with its weights, in evaluation mode.
        unused: names of tensors that belong to heads, and are left out.
    """

    encoder: Encoder
    unused: list[str]


def describe(folder: Path) -> tuple[str, dict[str, Any]]:
    """Family and config.json of a checkpoint, without reading weights.

    Raises:
        UsageError: an architecture that is not on the list, or one that wants to run its own code.
        DataError: config.json is missing or damaged.
    """
    told = read_json_file(folder / CONFIG, "nobody knows the shape of the network")
    if "auto_map" in told:
        raise UsageError(
            f"{folder / CONFIG} wants to run code that comes with the checkpoint (auto_map).",
            found=str(told["auto_map"])[:200],
            cause="Seedbed never runs such code.",
            fix='If the architecture is one of transformers by now, take "auto_map" out of config.json.',
        )
    family = told.get("model_type")
    if family not in FAMILIES:
        raise UsageError(
            f"{folder / CONFIG}: the architecture {family!r} cannot come in.",
            found=f"Those that can: {', '.join(sorted(FAMILIES))}.",
            cause=nearest(str(family), FAMILIES),
            fix="Give a checkpoint of one of these families.",
        )
    if "quantization_config" in told:
        raise UsageError(
            f"{folder / CONFIG}: the weights are quantised.",
            cause="Quantised weights cannot be trained further.",
            fix="Give the checkpoint in full precision.",
        )
    return family, {name: value for name, value in told.items() if name not in DROPPED}


def load_checkpoint(folder: Path, facts: Facts, inputs: dict[str, Any]) -> Checkpoint:
    """Read a checkpoint's encoder; heads are left out.

    Args:
        folder: of the checkpoint.
        facts: of the data, or only their modality.
        inputs: fields of Config that say how inputs are made.

    Raises:
        UsageError, DataError: it is refused, damaged, or lacks weights.
    """
    require("hub", "Reading a checkpoint of transformers")
    name, told = describe(folder)
    family = FAMILIES[name]
    library = _read_config(folder, name, told)
    width = int(library.hidden_sizes[-1] if name == "resnet" else library.hidden_size)
    if family.modality == "text":
        inputs = {**inputs, "context": _context(name, library, inputs), "pad": library.pad_token_id or 0}
    config = Config(width=width, family=name, config=told, **inputs)
    tensors = load_weights(folder)
    spec = EncoderSpec(family.modality, family.stem, "hub", name, asdict(config))
    with torch.random.fork_rng(devices=[]):
        trunk = Trunk(config)
        unused = _fill(folder, trunk, tensors)
    return Checkpoint(Encoder(spec, BY_NAME[family.stem](facts, width), trunk, facts).eval(), unused)


def _fill(folder: Path, trunk: Trunk, tensors: dict[str, Tensor]) -> list[str]:
    """Give the network its weights, under whatever names earlier versions of the library used; the rest is returned."""
    kind, logging = type(trunk.net), importlib.import_module("transformers").utils.logging
    given = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        filled, info = kind.from_pretrained(
            None,
            config=trunk.net.config,
            state_dict=given,
            output_loading_info=True,
            dtype=torch.float32,
            **_without_pooler(trunk.config.family),
        )
    except Exception as error:  # the library raises whatever it likes
        raise DataError(
            f"The weights of {folder} do not fit its {CONFIG}.",
            found=first_line(error),
            fix="Copy the checkpoint again from where it came from.",
        ) from error
    finally:
        logging.set_verbosity(before)
    absent = sorted(info["missing_keys"])
    if absent:
        raise DataError(
            f"{folder} lacks {len(absent)} of the weights that a {kind.__name__} has.",
            found=f"Missing: {', '.join(absent[:5])}. There: {', '.join(sorted(tensors)[:5])}.",
            cause="The file is of another network, or of an adapter alone.",
            fix="Give a whole checkpoint.",
        )
    trunk.net = filled
    return sorted(info["unexpected_keys"])


def _library_config(config: Config) -> Any:
    transformers = importlib.import_module("transformers")
    made = transformers.CONFIG_MAPPING[config.family].from_dict(config.config)
    made._attn_implementation = "sdpa" if config.family != "resnet" else "eager"
    return made


def _read_config(folder: Path, family: str, told: dict[str, Any]) -> Any:
    try:
        return _library_config(Config(0, family, told))
    except Exception as error:  # the library raises whatever it likes
        raise DataError(
            f"{folder / CONFIG} is no {FAMILIES[family].name} that transformers knows.",
            found=first_line(error),
            fix="Copy the checkpoint again from where it came from.",
        ) from error


def _context(family: str, library: Any, inputs: dict[str, Any]) -> int:
    positions = int(library.max_position_embeddings)
    if family == "roberta":  # its positions begin behind that of padding
        positions -= int(library.pad_token_id) + 1
    return positions - len(inputs.get("prefix", ())) - len(inputs.get("suffix", ()))


def _class_of(family: str) -> Any:
    return getattr(importlib.import_module("transformers"), FAMILIES[family].name)


def _without_pooler(family: str) -> dict[str, bool]:
    return {"add_pooling_layer": False} if FAMILIES[family].pooler else {}
