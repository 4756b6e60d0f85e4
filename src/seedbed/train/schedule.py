"""The learning rate over the steps of a stage, as a share of its peak: pure in the step."""

from __future__ import annotations

import math
from collections.abc import Callable

LINEAR, COSINE, WSD = "linear", "cosine", "wsd"

# The share of the peak by how much of the falling part is left, 1 at its start and 0 at its end.
_FALL: dict[str, Callable[[float], float]] = {
    LINEAR: lambda left: left,
    COSINE: lambda left: 0.5 - 0.5 * math.cos(math.pi * left),
    WSD: lambda left: 1.0 - math.sqrt(1.0 - left),
}


def schedule(step: float, total: float, warmup: float, shape: str = LINEAR, cooldown: float = 0.25) -> float:
    """The share of the peak learning rate at a step: up in a line, then down to zero at `total`.

    A stage whose number of steps was cut short goes on from where it stood, only faster: its place on the way that was
    planned (`Horizon.progress`) is its step here.

    Args:
        step: 0 is the first; the last, total - 1, is still above zero.
        total: steps that were planned.
        warmup: share of the steps that rise.
        shape: "linear" falls in a line and "cosine" along half a wave, both from the end of the rise on; "wsd"
            (warm-up, stable, decay) stays at the peak and falls as 1 - sqrt at the end.
        cooldown: of "wsd": share of the steps that fall.

    Source: Loshchilov and Hutter 2017, SGDR, equation 5 without restarts (cosine); Haegele et al. 2024, "Scaling laws
        and compute-optimal training beyond fixed training durations", section 3 (constant, then 1 - sqrt).
    """
    rising = round(warmup * total)
    up = (step + 1) / (rising + 1)
    falling = total - rising if shape != WSD else min(round(cooldown * total), total - rising)
    left = min(1.0, (total - step) / max(1, falling))
    return max(0.0, min(1.0, up, _FALL[shape](max(0.0, left))))
