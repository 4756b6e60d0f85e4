"""Checkpoints that a crash, a full disk or a flipped bit cannot spoil: written aside, verified, then named.

A checkpoint is a folder `step-00000120` with `tensors.safetensors`, `state.json` and `manifest.json`, which holds the
size and xxh3-128 of the others and a hash of itself. It gets its name only when the disk has all of it, is never
overwritten (a second one of the same step is called `step-00000120-1`), and older ones go only after it was read back.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from seedbed.core.errors import DataError, MachineError
from seedbed.core.runs import FULL, friendly, json_bytes, machine_error, read_json, sync_folder, write_synced
from seedbed.core.types import Learner, Say
from seedbed.train.optim import Ema

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
FILES = (TENSORS, STATE)
FORMAT = 1

_NAME = re.compile(r"step-(\d{8,})(?:-(\d+))?")
_BLOCK_BYTES = 1 << 20
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

Optimizers = Mapping[str, list[Optimizer]]


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `step` steps."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Damaged(Exception):
    """Why a checkpoint cannot be used."""


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, object], keep: int) -> Path:
    """Save a checkpoint; when this returns, the disk has it, it was read back, and older ones beyond `keep` are gone.

    On a full disk all but the newest sound checkpoint make room for one more try.

    Args:
        folder: of one stage's checkpoints.
        step: steps done.
        tensors: contiguous or not, on any device.
        state: JSON values; what is not finite comes back as None.
        keep: how many to keep, at least 1.

    Returns:
        The checkpoint's folder.

    Raises:
        MachineError: it could not be saved; those before it are intact.
    """
    assert keep >= 1 and step >= 0
    try:
        try:
            made = _write(folder, step, tensors, state)
        except OSError as error:
            if error.errno not in FULL or not _make_room(folder):
                raise
            made = _write(folder, step, tensors, state)
        _prune(folder, made, keep)
    except OSError as error:
        _remove_unfinished(folder)
        raise machine_error(folder, error) from error
    return made


def load_latest(folder: Path, say: Say) -> Checkpoint | None:
    """The newest sound checkpoint; None where there is none at all.

    Each damaged one is told as an event "damaged" (path, why), and the one before it is tried.

    Raises:
        DataError: there are checkpoints, but none is sound.
    """
    names = _listed(folder)
    for path in reversed(names):
        try:
            manifest = verify(path)
            return Checkpoint(manifest["step"], load_file(path / TENSORS), read_json(path / STATE))
        except (Damaged, DataError, MachineError, OSError, SafetensorError) as error:
            say("damaged", path=str(path), why=str(error).partition("\n")[0])
    if names:
        raise DataError(
            f"None of the {len(names)} checkpoints in {folder} is sound.",
            found=", ".join(path.name for path in names),
            cause="The disk damaged them, or they were changed by hand.",
            fix=f"Restore one from a copy, or remove {folder} to train from the beginning.",
        )
    return None


def verify(path: Path) -> dict[str, Any]:
    """A checkpoint's manifest, after comparing every file with it.

    Raises:
        Damaged: something is missing or differs from what was saved.
    """
    try:
        manifest = read_json(path / MANIFEST)
    except (DataError, MachineError) as error:
        raise Damaged(f"{MANIFEST}: {error.what}") from error
    named = _NAME.fullmatch(path.name)
    if named is None or manifest.get("step") != int(named[1]) or set(manifest.get("files", ())) != set(FILES):
        raise Damaged(f"{MANIFEST}: it belongs to another checkpoint")
    for name, stated in manifest["files"].items():
        try:
            found = _measure(path / name)
        except OSError as error:
            raise Damaged(f"{name}: {error.strerror}") from error
        if found != stated:
            why = "size" if found["size"] != stated["size"] else "content"
            raise Damaged(f"{name}: its {why} is not what was saved")
    return manifest


def pack(learner: Learner, optimizers: Optimizers, ema: Ema | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything that training changes, by name: tensors, and what optimisers keep as plain numbers.

    Names begin with "model/", "optimizer/<player>/<index>-<class>/" or "ema/". Tensors are not copied: save them before
    the next step.
    """
    tensors = {f"model/{name}": value for name, value in _own(learner).items()}
    scalars: dict[str, Any] = {}
    for prefix, _, parameters, states in _optimizer_states(learner, optimizers):
        for index, state in states.items():
            for key, value in state.items():
                name = f"{prefix}{parameters[index]}/{key}"
                if isinstance(value, Tensor):
                    tensors[name] = value
                else:
                    scalars[name] = value
    if ema is not None:
        tensors |= {f"ema/{name}": value for name, value in ema.state_dict().items()}
    return tensors, scalars


@torch.no_grad()
def unpack_(
    tensors: Mapping[str, Tensor],
    scalars: Mapping[str, Any],
    learner: Learner,
    optimizers: Optimizers,
    ema: Ema | None,
) -> None:
    """Put back what `pack` gave, bit for bit; names with other beginnings are left to the caller.

    Raises:
        DataError: the tensors are those of another learner, optimiser or setting of the moving average.
    """
    own, averages = _own(learner), ema.state_dict() if ema is not None else {}
    _agree("model", _under("model/", tensors), own)
    _agree("ema", _under("ema/", tensors), averages)
    values = _under("optimizer/", {**tensors, **scalars})
    made = _optimizer_states(learner, optimizers)
    known = {f"{prefix}{name}/".removeprefix("optimizer/") for prefix, _, names, _ in made for name in names}
    strange = {name: value for name, value in values.items() if name.rpartition("/")[0] + "/" not in known}
    _agree("optimizer", strange, {})
    for name, value in own.items():
        value.copy_(tensors[f"model/{name}"])
    if ema is not None:
        ema.load_state_dict(_under("ema/", tensors))
    for prefix, optimizer, names, _ in made:
        kept = _under(prefix, {**tensors, **scalars})
        states = {index: _under(f"{name}/", kept) for index, name in enumerate(names)}
        copies = {
            index: {key: _copy(value) for key, value in state.items()} for index, state in states.items() if state
        }
        optimizer.load_state_dict({**optimizer.state_dict(), "state": copies})


