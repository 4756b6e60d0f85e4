"""A linear model on pixels, sides above 32 of them shrunk by averaging blocks; or on the values of vectors."""

from __future__ import annotations

import numpy as np

from seedbed.evaluate.linear import Features, Linear, State, fit_probe

LARGEST_SIDE = 32
MOST = 5000  # rows the part without labels sees


def prepare(raw: np.ndarray, seed: int) -> State:
    """The mean image, or mean and deviation of each value of vectors, whose scales have nothing in common."""
    x = flat(raw)
    if raw.dtype == np.uint8:
        return {"mean": x.mean(axis=0)}
    std = x.std(axis=0, dtype=np.float64)
    return {"mean": x.mean(axis=0, dtype=np.float64), "std": np.where(std > 0, std, 1.0)}


def render(state: State, raw: np.ndarray) -> Features:
    """Pixels less the mean image, float32 (rows, F), or standardised values."""
    centred = flat(raw) - state["mean"]
    return centred / state["std"] if "std" in state else centred


def learn(x: Features, y: np.ndarray, num_classes: int, seed: int) -> tuple[State, float]:
    """A linear probe."""
    model, selection = fit_probe(x, y, num_classes, seed)
    return model.state(), selection


def respond(state: State, x: Features) -> np.ndarray:
    """Answers, float64 (I, C)."""
    return Linear.from_state(state).answers(x)


def flat(images: np.ndarray) -> np.ndarray:
    """Flat pixels in 0..1, float32 (rows, F); values of vectors as they are."""
    if images.dtype != np.uint8:
        return images.reshape(len(images), -1)
    side = -(-max(images.shape[2:]) // LARGEST_SIDE)
    pixels = images.astype(np.float32) / 255.0
    if side > 1:
        rows, columns = (max(length // side, 1) * side for length in images.shape[2:])
        cut = pixels[:, :, :rows, :columns]
        blocks = cut.reshape(*cut.shape[:2], rows // side, side, columns // side, side)
        pixels = blocks.mean(axis=(3, 5))
    return pixels.reshape(len(images), -1)
