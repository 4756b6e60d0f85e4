"""Export to the layout of the transformers library, written without it: config.json, model.safetensors, tokenizer.

`EXPORTS` is the one place that knows other libraries' names. A text trunk has the same parameters as a causal and as a
bidirectional class, so one folder loads as either: the class named in config.json is the one it was trained as.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import tokenizers
import xxhash
from torch import Tensor

from seedbed.core.errors import DataError, UsageError
from seedbed.core.runs import friendly, write_atomic
from seedbed.core.tokens import BOS, EOS, MASK, PAD, SPECIAL_NAMES, UNK
from seedbed.core.types import Facts
from seedbed.models.encoder import Encoder, num_parameters
from seedbed.models.folder import TOKENIZER, load_encoder
from seedbed.models.stems import Patches

_LLAMA = {
    "stem.embedding": "model.embed_tokens",
    "trunk.layers": "model.layers",
    "trunk.norm": "model.norm",
    "attention_norm": "input_layernorm",
    "attention.q": "self_attn.q_proj",
    "attention.k": "self_attn.k_proj",
    "attention.v": "self_attn.v_proj",
    "attention.o": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
_VIT = {
    "stem.class_token": "embeddings.cls_token",
    "stem.positions": "embeddings.position_embeddings",
    "stem.projection": "embeddings.patch_embeddings.projection",
    "trunk.layers": "layers",
    "trunk.norm": "layernorm",
    "attention_norm": "layernorm_before",
    "attention.q": "attention.q_proj",
    "attention.k": "attention.k_proj",
    "attention.v": "attention.v_proj",
    "attention.o": "attention.o_proj",
    "mlp_norm": "layernorm_after",
    "mlp.up": "mlp.fc1",
    "mlp.down": "mlp.fc2",
}
_RESNET = {
    "stem.convolution": "embedder.embedder.convolution",
    "stem.norm": "embedder.embedder.normalization",
    "convolution": "convolution",
    "norm": "normalization",
}


def resnet_state(encoder: Encoder) -> dict[str, Tensor]:
    """A residual network's weights and statistics as transformers' ResNetModel names them.

    trunk.stages.S.B.layers.L.part.kind is there encoder.stages.S.layers.B.layer.L.part.kind.
    """
    state = {}
    for name, tensor in encoder.state_dict().items():
        module, kind = name.rsplit(".", 1)
        if module in _RESNET:
            state[f"{_RESNET[module]}.{kind}"] = tensor
            continue
        _, _, stage, block, rest = module.split(".", 4)
        group, _, part = rest.rpartition(".")
        theirs = f"{group.replace('layers', 'layer')}.{_RESNET[part]}"
        state[f"encoder.stages.{stage}.layers.{block}.{theirs}.{kind}"] = tensor
    return state


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
    spec = encoder.spec
    if (spec.modality, spec.trunk) not in EXPORTS:
        able = " or ".join(sorted({f"--trunk {trunk}" for _, trunk in EXPORTS}))
        raise UsageError(
            f'The trunk "{spec.trunk}" for {spec.modality} has no class in transformers.',
            cause=f"Its weights and settings are in {model_folder} as safetensors and JSON already.",
            fix=f"To load it there, pretrain with {able}.",
        )
    target = EXPORTS[spec.modality, spec.trunk]
    name = target.causal if extra.get("objective") == "causal_lm" else target.name
    tensors = {_translated(key, target.names): value for key, value in encoder.state_dict().items()}
    weights = safetensors.torch.save(tensors, metadata={"format": "pt"})
    files = {"config.json": _json(target.config(encoder, facts, name)), "model.safetensors": weights}
    files |= target.beside(model_folder, encoder, facts)
    with friendly(out):
        out.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        write_atomic(out / file, content)
    return {
        "class": name,
        "loads_as": sorted({target.name, target.causal}),
        "parameters": num_parameters(encoder),
        "xxh3_128": xxhash.xxh3_128_hexdigest(weights),
        "files": sorted(files),
    }


def _translated(name: str, names: dict[str, str]) -> str:
    """Another library's name of a parameter: layers.N.part.kind, part.kind, or a bare parameter."""
    if name in names:
        return names[name]
    if name.startswith("trunk.layers."):
        _, _, number, rest = name.split(".", 3)
        part, kind = rest.rsplit(".", 1)
        return f"{names['trunk.layers']}.{number}.{names[part]}.{kind}"
    part, kind = name.rsplit(".", 1)
    return f"{names[part]}.{kind}"


