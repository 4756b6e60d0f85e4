"""Classic models in folders: arrays as safetensors, words and names as JSON, hashed like those of networks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seedbed.core.types import Facts
from seedbed.evaluate.baselines import ClassicModel
from seedbed.models.folder import facts_of, read_manifest, read_tensors, write_folder

PARTS = ("rendering", "learnt")


def save_classic(folder: Path, model: ClassicModel, facts: Facts, extra: dict[str, Any]) -> None:
    """Write a model folder.

    Args:
        folder: made if it is not there.
        facts: of the data, with the names of the classes.
        extra: anything JSON-able the reader wants back.

    Raises:
        MachineError: no room or no permission.
    """
    parts = zip(PARTS, (model.rendering, model.learnt), strict=True)
    values = {f"{part}.{name}": value for part, state in parts for name, value in state.items()}
    arrays = {name: _tensor(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    words = {name: value for name, value in values.items() if name not in arrays}
    about = {"classic": model.name, "words": words, "facts": asdict(facts), "extra": extra}
    write_folder(folder, arrays, about)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)


def is_classic(folder: Path) -> bool:
    """Whether a model folder holds a classic model.

    Raises:
        DataError: it is no model folder, or damaged.
    """
    return "classic" in read_manifest(folder)


def load_classic(folder: Path) -> tuple[ClassicModel, Facts, dict[str, Any]]:
    """Read what `save_classic` wrote, after verifying every byte of it.

    Raises:
        DataError: a file is missing, damaged, or from another version.
    """
    manifest = read_manifest(folder)
    values: dict[str, Any] = {name: tensor.numpy() for name, tensor in read_tensors(folder, manifest).items()}
    values |= manifest["words"]
    rendering, learnt = (
        {name.removeprefix(f"{part}."): value for name, value in values.items() if name.startswith(f"{part}.")}
        for part in PARTS
    )
    return ClassicModel(manifest["classic"], rendering, learnt), facts_of(manifest), manifest["extra"]