def _copy(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value


def _under(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _own(learner: Learner) -> dict[str, Tensor]:
    """The state dict with tied tensors once, under their first name."""
    seen: set[int] = set()
    own = {}
    for name, value in learner.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            own[name] = value
    return own


def _optimizer_states(
    learner: Learner, optimizers: Optimizers
) -> list[tuple[str, Optimizer, list[str], dict[int, dict[str, Any]]]]:
    """(prefix, optimiser, names of its parameters in its order, its state by their index) of each."""
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    found = []
    for player, made in optimizers.items():
        for number, optimizer in enumerate(made):
            parameters = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
            prefix = f"optimizer/{player}/{number}-{type(optimizer).__name__.lower()}/"
            found.append((prefix, optimizer, parameters, optimizer.state_dict()["state"]))
    return found


def _agree(what: str, saved: Mapping[str, Any], mine: Mapping[str, Tensor]) -> None:
    there = {name: tuple(value.shape) if isinstance(value, Tensor) else value for name, value in saved.items()}
    here = {name: tuple(value.shape) for name, value in mine.items()}
    if there != here:
        differing = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        first = differing[0]
        raise DataError(
            f"The checkpoint is of another {what}: {len(differing)} tensors differ.",
            found=f"{first}: {there.get(first, 'nothing')} saved, {here.get(first, 'nothing')} expected",
            cause="The options or the program changed since it was saved.",
            fix="Give another --out, or remove that run folder, to start anew.",
        )


def _write(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder)
    temporary = folder / f".tmp-{step:08d}"
    temporary.mkdir()
    files: dict[str, dict[str, Any]] = {}

    def tensor_file(file: IO[bytes]) -> None:
        files[TENSORS] = _stream(file, tensors)

    write_synced(temporary / TENSORS, tensor_file)
    content = json_bytes(state)
    files[STATE] = {"size": len(content), "xxh3": xxhash.xxh3_128_hexdigest(content)}
    write_synced(temporary / STATE, lambda file: file.write(content))
    manifest = json_bytes({"format": FORMAT, "step": step, "files": files})
    write_synced(temporary / MANIFEST, lambda file: file.write(manifest))
    sync_folder(temporary)
    return _commit(temporary, folder, step)


def _commit(temporary: Path, folder: Path, step: int) -> Path:
    again = [more for other, more, _ in _numbered(folder) if other == step]
    path = folder / (f"step-{step:08d}-{max(again) + 1}" if again else f"step-{step:08d}")
    temporary.rename(path)
    sync_folder(folder)
    return path


def _stream(file: IO[bytes], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write tensors in the safetensors format without a second copy of them in memory; hash what was meant."""
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {}
    end = 0
    for name in order:
        value = tensors[name]
        start, end = end, end + value.numel() * value.element_size()
        header[name] = {"dtype": _DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    hasher = xxhash.xxh3_128(head)
    file.write(head)
    for name in order:
        content = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        hasher.update(content)
        file.write(content)
    return {"size": len(head) + end, "xxh3": hasher.hexdigest()}


def _measure(path: Path) -> dict[str, Any]:
    hasher, size = xxhash.xxh3_128(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            hasher.update(block)
            size += len(block)
    return {"size": size, "xxh3": hasher.hexdigest()}


def _listed(folder: Path) -> list[Path]:
    """All checkpoints, sound or not, oldest first."""
    with friendly(folder):
        return [path for _, _, path in _numbered(folder)]


def _numbered(folder: Path) -> list[tuple[int, int, Path]]:
    paths = list(folder.iterdir()) if folder.is_dir() else []
    named = [(_NAME.fullmatch(path.name), path) for path in paths]
    return sorted((int(name[1]), int(name[2] or 0), path) for name, path in named if name)


def _sound(path: Path) -> bool:
    try:
        verify(path)
    except Damaged:
        return False
    return True


def _prune(folder: Path, made: Path, keep: int) -> None:
    """Remove what the new checkpoint makes superfluous, provided that it can be read back."""
    if not _sound(made):
        _remove(made)
        raise OSError(f"{made} does not read back as it was written")
    names = _listed(folder)
    position = names.index(made)
    for path in names[: max(0, position + 1 - keep)]:
        _remove(path)
    # Later ones than the one just made are those a resume had to pass over.
    for path in names[position + 1 :]:
        if not _sound(path):
            _remove(path)


def _make_room(folder: Path) -> bool:
    """Remove all checkpoints but the newest sound one; False when that gave nothing."""
    names = _listed(folder)
    newest = next((path for path in reversed(names) if _sound(path)), None)
    others = [path for path in names if path != newest] if newest else []
    for path in others:
        _remove(path)
    return bool(others)


def _remove(path: Path) -> None:
    # Renamed first: a half-removed checkpoint must not look like a damaged one.
    aside = path.with_name(f".tmp-old-{path.name}")
    path.rename(aside)
    shutil.rmtree(aside)


def _remove_unfinished(folder: Path) -> None:
    for path in folder.glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)
