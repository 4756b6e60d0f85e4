"""What stands for a label that is not there; apart from the other types, so that looking at data loads no torch."""

from __future__ import annotations

NO_LABEL = -1
