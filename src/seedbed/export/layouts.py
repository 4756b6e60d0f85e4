"""How our encoders look in the transformers library: the one place that knows its names.

A text trunk has the same parameters as a causal and as a bidirectional class, so one folder loads as either: the class
named in config.json is the one it was trained as. Heads mirror the class for classification, where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import tokenizers
from torch import Tensor

from seedbed.core.errors import DataError
from seedbed.core.runs import friendly, read_json
from seedbed.core.tokens import BOS, EOS, MASK, PAD, SPECIAL_NAMES, UNK
from seedbed.core.types import Facts
from seedbed.models import hub
from seedbed.models.encoder import Encoder
from seedbed.models.folder import MANIFEST, TOKENIZER
from seedbed.models.preprocess import FILTERS
from seedbed.models.stems import Patches, Pixels

# Folder beside the encoder's files that holds the network with its head.
CLASSIFIER = "classifier"

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
VIT = {
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


def llama_state(encoder: Encoder) -> dict[str, Tensor]:
    """A text transformer's weights as LlamaForCausalLM and EuroBertForMaskedLM name them."""
    return {translated(name, _LLAMA): tensor for name, tensor in encoder.state_dict().items()}


def vit_state(encoder: Encoder) -> dict[str, Tensor]:
    """An image transformer's weights as ViTModel names them."""
    return {translated(name, VIT): tensor for name, tensor in encoder.state_dict().items()}


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


def translated(name: str, names: dict[str, str]) -> str:
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
        "model_type": "llama" if name == "LlamaForCausalLM" else "eurobert",
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
    return {TOKENIZER: content, "tokenizer_config.json": json_file(settings)}


def _vit_config(encoder: Encoder, facts: Facts, name: str) -> dict[str, Any]:
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


def _resnet_config(encoder: Encoder, facts: Facts, name: str) -> dict[str, Any]:
    options = encoder.spec.options
    depths = list(options["depths"])
    return {
        "architectures": [name],
        "model_type": "resnet",
        "num_channels": facts.image_shape[0],
        "embedding_size": encoder.spec.stem_width,
        "hidden_sizes": [options["width"] >> index for index in reversed(range(len(depths)))],
        "depths": depths,
        "layer_type": "bottleneck" if options["bottleneck"] else "basic",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": options["stride_first"],
        "dtype": "float32",
    }


def _image_beside(model_folder: Path, encoder: Encoder, facts: Facts) -> dict[str, bytes]:
    _, rows, columns = facts.image_shape
    normalise = cast(Patches | Pixels, encoder.stem).normalise
    settings = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": rows, "width": columns},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": normalise.mean_C11.flatten().tolist(),
        "image_std": normalise.std_C11.flatten().tolist(),
    }
    return {"preprocessor_config.json": json_file(settings)}


def json_file(obj: dict[str, Any]) -> bytes:
    """An object as the content of a JSON file."""
    return (json.dumps(obj, indent=2, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class Export:
    """How a kind of encoder looks in another library.

    Attributes:
        name: its class there.
        state: its weights by their names there.
        config: writes config.json.
        beside: writes what is needed to prepare inputs.
        causal: its class there when it was trained to continue texts, where that is another one.
        classifier: the class that puts our head on it.
        prefix: of the encoder's weights in that class.
        head: our names of the head's layers to theirs; a head with other layers has no class.
        stems: those with which it has a class; empty: all.
    """

    name: str
    state: Callable[[Encoder], dict[str, Tensor]]
    config: Callable[[Encoder, Facts, str], dict[str, Any]]
    beside: Callable[[Path, Encoder, Facts], dict[str, bytes]]
    causal: str = ""
    classifier: str = ""
    prefix: str = ""
    head: dict[str, str] = field(default_factory=dict)
    stems: tuple[str, ...] = ()


EXPORTS = {
    ("text", "transformer"): Export(
        "EuroBertForMaskedLM",
        llama_state,
        _text_config,
        _text_beside,
        causal="LlamaForCausalLM",
        classifier="EuroBertForSequenceClassification",
        head={"dense": "dense", "out": "classifier"},
    ),
    ("image", "transformer"): Export(
        "ViTModel",
        vit_state,
        _vit_config,
        _image_beside,
        classifier="ViTForImageClassification",
        prefix="vit.",
        head={"out": "classifier"},
    ),
    ("image", "resnet"): Export(
        "ResNetModel",
        resnet_state,
        _resnet_config,
        _image_beside,
        classifier="ResNetForImageClassification",
        prefix="resnet.",
        head={"out": "classifier.1"},
        stems=("coarse",),
    ),
}


def _hub_state(encoder: Encoder) -> dict[str, Tensor]:
    return cast(hub.Trunk, encoder.trunk).net.state_dict()


def _hub_config(encoder: Encoder, facts: Facts, name: str) -> dict[str, Any]:
    return {**encoder.spec.options["config"], "architectures": [name], "dtype": "float32"}


def _hub_text(model_folder: Path, encoder: Encoder, facts: Facts) -> dict[str, bytes]:
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": encoder.spec.options["context"],
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return {TOKENIZER: (model_folder / TOKENIZER).read_bytes(), "tokenizer_config.json": json_file(settings)}


def _hub_image(model_folder: Path, encoder: Encoder, facts: Facts) -> dict[str, bytes]:
    """What the checkpoint came with, at the size it was trained further at."""
    options, images = encoder.spec.options, read_json(model_folder / MANIFEST)["extra"].get("images", {})
    rows = facts.image_shape[1]
    whole = images.get("image_fit", "stretch") == "stretch"
    settings = {
        "image_processor_type": "ViTImageProcessor" if whole else "ConvNextImageProcessor",
        "do_resize": True,
        "size": {"height": rows, "width": rows} if whole else {"shortest_edge": rows},
        **({} if whole else {"crop_pct": images["image_crop"]}),
        "resample": {name: number for number, name in FILTERS.items()}[images.get("image_resample", "bilinear")],
        "do_rescale": True,
        "rescale_factor": options["scale"],
        "do_normalize": True,
        "image_mean": list(options["mean"]),
        "image_std": list(options["std"]),
    }
    return {hub.PREPROCESSOR: json_file(settings)}


def layout_of(encoder: Encoder) -> Export | None:
    """How an encoder looks in transformers; None where no class holds it."""
    if encoder.spec.trunk == "hub":
        family = hub.FAMILIES[encoder.spec.options["family"]]
        return Export(family.name, _hub_state, _hub_config, _hub_text if family.modality == "text" else _hub_image)
    target = EXPORTS.get((encoder.spec.modality, encoder.spec.trunk))
    return target if target is None or not target.stems or encoder.spec.stem in target.stems else None
