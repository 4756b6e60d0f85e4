"""GRU layers that read from both ends: they can fill gaps."""

from __future__ import annotations

from seedbed.models.recurrent import STEMS, Config, sizes
from seedbed.models.recurrent import Recurrent as Trunk

__all__ = ["SIZES", "STEMS", "Config", "Trunk"]

SIZES = sizes("gru", both_ends=True)
