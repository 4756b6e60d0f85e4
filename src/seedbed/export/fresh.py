"""Read an export as whoever receives it would: in a new process, from the folder alone. Run by the gate as a module.

Arguments: KIND FOLDER INPUTS OUTPUTS. INPUTS holds "N.values" and "N.keep" of each batch, beside it texts.json where
there are texts; OUTPUTS gets "N.NAME" for each tensor that comes out, and "ids.N" for each text.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from seedbed.core.errors import MachineError
from seedbed.core.types import Facts
from seedbed.export.autoencoder import AUTOENCODER, noise
from seedbed.export.layouts import CLASSIFIER
from seedbed.models.encoder import EncoderSpec, build_encoder
from seedbed.models.hub import FAMILIES

Answer = Callable[[Tensor, Tensor], dict[str, Tensor]]


def from_hf(folder: Path) -> Answer:
    """Encoder and, where there is one, classifier, by the library they were written for."""
    transformers = importlib.import_module("transformers")
    kind = _config(folder)["model_type"]
    vision, has_pooler = kind in ("vit", "resnet"), kind in FAMILIES and FAMILIES[kind].pooler
    pooling = {"add_pooling_layer": False} if has_pooler else {}
    model = _loaded(transformers.AutoModel, folder, pooling)
    processor = transformers.AutoImageProcessor.from_pretrained(folder) if vision else None
    beside, network, whole = folder / CLASSIFIER, None, None
    if (folder / AUTOENCODER).exists():
        whole = _loaded(transformers.ViTMAEForPreTraining, folder / AUTOENCODER, {})
    if beside.exists():
        network = _loaded(getattr(transformers, _config(beside)["architectures"][0]), beside, {})

    def answer(values: Tensor, keep: Tensor) -> dict[str, Tensor]:
        if processor is None:
            given = {"input_ids": values, "attention_mask": keep.long()}
        else:
            given = processor(list(values.numpy()), input_data_format="channels_first", return_tensors="pt")
        states = model(**given).last_hidden_state
        found = {"states": states.flatten(2).mT if states.dim() == 4 else states}
        if whole is not None:
            drawn = noise(len(values), whole.decoder.decoder_pos_embed.shape[1] - 1)
            answered = whole(**given, noise=drawn)
            found["restored"] = answered.logits[answered.mask.bool()]
        return found if network is None else found | {"logits": network(**given).logits}

    return answer


def _config(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return told


def _loaded(kind: Any, folder: Path, options: dict[str, bool]) -> Any:
    """A model in evaluation mode, none of whose parameters was made up."""
    model, info = kind.from_pretrained(folder, output_loading_info=True, **options)
    if info["missing_keys"]:
        raise MachineError(
            f"{folder} lacks parameters that transformers wants.",
            found=", ".join(sorted(info["missing_keys"])[:5]),
            fix="Install the version of transformers that constraints.txt names.",
        )
    return model.eval()


def from_onnx(folder: Path) -> Answer:
    """Every .onnx file of the folder under ONNX Runtime."""
    runtime = importlib.import_module("onnxruntime")
    names = sorted(folder.glob("*.onnx"))
    sessions = {path.stem: runtime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in names}

    def answer(values: Tensor, keep: Tensor) -> dict[str, Tensor]:
        found = {}
        for name, session in sessions.items():
            known: dict[str, Any] = {"pixels": values, "input_ids": values, "attention_mask": keep.long()}
            given = {one.name: known[one.name].numpy() for one in session.get_inputs()}
            outputs = session.run(None, given)
            for one, output in zip(session.get_outputs(), outputs, strict=True):
                found[f"{name}.{one.name}"] = torch.from_numpy(output)
        return found

    return answer


def from_safetensors(folder: Path) -> Answer:
    """The encoder, built from config.json and filled from encoder.safetensors."""
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))["encoder"]
    counted: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in told["facts"].items()
    }
    encoder = build_encoder(EncoderSpec(**told["spec"]), Facts(**counted))
    encoder.load_state_dict(safetensors.torch.load_file(folder / "encoder.safetensors"))
    encoder.eval()
    return lambda values, keep: {"states": encoder(values, keep)}


READERS = {"hf": from_hf, "onnx": from_onnx, "safetensors": from_safetensors}


@torch.no_grad()
def main(kind: str, folder: Path, inputs: Path, outputs: Path) -> None:
    """Answer every batch of INPUTS into OUTPUTS."""
    given = safetensors.torch.load_file(inputs)
    answer = READERS[kind](folder)
    told: dict[str, Tensor] = {}
    for number in range(len(given) // 2):
        found = answer(given[f"{number}.values"], given[f"{number}.keep"])
        told |= {f"{number}.{name}": value.contiguous() for name, value in found.items()}
    texts = inputs.parent / "texts.json"
    if kind == "hf" and texts.exists():
        tokenizer = importlib.import_module("transformers").AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(json.loads(texts.read_text(encoding="utf-8")))["input_ids"]
        told |= {f"ids.{number}": torch.tensor(row, dtype=torch.int64) for number, row in enumerate(ids)}
    safetensors.torch.save_file(told, outputs)


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
