"""The temporal convolutional network: `conv1d` that sees only what stands before a word, so that it can write text."""

from __future__ import annotations

from dataclasses import replace

from seedbed.models import conv1d
from seedbed.models.conv1d import STEMS, Config, Trunk

__all__ = ["SIZES", "STEMS", "Config", "Trunk"]

SIZES = {"text": {size: replace(config, forward=True) for size, config in conv1d.SIZES["text"].items()}}