def _text_config(encoder: Encoder, facts: Facts, name: str) -> dict[str, Any]:
    options = encoder.spec.options
    return {
        "architectures": [name],
        "model_type": {"LlamaForCausalLM": "llama", "EuroBertForMaskedLM": "eurobert"}[name],
        "vocab_size": facts.vocab_size,
        "hidden_size": options["width"],
        "intermediate_size": options["hidden"],
        "num_hidden_layers": options["depth"],
        "num_attention_heads": options["heads"],
        "num_key_value_heads": options["heads"],
        "head_dim": options["width"] // options["heads"],
        "hidden_act": "silu",
        "rms_norm_eps": options["eps"],
        "rope_parameters": {"rope_type": "default", "rope_theta": options["theta"]},
        "max_position_embeddings": options["context"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "classifier_pooling": "mean",
        "pad_token_id": PAD,
        "mask_token_id": MASK,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "dtype": "float32",
    }


def _text_beside(model_folder: Path, encoder: Encoder, facts: Facts) -> dict[str, bytes]:
    path = model_folder / TOKENIZER
    try:
        with friendly(path):
            content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing.",
            cause="Without it nobody knows which words the ids stand for.",
            fix="Restore it from a copy, or repeat the command that made the model.",
        ) from error
    size = tokenizers.Tokenizer.from_buffer(content).get_vocab_size()
    if size != facts.vocab_size:
        raise DataError(
            f"{path} belongs to another model.",
            found=f"{size} entries where the model has {facts.vocab_size}.",
            fix="Restore the tokenizer that was written with the model.",
        )
    roles = {"pad_token": PAD, "unk_token": UNK, "mask_token": MASK, "bos_token": BOS, "eos_token": EOS}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{role: SPECIAL_NAMES[index] for role, index in roles.items()},
        "model_max_length": encoder.spec.options["context"],
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        # Text of users is text: what looks like a special token in it is none.
        "split_special_tokens": True,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return {TOKENIZER: content, "tokenizer_config.json": _json(settings)}


def _image_config(encoder: Encoder, facts: Facts, name: str) -> dict[str, Any]:
    options = encoder.spec.options
    channels, rows, columns = facts.image_shape
    return {
        "architectures": [name],
        "model_type": "vit",
        "hidden_size": options["width"],
        "intermediate_size": options["hidden"],
        "num_hidden_layers": options["depth"],
        "num_attention_heads": options["heads"],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": options["eps"],
        "image_size": [rows, columns],
        "patch_size": cast(Patches, encoder.stem).patch,
        "num_channels": channels,
        "qkv_bias": True,
        "dtype": "float32",
    }


def _image_beside(model_folder: Path, encoder: Encoder, facts: Facts) -> dict[str, bytes]:
    _, rows, columns = facts.image_shape
    normalise = cast(Patches, encoder.stem).normalise
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": rows, "width": columns},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": normalise.mean_C11.flatten().tolist(),
        "image_std": normalise.std_C11.flatten().tolist(),
    }
    return {"preprocessor_config.json": _json(settings)}


def _json(obj: dict[str, Any]) -> bytes:
    return (json.dumps(obj, indent=2, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class Export:
    """How a kind of encoder looks in another library.

    Attributes:
        name: its class there.
        causal: its class there when it was trained to continue texts.
        names: our names of modules to theirs; those of a layer without the layer's prefix.
        config: writes config.json.
        beside: writes what is needed to prepare inputs.
    """

    name: str
    causal: str
    names: dict[str, str]
    config: Callable[[Encoder, Facts, str], dict[str, Any]]
    beside: Callable[[Path, Encoder, Facts], dict[str, bytes]]


EXPORTS = {
    ("text", "transformer"): Export("EuroBertForMaskedLM", "LlamaForCausalLM", _LLAMA, _text_config, _text_beside),
    ("image", "transformer"): Export("ViTModel", "ViTModel", _VIT, _image_config, _image_beside),
}
