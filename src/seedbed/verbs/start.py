"""Where fine-tuning begins: the encoder of a run, or the weights of another library."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from seedbed.core.config import DEFAULT, Layer
from seedbed.core.errors import DataError, UsageError, first_line
from seedbed.core.extras import require
from seedbed.core.locate import HUB, KERAS, is_foreign, locate_run
from seedbed.core.types import Facts, Say
from seedbed.data.tokenizer import Tokenizer, load_tokenizer
from seedbed.models.encoder import num_parameters
from seedbed.models.folder import TOKENIZER
from seedbed.models.hub import FAMILIES, PREPROCESSOR, describe, load_checkpoint
from seedbed.models.keras import FACTS, SIDE, load_keras
from seedbed.models.preprocess import Preprocess, read_preprocess
from seedbed.verbs.accepts import ENCODING
from seedbed.verbs.model import Model, load_encoder_of
from seedbed.verbs.options import Options, resolve_options

WANTED_FILES = ("*.json", "*.safetensors")


@dataclass(frozen=True)
class Start:
    """An encoder to begin with.

    Attributes:
        source: the run folder, or the checkpoint.
        model: the encoder with its tokenizer.
        told: what was understood of it, for people.
        layers: settings it asks for, for what the user left open: how images are brought to its size.
        foreign: whether another library made it.
    """

    source: Path
    model: Model
    told: str
    layers: tuple[Layer, ...] = ()
    foreign: bool = False

    def identity(self) -> dict[str, str]:
        """What tells other weights under the same path from these; nothing for a run, which is never changed."""
        if not self.foreign:
            return {}
        digest = xxhash.xxh3_128()
        for name, value in self.model.encoder.state_dict().items():
            digest.update(name.encode())
            digest.update(value.contiguous().numpy().tobytes())
        return {"weights": digest.hexdigest()}


def open_start(where: str | Path, options: Options, say: Say) -> Start:
    """Read what fine-tuning begins with, before the data are looked at.

    Args:
        where: a run folder, an --out folder, a checkpoint folder of transformers, "hf:NAME" of one to download, or a
            file of Keras.
        options: `allow_download` among them.
        say: told what a checkpoint is.

    Raises:
        UsageError, DataError, MachineError: there is nothing, it is refused or damaged, or an extra is missing.
    """
    if not is_foreign(where):
        source = locate_run(where, ENCODING)
        return Start(source, load_encoder_of(source), f"encoder of {source}")
    if Path(where).suffix.lower() in KERAS:
        start = _keras(Path(where))
    else:
        folder = _fetched(str(where), options) if str(where).startswith(HUB) else Path(where)
        start = _checkpoint(folder, options)
    say("understood", lines=[start.told])
    return start


def _keras(path: Path) -> Start:
    encoder = load_keras(path)
    size = f"{num_parameters(encoder):,} parameters"
    told = f"{path.name}: {encoder.spec.size}, {size}, for images of {SIDE} x {SIDE} pixels; its top is left out"
    # As keras.utils.load_img and image_dataset_from_directory bring images to their size.
    wants = {"image_size": SIDE, "image_fit": "stretch", "image_resample": "bilinear"}
    layer = ("planner: as Keras does", {"data": wants})
    return Start(path, Model(encoder, FACTS, None, (), {"foreign": True}), told, (layer,), foreign=True)


def _checkpoint(folder: Path, options: Options) -> Start:
    require("hub", "Reading a checkpoint of transformers")
    name, config = describe(folder)
    tokenizer: Tokenizer | None = None
    layers: list[Layer] = []
    if FAMILIES[name].modality == "text":
        tokenizer = _tokenizer(folder, int(config.get("vocab_size", 0)))
        before, after = tokenizer.around
        facts = Facts("text", tokenizer.vocab_size)
        inputs: dict[str, Any] = {"prefix": before, "suffix": after}
        beside = f"with its tokenizer of {tokenizer.vocab_size:,} entries"
    else:
        wants = read_preprocess(folder / PREPROCESSOR)
        facts = Facts("image", image_shape=(len(wants.mean), wants.side, wants.side))
        inputs = {"scale": wants.scale, "mean": wants.mean, "std": wants.std}
        beside = f"for images of {wants.side} x {wants.side} pixels"
        layers.append(_layer(wants, options))
    read = load_checkpoint(folder, facts, inputs)
    left = f"; {len(read.unused)} tensors of its head or pooler are left out" if read.unused else ""
    size = f"{num_parameters(read.encoder):,} parameters"
    told = f"{folder.name}: {FAMILIES[name].name} of transformers, {size}, {beside}{left}"
    return Start(
        folder, Model(read.encoder, facts, tokenizer, (), {"foreign": True}), told, tuple(layers), foreign=True
    )


def _tokenizer(folder: Path, vocab_size: int) -> Tokenizer:
    if not (folder / TOKENIZER).is_file():
        others = sorted(path.name for pattern in ("*.model", "vocab*", "merges.txt") for path in folder.glob(pattern))
        raise DataError(
            f"{folder / TOKENIZER} is missing.",
            found=f"Of tokenizers there are: {', '.join(others) or 'none'}.",
            cause="Without it nobody knows which words the ids stand for.",
            fix="Write it once with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER).",
        )
    tokenizer = load_tokenizer(folder / TOKENIZER)
    if tokenizer.vocab_size > vocab_size:
        raise DataError(
            f"{folder / TOKENIZER} belongs to another model.",
            found=f"Ids up to {tokenizer.vocab_size - 1:,}, where the network knows {vocab_size:,}.",
            fix="Copy the checkpoint again, all of its files.",
        )
    return tokenizer


def _layer(wants: Preprocess, options: Options) -> Layer:
    """How images are brought to the checkpoint's size, as far as the user has not said it."""
    resolved, data = resolve_options(options), wants.data_options()
    if resolved.origins["data.image_fit"] != DEFAULT and resolved.settings.data.image_fit != wants.fit:
        del data["image_crop"]  # it belongs to the other way
    return f"planner: as the checkpoint's {PREPROCESSOR} says", {"data": data}


def _fetched(name: str, options: Options) -> Path:
    """A checkpoint from the hub, only when asked for; only its JSON and its safetensors."""
    repository, _, revision = name.removeprefix(HUB).partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository):
        raise UsageError(
            f'"{name}" is no name of a checkpoint on the hub.',
            cause="Such a name is OWNER/NAME, with @REVISION behind it if a certain one is meant.",
            fix="Write hf:OWNER/NAME, or give a folder.",
        )
    if not resolve_options(options).settings.allow_download:
        raise UsageError(
            f"{name} would have to be downloaded.",
            cause="Seedbed uses no network unless it is asked to.",
            fix="Add --allow-download, or download it by other means and give its folder.",
        )
    require("hub", "Downloading a checkpoint")
    hub = importlib.import_module("huggingface_hub")
    try:
        return Path(hub.snapshot_download(repository, revision=revision or None, allow_patterns=list(WANTED_FILES)))
    except Exception as error:  # the library raises whatever its network library does
        raise DataError(
            f"{name} cannot be downloaded.",
            found=first_line(error),
            cause="There is no such checkpoint, or no network.",
            fix="Check the name, or download it by other means and give its folder.",
        ) from error
