"""ResNet weights of Keras as encoders: .h5 files of keras.applications, old and new, and what Keras 3 writes.

Keras differs from our ResNet in four things, and each has an exact counterpart: biases of convolutions are taken out of
the batch norm's mean; its epsilon goes into the batch norm's variance; the stride of a block stands in the first
convolution (`stride_first`); pixels are BGR in 0..255 less a mean, which the first convolution's order of channels and
the stem's normalisation take over. A classifier on top is left out.

Source: keras.applications.resnet (ResNet50, ResNet101, ResNet152) and its predecessor keras_applications.resnet50.
"""

from __future__ import annotations

import importlib
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seedbed.core.errors import DataError, first_line
from seedbed.core.extras import require
from seedbed.core.types import Facts
from seedbed.models.encoder import Encoder, EncoderSpec, build_encoder
from seedbed.models.resnet import Config

SIDE = 224
# What keras.applications takes off every channel, red first, of 255.
MEAN = (123.68, 116.779, 103.939)
FACTS = Facts(
    "image",
    image_shape=(3, SIDE, SIDE),
    channel_mean=tuple(value / 255 for value in MEAN),
    channel_std=(1 / 255,) * 3,
)
OUR_EPS = 1e-5
NEW_EPS, OLD_EPS = 1.001e-5, 1e-3
MAX_WEIGHTS_BYTES = 1 << 32
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
DEPTHS = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101", (3, 8, 36, 3): "resnet152"}
# Where the three convolutions of a block and that of its shortcut stand with us.
PLACES = {"1": "layers.0", "2": "layers.1", "3": "layers.2", "0": "shortcut"}

Layers = dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class _Names:
    """How a layout calls its layers.

    Attributes:
        first: convolution and batch norm before the blocks.
        block: pattern of a block's first convolution, with the groups stage (2 to 5) and block.
        names: (stage, block, part) -> convolution and batch norm; part is "1", "2", "3", or "0" for the shortcut.
        eps: of every batch norm.
    """

    first: tuple[str, str]
    block: str
    names: Any
    eps: float


def _new(stage: str, block: str, part: str) -> tuple[str, str]:
    return f"conv{stage}_block{block}_{part}_conv", f"conv{stage}_block{block}_{part}_bn"


def _old(stage: str, block: str, part: str) -> tuple[str, str]:
    branch = "branch1" if part == "0" else f"branch2{'abc'[int(part) - 1]}"
    return f"res{stage}{block}_{branch}", f"bn{stage}{block}_{branch}"


LAYOUTS = (
    _Names(("conv1_conv", "conv1_bn"), r"conv([2-5])_block(\d+)_1_conv", _new, NEW_EPS),
    _Names(("conv1", "bn_conv1"), r"res([2-5])([a-f])_branch2a", _old, OLD_EPS),
)


def load_keras(path: Path) -> Encoder:
    """Read a ResNet of Keras.

    Args:
        path: .h5 or .hdf5 of weights or of a whole model, .weights.h5, or .keras.

    Raises:
        DataError: it is no such file, or of another network.
        MachineError: h5py is not installed.
    """
    require("hub", "Reading weights of Keras")
    with _opened(path) as file:
        layers = _layers(path, file)
    names = next((one for one in LAYOUTS if one.first[0] in layers), None)
    if names is None:
        raise _other(path, f"Layers: {', '.join(list(layers)[:8]) or 'none'}.")
    blocks = sorted({match.groups() for name in layers if (match := re.fullmatch(names.block, name))}, key=_place)
    depths = tuple(sum(stage == wanted for stage, _ in blocks) for wanted in "2345")
    if depths not in DEPTHS:
        raise _other(path, f"Blocks of its stages: {depths}.")
    config = Config(width=2048, stem_width=64, depths=depths, bottleneck=True, stride_first=True)
    spec = EncoderSpec("image", "coarse", "resnet", f"keras {DEPTHS[depths]}", asdict(config))
    with torch.random.fork_rng(devices=[]):
        encoder = build_encoder(spec, FACTS)
    wanted = {"stem": names.first}
    for stage, block in blocks:
        number = [one for one, _ in blocks[: blocks.index((stage, block))]].count(stage)
        for part, place in PLACES.items():
            if part != "0" or number == 0:
                wanted[f"trunk.stages.{int(stage) - 2}.{number}.{place}"] = names.names(stage, block, part)
    state = encoder.state_dict()
    for place, (convolution, norm) in wanted.items():
        state |= _folded(path, layers, place, convolution, norm, names.eps, state[f"{place}.convolution.weight"].shape)
    # Keras was given BGR, we give RGB.
    state["stem.convolution.weight"] = state["stem.convolution.weight"].flip(1)
    encoder.load_state_dict(state)
    return encoder.eval()


def _place(block: tuple[str, ...]) -> tuple[str, int, str]:
    stage, name = block
    return stage, len(name), name


