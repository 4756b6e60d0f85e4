"""The log of a run as TensorBoard reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

PLACE = ("stage", "event", "step")


def export_tensorboard(events: Iterable[Mapping[str, Any]], folder: Path) -> dict[str, int]:
    """Write every figure of a log as a scalar "stage/event/name".

    Args:
        events: lines of metrics.jsonl.
        folder: for the event file.

    Returns: how many points each scalar has.
    """
    # The extra's own package: imported here, after the caller has asked for it, because it takes a second.
    from torch.utils.tensorboard import SummaryWriter

    counts: dict[str, int] = {}
    with SummaryWriter(str(folder)) as writer:
        for event in events:
            for name, value in _figures({key: part for key, part in event.items() if key not in PLACE}):
                tag = f"{event['stage']}/{event['event']}/{name}"
                writer.add_scalar(tag, value, int(event["step"]))
                counts[tag] = counts.get(tag, 0) + 1
    return counts


def _figures(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{above}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield above + name, float(value)
