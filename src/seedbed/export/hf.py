"""Export to the layout of the transformers library, written without it: config.json, model.safetensors, tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import xxhash
from torch import Tensor, nn

from seedbed.core.errors import UsageError
from seedbed.core.runs import friendly, write_atomic
from seedbed.core.types import Facts
from seedbed.export.layouts import EXPORTS, json_file, layout_of
from seedbed.models.encoder import Encoder, num_parameters
from seedbed.models.folder import load_encoder
from seedbed.models.stems import SMALL_IMAGE


def export_hf(model_folder: Path, out: Path) -> dict[str, Any]:
    """Write a model folder's encoder as files that transformers 5 loads strictly.

    Args:
        model_folder: the model/ folder of a run.
        out: folder to write, made if it is not there.

    Returns:
        class (the class it was trained as), loads_as (all classes it loads as), parameters, xxh3_128 of the weights,
        files.

    Raises:
        UsageError: the trunk has no class in that library.
        DataError: the model folder is damaged, or its tokenizer is missing.
        MachineError: the folder cannot be written.
    """
    encoder, facts, extra = load_encoder(model_folder)
    target = layout_of(encoder)
    if target is None:
        raise _no_class(encoder, model_folder)
    name = target.causal if target.causal and extra.get("objective") == "causal_lm" else target.name
    config = target.config(encoder, facts, name)
    written = write_files(out, target.state(encoder), config, target.beside(model_folder, encoder, facts))
    loads_as = sorted({target.name, target.causal} - {""})
    return {"class": name, "loads_as": loads_as, "parameters": num_parameters(encoder), **written}


# What the library calls our tasks, where its logits mean what ours mean.
PROBLEMS = {"classify": "single_label_classification", "multilabel": "multi_label_classification"}


def _no_class(encoder: Encoder, model_folder: Path) -> UsageError:
    modality, trunk, stem = encoder.spec.modality, encoder.spec.trunk, encoder.spec.stem
    cause = f"Its weights and settings are in {model_folder} as safetensors and JSON already."
    able = " or ".join(sorted({f"--trunk {name}" for kind, name in EXPORTS if kind == modality}))
    if (modality, trunk) in EXPORTS:
        cause = f'It has the stem "{stem}", for small images, which no class there holds. {cause}'
        able = f"images of more than {SMALL_IMAGE} pixels a side: --set data.image_size=96"
    return UsageError(
        f'The trunk "{trunk}" for {modality} has no class in transformers.',
        cause=cause,
        fix="Use --to safetensors or --to onnx" + (f"; to load it there, pretrain with {able}." if able else "."),
    )


def export_classifier(model_folder: Path, encoder: Encoder, facts: Facts, head: nn.Module, task: str, out: Path) -> str:
    """Write a network that answers as the class for classification that mirrors it.

    Args:
        model_folder: the model/ folder it was read from.
        encoder: of the network.
        facts: of the network, with the classes.
        head: of the network.
        task: it was trained for.
        out: folder to write, made if it is not there.

    Returns: the class; "" where head or task have none, and nothing is written.
    """
    target = layout_of(encoder)
    layers = {name.rpartition(".")[0] for name in head.state_dict()}
    if target is None or layers != set(target.head) or task not in PROBLEMS:
        return ""
    state = {f"{target.prefix}{name}": tensor for name, tensor in target.state(encoder).items()}
    for name, tensor in head.state_dict().items():
        layer, _, kind = name.rpartition(".")
        state[f"{target.head[layer]}.{kind}"] = tensor
    config = target.config(encoder, facts, target.classifier)
    config["problem_type"] = PROBLEMS[task]
    config["id2label"] = {str(index): name for index, name in enumerate(facts.classes)}
    config["label2id"] = {name: index for index, name in enumerate(facts.classes)}
    write_files(out, state, config, target.beside(model_folder, encoder, facts))
    return target.classifier


def write_files(
    out: Path, state: dict[str, Tensor], config: dict[str, Any], beside: dict[str, bytes]
) -> dict[str, Any]:
    """Write a folder that transformers reads, weights, configuration and what is beside; returns xxh3_128 and files."""
    plain = {name: tensor.contiguous() for name, tensor in state.items()}
    weights = safetensors.torch.save(plain, metadata={"format": "pt"})
    files = {"config.json": json_file(config), "model.safetensors": weights, **beside}
    with friendly(out):
        out.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        write_atomic(out / file, content)
    return {"xxh3_128": xxhash.xxh3_128_hexdigest(weights), "files": sorted(files)}