def _folded(
    path: Path, layers: Layers, place: str, convolution: str, norm: str, eps: float, shape: torch.Size
) -> dict[str, Tensor]:
    """A convolution with bias and its batch norm as one without bias and a batch norm of our epsilon."""
    kernel, *rest = _values(path, layers, convolution, (1, 2))
    gamma, beta, mean, variance = _values(path, layers, norm, (4,))
    found = tuple(np.transpose(kernel, (3, 2, 0, 1)).shape) if kernel.ndim == 4 else kernel.shape
    if found != tuple(shape) or any(vector.shape != (shape[0],) for vector in (*rest, gamma, beta, mean, variance)):
        raise _other(path, f"Layer {convolution} has a kernel of shape {kernel.shape}; {tuple(shape)} is wanted of us.")
    bias = rest[0] if rest else np.zeros_like(mean)
    norms = {"weight": gamma, "bias": beta, "running_mean": mean - bias, "running_var": variance + (eps - OUR_EPS)}
    told = {f"{place}.norm.{name}": torch.from_numpy(np.array(value, np.float32)) for name, value in norms.items()}
    weight = torch.from_numpy(np.ascontiguousarray(np.transpose(kernel, (3, 2, 0, 1)), np.float32))
    return told | {f"{place}.convolution.weight": weight}


def _values(path: Path, layers: Layers, name: str, counts: tuple[int, ...]) -> list[np.ndarray]:
    values = layers.get(name)
    if values is None or len(values) not in counts:
        raise _other(path, f"Layer {name} has {'no' if values is None else len(values)} weights.")
    return values


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The HDF5 file, for a .keras archive the one in it."""
    h5py = importlib.import_module("h5py")
    try:
        if not zipfile.is_zipfile(path):
            with h5py.File(path, "r") as file:
                yield file
            return
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("model.weights.h5").file_size > MAX_WEIGHTS_BYTES:
                raise _unreadable(path, f"its weights have more than {MAX_WEIGHTS_BYTES:,} bytes")
            with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
                yield file
    except FileNotFoundError as error:
        raise _unreadable(path, "it is not there") from error
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(path, first_line(error)) from error


def _layers(path: Path, file: Any) -> Layers:
    """Weights of each layer that has some, in Keras' order, under its name."""
    if "layers" in file and "layer_names" not in file.attrs:
        return _numbered(path, file["layers"])
    group = file["model_weights"] if "model_weights" in file else file
    found: Layers = {}
    for name in _attribute(group, "layer_names"):
        inner = _inside(path, group, name)
        names = _attribute(inner, "weight_names")
        if names:
            found[name] = [_read(path, inner, one) for one in names]
    if not found:
        raise _unreadable(path, "it holds no layers with weights as Keras writes them")
    return found


def _attribute(group: Any, name: str) -> list[str]:
    """A list of names; long ones are cut into numbered attributes."""
    keys = (
        [name] if name in group.attrs else sorted((k for k in group.attrs if re.fullmatch(rf"{name}\d+", k)), key=len)
    )
    values = [value for key in keys for value in np.asarray(group.attrs[key]).ravel().tolist()]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _numbered(path: Path, group: Any) -> Layers:
    """What Keras 3 writes: layers by kind and number, in the order of the network; named here as in the files before.

    A block's layers come by their distance from its end: first and second convolution, that of the shortcut, third.
    """
    kinds = {"conv": "conv2d", "bn": "batch_normalization"}
    count = sum(re.fullmatch(r"conv2d(_\d+)?", name) is not None for name in group)
    depths = next((one for one in DEPTHS if 3 * sum(one) + 5 == count), None)
    if depths is None:
        raise _other(path, f"It has {count} convolutions.")
    order = ["conv1_{}"]
    for stage, depth in enumerate(depths, 2):
        for block in range(1, depth + 1):
            order += [f"conv{stage}_block{block}_{part}_{{}}" for part in ("1203" if block == 1 else "123")]
    found: Layers = {}
    for kind, name in kinds.items():
        for number, pattern in enumerate(order):
            values = _inside(path, group, f"{name}_{number}/vars" if number else f"{name}/vars")
            found[pattern.format(kind)] = [_read(path, values, str(index)) for index in range(len(values))]
    return found


def _read(path: Path, group: Any, name: str) -> np.ndarray:
    h5py, value = importlib.import_module("h5py"), _inside(path, group, name)
    if not isinstance(value, h5py.Dataset) or value.is_virtual or value.external or value.dtype.kind != "f":
        raise _unreadable(path, f"{name} holds no plain numbers")
    if value.size * value.dtype.itemsize > MAX_WEIGHTS_BYTES:
        raise _unreadable(path, f"{name} has {value.size:,} numbers")
    return np.asarray(value[()])


def _inside(path: Path, group: Any, name: str) -> Any:
    """What lies in the file itself under a name: HDF5 could lead to other files."""
    hard = importlib.import_module("h5py").HardLink
    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), hard):
            raise _unreadable(path, f"{name} leads out of the file, or nowhere")
        group = group[part]
    return group


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} cannot be read: {why}.",
        cause="It is damaged, cut off, or no file that Keras wrote.",
        fix="Copy it again from where it came from.",
    )


def _other(path: Path, found: str) -> DataError:
    return DataError(
        f"{path} holds no ResNet50, ResNet101 or ResNet152 of keras.applications.",
        found=found,
        cause="Only these come in from Keras; a ResNet inside another model has to be saved by itself.",
        fix="In Keras: ResNet50(...).save_weights(FILE), or give a checkpoint of transformers.",
    )
