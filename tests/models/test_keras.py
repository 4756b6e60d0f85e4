"""ResNets of Keras come in with the features keras.applications computes, from every layout it writes.

Keras is not installed here. `forward` below is written after the published source of keras.applications, layer by
layer, and the files are synthesised with h5py as Keras writes them.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seedbed.core.errors import DataError, MachineError
from seedbed.core.extras import EXTRAS
from seedbed.models import keras
from seedbed.models.keras import load_keras

Weights = dict[str, list[np.ndarray]]
STAGES = ((2, 64, 3), (3, 128, 4), (4, 256, 6), (5, 512, 3))


def new_names(stage: int, block: int, part: int) -> tuple[str, str]:
    return f"conv{stage}_block{block}_{part}_conv", f"conv{stage}_block{block}_{part}_bn"


def old_names(stage: int, block: int, part: int) -> tuple[str, str]:
    branch = "branch1" if part == 0 else "branch2" + "abc"[part - 1]
    return f"res{stage}{'abcdef'[block - 1]}_{branch}", f"bn{stage}{'abcdef'[block - 1]}_{branch}"


def order() -> Iterator[tuple[int, int, int, int, int, int]]:
    """Stage, block, part, kernel size, channels in and out, in the order of a Keras model's layers."""
    for stage, filters, blocks in STAGES:
        for block in range(1, blocks + 1):
            into = 4 * filters if block > 1 else (64 if stage == 2 else 2 * filters)
            yield stage, block, 1, 1, into, filters
            yield stage, block, 2, 3, filters, filters
            if block == 1:
                yield stage, block, 0, 1, into, 4 * filters
            yield stage, block, 3, 1, filters, 4 * filters


def drawn(names: Callable[[int, int, int], tuple[str, str]], first: tuple[str, str], top: str) -> Weights:
    """Random weights under Keras' names, of sizes at which features stay near one."""
    draw = np.random.default_rng(3)

    def layer(size: int, into: int, out: int) -> list[np.ndarray]:
        kernel = draw.standard_normal((size, size, into, out), np.float32) * (2 / (size * size * into)) ** 0.5
        return [kernel.astype(np.float32), 0.3 * draw.standard_normal(out, np.float32)]

    def norm(out: int) -> list[np.ndarray]:
        gamma, beta = 0.5 + draw.random(out, np.float32) * 0.2, 0.1 * draw.standard_normal(out, np.float32)
        return [gamma, beta, 0.1 * draw.standard_normal(out, np.float32), 0.5 + draw.random(out, np.float32)]

    weights: Weights = {first[0]: layer(7, 3, 64), first[1]: norm(64)}
    weights[first[0]][0] /= 60  # pixels are up to 255
    for stage, block, part, size, into, out in order():
        convolution, batch_norm = names(stage, block, part)
        weights[convolution], weights[batch_norm] = layer(size, into, out), norm(out)
    if top:
        weights[top] = [np.zeros((2048, 10), np.float32), np.zeros(10, np.float32)]
    return weights


def forward(weights: Weights, pixels_BYXC: np.ndarray, names: Any, first: tuple[str, str], eps: float) -> Tensor:
    """The network of keras.applications without its top, pooling="avg", after preprocess_input (mode "caffe")."""
    bgr = pixels_BYXC[..., ::-1].astype(np.float32) - np.array([103.939, 116.779, 123.68], np.float32)
    x = torch.from_numpy(np.ascontiguousarray(bgr)).permute(0, 3, 1, 2)

    def conv(x: Tensor, name: str, stride: int = 1, pad: int = 0) -> Tensor:
        kernel, bias = (torch.from_numpy(value) for value in weights[name])
        return F.conv2d(F.pad(x, (pad, pad, pad, pad)), kernel.permute(3, 2, 0, 1), bias, stride)

    def bn(x: Tensor, name: str) -> Tensor:
        gamma, beta, mean, variance = (torch.from_numpy(value)[:, None, None] for value in weights[name])
        return gamma * (x - mean) / torch.sqrt(variance + eps) + beta

    x = torch.relu(bn(conv(x, first[0], stride=2, pad=3), first[1]))
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)
    for stage, _, blocks in STAGES:
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and stage > 2 else 1
            (c0, n0), (c1, n1), (c2, n2), (c3, n3) = (names(stage, block, part) for part in range(4))
            shortcut = bn(conv(x, c0, stride), n0) if block == 1 else x
            y = torch.relu(bn(conv(x, c1, stride), n1))
            y = torch.relu(bn(conv(y, c2, pad=1), n2))
            x = torch.relu(shortcut + bn(conv(y, c3), n3))
    return x.mean((2, 3))


