"""Optional packages: asked for before any work, so that a missing one costs a second and not an evening."""

from __future__ import annotations

import importlib.util

from seedbed.core.errors import MachineError

# What each extra of pyproject.toml brings, by the names they are imported by.
EXTRAS = {
    "hub": ("transformers", "h5py"),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "tensorboard": ("tensorboard",),
}


def missing(extra: str) -> list[str]:
    """Packages of an extra that are not installed; none of them is imported."""
    return [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]


def require(extra: str, purpose: str) -> None:
    """Stop where an extra is not installed.

    Args:
        extra: a key of EXTRAS.
        purpose: what needs it, the beginning of a sentence.

    Raises:
        MachineError: with the line that installs it.
    """
    absent = missing(extra)
    if absent:
        raise MachineError(
            f"{purpose} needs packages that are not installed.",
            found=f"Missing: {', '.join(absent)}.",
            cause=f'They belong to the extra "{extra}", which a plain installation leaves out.',
            fix=f"pip install 'seedbed[{extra}]'",
        )
