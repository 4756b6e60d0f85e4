"""Model folders: weights as safetensors, and beside them what is needed to build the encoder again, hashed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import xxhash
from torch import Tensor, nn

from seedbed.core.errors import DataError
from seedbed.core.runs import friendly, read_json, write_atomic, write_json
from seedbed.core.types import Facts
from seedbed.models.encoder import Encoder, EncoderSpec, build_encoder, frozen

MANIFEST = "seedbed.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
FORMAT = 1


def save_model(
    folder: Path, encoder: Encoder, facts: Facts, *, head: nn.Module | None = None, extra: dict[str, Any] | None = None
) -> None:
    """Write a model folder; a tokenizer, where there is one, is put beside by the caller as tokenizer.json.

    Args:
        folder: made if it is not there.
        encoder: what pretraining made.
        facts: the counts the encoder was built with.
        head: the head of a task, None for an encoder alone.
        extra: anything JSON-able the reader wants back.

    Raises:
        MachineError: no room or no permission.
    """
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    if head is not None:
        tensors |= {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    about = {"spec": asdict(encoder.spec), "head": head is not None}
    write_folder(folder, tensors, {**about, "facts": asdict(facts), "extra": extra or {}})


def write_folder(folder: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write the files of any model: its tensors, and a manifest that names their hash beside what it is `about`.

    Raises:
        MachineError: no room or no permission.
    """
    content = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    with friendly(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # Weights first: the manifest names their hash, so a crash in between is noticed and never loads half a model.
    write_atomic(folder / WEIGHTS, content)
    weights = {"bytes": len(content), "xxh3_128": xxhash.xxh3_128_hexdigest(content)}
    write_json(folder / MANIFEST, {"format": FORMAT, **about, "weights": weights})


def load_encoder(folder: Path) -> tuple[Encoder, Facts, dict[str, Any]]:
    """Read the encoder of a model folder, after verifying every byte of it.

    Returns:
        The encoder in evaluation mode on the CPU, its facts, and what was given as `extra`.

    Raises:
        DataError: a file is missing, damaged, or from another version.
    """
    manifest = read_manifest(folder)
    if "spec" not in manifest:
        raise DataError(
            f"{folder} holds no encoder.",
            cause="The best model of its run was none of pretraining's.",
            fix="Give a run that pretrained an encoder: of `seedbed pretrain`, or of `seedbed run`.",
        )
    facts = facts_of(manifest)
    # Initial weights are drawn and then overwritten; the caller's random state shall not notice.
    with torch.random.fork_rng(devices=[]):
        encoder = build_encoder(EncoderSpec(**manifest["spec"]), facts)
    _load_part_(encoder, folder, manifest, "encoder.")
    return encoder.eval(), facts, manifest["extra"]


def load_head_(folder: Path, head: nn.Module) -> None:
    """Fill a head in place with the one a model folder holds.

    Raises:
        DataError: the folder holds no head, or one of another shape, or is damaged.
    """
    manifest = read_manifest(folder)
    if not manifest["head"]:
        raise DataError(
            f"{folder} holds an encoder without a head.",
            cause="It was pretrained and not yet fine-tuned.",
            fix="Fine-tune it with labels first: seedbed finetune RUN DATA --label COLUMN.",
        )
    _load_part_(head, folder, manifest, "head.")


def facts_of(manifest: dict[str, Any]) -> Facts:
    """The facts a manifest holds."""
    return Facts(**frozen(manifest["facts"]))


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a model folder says of itself.

    Raises:
        DataError: there is none, it is damaged, or from another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(
            f"{folder} is no model folder.",
            found=f"There is no {MANIFEST} in it.",
            fix="Give the model/ folder of a finished run.",
        )
    manifest = read_json(path)
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{path} has format {manifest.get('format')}.",
            found=f"This version reads format {FORMAT}.",
            fix="Use the version of seedbed that wrote it.",
        )
    return manifest


def read_tensors(folder: Path, manifest: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a model folder, every byte verified.

    Raises:
        DataError: they are missing or damaged.
    """
    path = folder / WEIGHTS
    try:
        with friendly(path):
            content = path.read_bytes()
    except FileNotFoundError as error:
        raise _damaged(path, "it is missing") from error
    if len(content) != manifest["weights"]["bytes"]:
        raise _damaged(path, f"{len(content)} bytes where {manifest['weights']['bytes']} were written")
    if xxhash.xxh3_128_hexdigest(content) != manifest["weights"]["xxh3_128"]:
        raise _damaged(path, "its content does not match the hash written with it")
    return safetensors.torch.load(content)


def _load_part_(module: nn.Module, folder: Path, manifest: dict[str, Any], prefix: str) -> None:
    path = folder / WEIGHTS
    tensors = read_tensors(folder, manifest)
    part = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        module.load_state_dict(part)
    except RuntimeError as error:
        raise DataError(
            f"{path} does not fit {prefix.removesuffix('.')}.",
            found=str(error),
            cause="It was written by another version of seedbed.",
            fix="Use the version of seedbed that wrote it.",
        ) from error


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is damaged: {why}.",
        cause="It was edited, or the disk changed it.",
        fix="Restore it from a copy, or repeat the command that made it.",
    )