def save_legacy(file: Any, weights: Weights, suffix: str, chunks: int = 1) -> None:
    """Write as save_weights_to_hdf5_group does: layers without weights are listed too."""
    listed = ["input_1", "conv1_pad", *weights, "avg_pool"]
    names = [name.encode() for name in listed]
    parts = np.array_split(np.asarray(names), chunks)
    for number, part in enumerate(parts):
        file.attrs[f"layer_names{number}" if chunks > 1 else "layer_names"] = part
    file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.2.4"
    for name in listed:
        group = file.create_group(name)
        values = weights.get(name, [])
        kinds = ("kernel", "bias") if len(values) == 2 else ("gamma", "beta", "moving_mean", "moving_variance")
        labels = [f"{name}/{kind}{suffix}" for kind, _ in zip(kinds, values, strict=False)]
        group.attrs["weight_names"] = [label.encode() for label in labels]
        for label, value in zip(labels, values, strict=True):
            group.create_dataset(label, data=value)


def save_new(file: Any, weights: Weights) -> None:
    """Write as Keras 3's save_weights: kinds and numbers instead of names."""
    file.create_group("vars")
    counts: dict[str, int] = {}
    for values in weights.values():
        dense = len(values) == 2 and values[0].ndim == 2
        kind = "dense" if dense else "conv2d" if len(values) == 2 else "batch_normalization"
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        group = file.create_group(f"layers/{kind}_{number}/vars" if number else f"layers/{kind}/vars")
        for index, value in enumerate(values):
            group.create_dataset(str(index), data=value)


NEW, OLD = ("conv1_conv", "conv1_bn"), ("conv1", "bn_conv1")


def write_new(path: Path, top: str = "") -> tuple[Weights, Any, tuple[str, str], float]:
    weights = drawn(new_names, NEW, top)
    with h5py.File(path, "w") as file:
        save_legacy(file, weights, ":0")
    return weights, new_names, NEW, 1.001e-5


def write_old(path: Path) -> tuple[Weights, Any, tuple[str, str], float]:
    weights = drawn(old_names, OLD, "fc1000")
    with h5py.File(path, "w") as file:
        save_legacy(file, weights, "_1:0", chunks=3)
    return weights, old_names, OLD, 1e-3


def write_model(path: Path) -> tuple[Weights, Any, tuple[str, str], float]:
    weights = drawn(new_names, NEW, "predictions")
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = b"{}"
        save_legacy(file.create_group("model_weights"), weights, "")
    return weights, new_names, NEW, 1.001e-5


def write_three(path: Path) -> tuple[Weights, Any, tuple[str, str], float]:
    weights = drawn(new_names, NEW, "predictions")
    with h5py.File(path, "w") as file:
        save_new(file, weights)
    return weights, new_names, NEW, 1.001e-5


def write_archive(path: Path) -> tuple[Weights, Any, tuple[str, str], float]:
    held, weights = io.BytesIO(), drawn(new_names, NEW, "")
    with h5py.File(held, "w") as file:
        save_new(file, weights)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", held.getvalue())
    return weights, new_names, NEW, 1.001e-5


LAYOUTS: dict[str, Callable[[Path], tuple[Weights, Any, tuple[str, str], float]]] = {
    "notop.h5": write_new,
    "top.h5": lambda path: write_new(path, "predictions"),
    "old.h5": write_old,
    "model.hdf5": write_model,
    "resnet.weights.h5": write_three,
    "resnet.keras": write_archive,
}
# The files are of full size, a hundred megabytes: one is enough for the quick tier.
TRIED = [name if name == "notop.h5" else pytest.param(name, marks=pytest.mark.slow) for name in LAYOUTS]


