"""Export as plain safetensors: every trunk, with its settings as JSON, readable by any language."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from seedbed.core.runs import write_atomic
from seedbed.core.types import Facts
from seedbed.models.encoder import Encoder


def export_safetensors(encoder: Encoder, facts: Facts, head: nn.Module | None, out: Path) -> list[str]:
    """Write encoder.safetensors, head.safetensors where there is a head, and config.json.

    Args:
        encoder: on the CPU.
        facts: it was built with.
        head: of the task that was trained on this encoder.
        out: an existing folder.

    Returns: names of the files.
    """
    parts: dict[str, nn.Module] = {"encoder": encoder, **({} if head is None else {"head": head})}
    for name, module in parts.items():
        tensors = {key: tensor.detach().contiguous() for key, tensor in module.state_dict().items()}
        write_atomic(out / f"{name}.safetensors", safetensors.torch.save(tensors, metadata={"format": "pt"}))
    config: dict[str, Any] = {"encoder": {"spec": asdict(encoder.spec), "facts": asdict(facts)}}
    config |= {"classes": list(facts.classes)} if head is not None else {}
    write_atomic(out / "config.json", (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())
    return [*(f"{name}.safetensors" for name in parts), "config.json"]
