"""Export to ONNX: the encoder, and the whole network that answers, for batches and lengths of any size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.core.errors import UsageError, first_line
from seedbed.core.types import Facts, Task
from seedbed.models.encoder import Encoder

# One file holds at most 2 GB; larger weights go beside it.
ONE_FILE_BYTES = 1 << 31
TRACED_BATCH, TRACED_LENGTH = 3, 7


class States(nn.Module):
    """An encoder as a function of plain inputs: states of all positions, and the pooled state."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, values: Tensor, mask_BN: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The states_BND and pooled_BD of tokens_BN with a mask (1 = real), or of pixels_BCYX."""
        keep = _keep(values, mask_BN)
        states_BND = self.encoder(values, keep)
        return states_BND, self.encoder.stem.pool(states_BND, values, keep)


class Logits(nn.Module):
    """A task as a function of plain inputs."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, values: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """The logits_BC of tokens_BN with a mask (1 = real), or of pixels_BCYX."""
        return self.task.predict({"values": values, "keep": _keep(values, mask_BN)}).logits_BC


def _keep(values: Tensor, mask_BN: Tensor | None) -> Tensor:
    return torch.ones_like(values[:, 0, 0, 0], dtype=torch.bool) if mask_BN is None else mask_BN > 0


def export_onnx(module: States | Logits, facts: Facts, path: Path, longest: int | None = None) -> list[str]:
    """Write a module as an ONNX file; batch and length are free.

    Args:
        module: what to write, in evaluation mode on the CPU.
        facts: of the model: which modality, which shape of images.
        path: file to write.
        longest: most positions the module can take; None: any.

    Returns: names of the outputs.

    Raises:
        UsageError: the network has an operation that ONNX, or its exporter, does not know.
    """
    batch = torch.export.Dim("batch")
    names = ["states", "pooled"] if isinstance(module, States) else ["logits"]
    given: tuple[Tensor, ...]
    shapes: tuple[dict[int, Any], ...]
    if facts.modality == "text":
        tokens_BN = torch.ones(TRACED_BATCH, TRACED_LENGTH, dtype=torch.int64)
        axes: Any = {0: batch, 1: torch.export.Dim("length", max=longest)}
        inputs, given, shapes = ["input_ids", "attention_mask"], (tokens_BN, tokens_BN.clone()), (axes, axes)
    else:
        dtype = torch.uint8 if facts.modality == "image" else torch.float32
        pixels_BCYX = torch.zeros(TRACED_BATCH, *facts.image_shape, dtype=dtype)
        inputs, given, shapes = ["pixels"], (pixels_BCYX,), ({0: batch},)
    size = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    try:
        with torch.no_grad(), warnings.catch_warnings(), _quiet("torch.onnx"):
            warnings.simplefilter("ignore")
            axes = _named(inputs, names) if _recurrent(module) else None
            torch.onnx.export(
                module,
                given,
                path,
                dynamo=axes is None,
                input_names=inputs,
                output_names=names,
                dynamic_shapes=None if axes else shapes,
                dynamic_axes=axes,
                external_data=axes is None and size >= ONE_FILE_BYTES,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, torch._dynamo.exc.TorchDynamoException) as error:
        raise UsageError(
            f"{path.name} cannot be written: the network does something that the ONNX exporter does not know.",
            found=first_line(error),
            fix="Use --to safetensors.",
        ) from error
    return names


def _recurrent(module: nn.Module) -> bool:
    """Whether it has recurrent layers: the newer exporter writes those for one length only, the older for any."""
    return any(isinstance(part, nn.RNNBase) for part in module.modules())


def _named(inputs: list[str], outputs: list[str]) -> dict[str, dict[int, str]]:
    """The free axes of texts as the older exporter wants them: of what is as long as the text, two."""
    both, batch = {0: "batch", 1: "length"}, {0: "batch"}
    return {name: batch if name in ("pooled", "logits") else both for name in (*inputs, *outputs)}


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger silent: the exporter tells of every optional library it does not find."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