@pytest.mark.parametrize("layout", TRIED)
@torch.no_grad()
def test_features_are_those_of_keras(layout: str, tmp_path: Path) -> None:
    weights, names, first, eps = LAYOUTS[layout](tmp_path / layout)
    encoder = load_keras(tmp_path / layout)
    pixels_BCYX = torch.randint(0, 256, (2, 3, 48, 40), dtype=torch.uint8)
    ours_BD = encoder.pooled(pixels_BCYX, torch.ones(2, dtype=torch.bool))
    theirs_BD = forward(weights, pixels_BCYX.permute(0, 2, 3, 1).numpy(), names, first, eps)
    assert 0.1 < float(theirs_BD.std()) < 100
    assert float((ours_BD - theirs_BD).abs().max()) <= 1e-5 * max(1.0, float(theirs_BD.abs().max()))


def spoilt(path: Path, spoil: Callable[[Any], object]) -> None:
    """A small file of Keras' form."""
    with h5py.File(path, "w") as file:
        save_legacy(file, {"dense": [np.zeros((3, 2), np.float32), np.zeros(2, np.float32)]}, ":0")
        spoil(file)


def linked(file: Any) -> None:
    del file["dense"]
    file["dense"] = h5py.ExternalLink("/etc/other.h5", "/dense")


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(2,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", shape=(2,))
    del file["dense/dense/bias:0"]
    file["dense/dense"].create_virtual_dataset("bias:0", layout)


def worded(file: Any) -> None:
    del file["dense/dense/bias:0"]
    file["dense/dense"].create_dataset("bias:0", data=[b"a", b"b"])


FAULTS: dict[str, tuple[Callable[[Any], object], str]] = {
    "another network": (lambda file: None, "no ResNet50"),
    "external": (linked, "leads out of the file"),
    "virtual": (virtual, "holds no plain numbers"),
    "words": (worded, "holds no plain numbers"),
    "missing": (lambda file: file["dense/dense"].pop("bias:0"), "leads out of the file, or nowhere"),
    "no names": (lambda file: file.attrs.pop("layer_names"), "no layers with weights"),
    "numbered": (lambda file: (file.attrs.pop("layer_names"), file.create_group("layers/conv2d")), "no ResNet50"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_files_are_refused(fault: str, tmp_path: Path) -> None:
    spoil, words = FAULTS[fault]
    spoilt(tmp_path / "a.h5", spoil)
    with pytest.raises(DataError, match=words) as caught:
        load_keras(tmp_path / "a.h5")
    assert caught.value.fix


def test_half_a_resnet_is_refused(tmp_path: Path) -> None:
    zeros = [np.zeros((1, 1, 1, 1), np.float32), np.zeros(1, np.float32)]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        save_legacy(file, {"conv1_conv": zeros, "conv2_block1_1_conv": zeros}, ":0")
    with pytest.raises(DataError, match="no ResNet50") as caught:
        load_keras(tmp_path / "a.h5")
    assert "(1, 0, 0, 0)" in caught.value.found
    blocks = {new_names(stage, block, 1)[0]: zeros for stage, block, part, *_ in order() if part == 1}
    for extra, words in (({}, "Layer conv1_bn has no weights"), ({"conv1_bn": zeros * 2}, "has a kernel of shape")):
        with h5py.File(tmp_path / "b.h5", "w") as file:
            save_legacy(file, {"conv1_conv": zeros, **blocks, **extra}, ":0")
        with pytest.raises(DataError, match="no ResNet50") as caught:
            load_keras(tmp_path / "b.h5")
        assert words in caught.value.found


def test_no_file_of_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").write_bytes(b"no HDF5 at all")
    with pytest.raises(DataError, match=r"a\.h5 cannot be read"):
        load_keras(tmp_path / "a.h5")
    with pytest.raises(DataError, match="it is not there"):
        load_keras(tmp_path / "b.h5")
    with zipfile.ZipFile(tmp_path / "c.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(DataError, match="cannot be read"):
        load_keras(tmp_path / "c.keras")
    monkeypatch.setattr(keras, "MAX_WEIGHTS_BYTES", 4)
    spoilt(tmp_path / "d.h5", lambda file: None)
    with pytest.raises(DataError, match="has 6 numbers"):
        load_keras(tmp_path / "d.h5")
    with zipfile.ZipFile(tmp_path / "e.keras", "w") as archive:
        archive.writestr("model.weights.h5", "12345678")
    with pytest.raises(DataError, match="more than 4 bytes"):
        load_keras(tmp_path / "e.keras")
    monkeypatch.setitem(EXTRAS, "hub", ("no_such_package",))
    with pytest.raises(MachineError, match="Reading weights of Keras needs"):
        load_keras(tmp_path / "a.h5")
