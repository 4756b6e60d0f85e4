"""The whole path in two minutes, on the digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import numpy as np
from sklearn.datasets import load_digits

from seedbed.core.config import merge
from seedbed.core.hashing import hash_rows
from seedbed.core.types import Say, silent
from seedbed.verbs.options import Options, Result
from seedbed.verbs.run import run

LABELS = (20, 50)
TEST_SHARE = 0.3
MINUTES = 1.75


def demo(*, out: str | Path = "runs", say: Say = silent, dry_run: bool = False, **options: Unpack[Options]) -> Result:
    """Run everything on 1,797 images of digits: pretraining without labels, then comparisons at a few labels.

    Args:
        out: folder for runs and prepared data.
        say: listener to events.
        dry_run: stop after the plan.
        options: see `Options`; minutes are 1.75 and label counts 20 and 50 unless given.
    """
    given: dict[str, Any] = {"prove": {"labels": LABELS}}
    if options.get("minutes") is None and options.get("steps") is None:
        given["minutes"] = MINUTES
    return run(digits(), out=out, say=say, dry_run=dry_run, **merge(given, options))


def digits() -> dict[str, np.ndarray]:
    """Images (1797, 8, 8) as uint8 with labels, three in ten set aside to score by a keyed hash.

    Source: Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI repository, 1998.
    """
    bunch = load_digits()
    images = np.round(bunch.images * (255.0 / 16.0)).astype(np.uint8)
    test = hash_rows(0, "demo", np.arange(len(images))) < TEST_SHARE
    return {"images": images, "label": bunch.target.astype(str), "split": np.where(test, "test", "train")}
