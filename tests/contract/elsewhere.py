"""A device that is not there: tensors said to lie on it are held by the processor, and may not meet those that do.

What a graphics card would refuse, a sum of a tensor here and one there, is refused in the same way, so that whether
everything follows the device can be tested on any machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "elsewhere"
TRANSFERS = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class Distant(Tensor):
    """A tensor said to lie elsewhere."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Distant:
        sparse = held.layout != torch.strided
        made: Distant = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=None if sparse else held.stride(),
            storage_offset=0 if sparse else held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=torch.device(DEVICE, 0),
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # declared there as what it is when it is off
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return carried_out(func, args, kwargs or {})


def carried_out(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The operation, done by the processor; its results lie where a card would leave them."""
    given = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    distant = [leaf for leaf in given if isinstance(leaf, Distant)]
    asked = kwargs.get("device")
    if distant and func not in TRANSFERS:
        here = [leaf for leaf in given if not isinstance(leaf, Distant) and leaf.dim() > 0]
        if here:
            raise RuntimeError(
                f"{func}: a tensor of shape {tuple(here[0].shape)} is on the processor, others elsewhere"
            )
    there = bool(distant) if asked is None else torch.device(asked).type == DEVICE
    if func is torch.ops.aten.copy_.default:
        there = isinstance(args[0], Distant)
    known = {id(leaf.held): leaf for leaf in distant}
    args, kwargs = tree_map_only(Distant, lambda leaf: leaf.held, (args, kwargs))
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    done = func(*args, **kwargs)
    if not there:
        return done
    return tree_map_only(Tensor, lambda leaf: known[id(leaf)] if id(leaf) in known else Distant(leaf), done)


class Elsewhere(TorchDispatchMode):
    """Inside, tensors can be made on the device."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return carried_out(func, args, kwargs or {})


class _Module:
    """What torch asks a back end for."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16]

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """There is no other generator than the processor's, which draws for both."""

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def device_count() -> int:
        return 1


def register() -> None:
    """Make the device's name known, once a process."""
    if not hasattr(torch, DEVICE):
        _setup_privateuseone_for_python_backend(DEVICE, backend_module=_Module())
