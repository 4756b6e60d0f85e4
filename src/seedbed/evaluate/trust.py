"""How far an answer can be trusted: probabilities that mean what they say, and a sense of what was never seen.

trust = fit_trust(answers_IC, targets, x)      # answers for labels held out, features of training rows
trust.calibrated(answers_IC)                   # the same answers, as sure as they have turned out right
trust.unlike(x)                                # True for rows farther from all training rows than those from another
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.optimize import minimize_scalar

from seedbed.evaluate.linear import Features
from seedbed.evaluate.scoring import scoring, scoring_of
from seedbed.models.folder import read_manifest, read_tensors, write_folder

FOLDER, REFERENCE = "trust", "reference"
SKETCH = 256
NEIGHBOUR = 5
USUAL = 0.99
MOST_REFERENCES = 1000  # training rows that stand for all
LEAST_HELD = 20  # held-out answers; fewer would make the temperature a matter of luck
COOLEST, HOTTEST = 0.05, 20.0
COVERED = 0.9  # of held-out numbers lie within the margin
TINY = 1e-12


@dataclass(frozen=True)
class Trust:
    """What was learnt of a model's answers; kept beside it.

    Attributes:
        kind: of the labels.
        temperature: divides the logits; above 1 the model was too sure of itself.
        margin: nine in ten held-out numbers were within this of the answer; 0 for probabilities.
        held: answers for held-out labels it was fitted to; 0 where there were too few.
        limit: cosine distance to the fifth nearest reference that one in a hundred training rows exceeds.
        reference_ID: sketched unit features of training rows, float32.
    """

    kind: str
    temperature: float
    margin: float
    held: int
    limit: float
    reference_ID: np.ndarray

    def calibrated(self, answers_IC: np.ndarray) -> np.ndarray:
        """Answers softened or sharpened by the temperature; what they say stays."""
        return scoring(self.kind).tempered(answers_IC, self.temperature)

    def unlike(self, x: Features) -> np.ndarray:
        """Whether rows lie farther out than nearly all training rows do, bool (I,)."""
        return _distances(sketch(x), self.reference_ID) > self.limit

    def about(self) -> dict[str, Any]:
        """All but the reference, JSON-able."""
        return {name: value for name, value in vars(self).items() if name != "reference_ID"}


def fit_trust(answers_IC: np.ndarray, targets: np.ndarray, x: Features) -> Trust:
    """Learn from answers for labels the model had not seen, and from the features of training rows.

    Args:
        answers_IC: for held-out rows.
        targets: of those rows, as the data hold them: their kind decides what is learnt.
        x: features of some training rows, dense or sparse, at least one row; all of them are kept as the reference.

    Source: for numbers, Lei et al. 2018, Distribution-free predictive inference for regression (split conformal).
    """
    scored = scoring_of(targets)
    held = len(targets) if len(targets) >= LEAST_HELD else 0
    numbers = scored.KIND == "number"
    margin, temperature = 0.0, 1.0
    if held and numbers:
        error_I = np.sort(np.abs(answers_IC[:, 0] - targets))
        margin = float(error_I[min(int(np.ceil(COVERED * (held + 1))), held) - 1])
    elif held:
        temperature = _temperature(answers_IC, targets)
    reference_ID = sketch(x)
    # The nearest of a reference row is itself, so its limit is one neighbour short: on the side of fewer alarms.
    limit = float(np.quantile(_distances(reference_ID, reference_ID), USUAL))
    return Trust(scored.KIND, temperature, margin, held, limit, reference_ID)


def save_trust(folder: Path, trust: Trust) -> None:
    """Write it into a model folder, hashed like everything there.

    Raises:
        MachineError: no room or no permission.
    """
    write_folder(folder / FOLDER, {REFERENCE: torch.from_numpy(trust.reference_ID)}, {"trust": trust.about()})


def load_trust(folder: Path) -> Trust | None:
    """The trust of a model folder, verified; None for a model that was kept without.

    Raises:
        DataError: it is damaged.
    """
    if not (folder / FOLDER).is_dir():
        return None
    manifest = read_manifest(folder / FOLDER)
    return Trust(**manifest["trust"], reference_ID=read_tensors(folder / FOLDER, manifest)[REFERENCE].numpy())


def _temperature(answers_IC: np.ndarray, targets: np.ndarray) -> float:
    """The one with the least loss on held-out answers."""
    scored = scoring_of(targets)

    def loss(log_temperature: float) -> float:
        return float(scored.losses(scored.tempered(answers_IC, float(np.exp(log_temperature))), targets).mean())

    bounds = (float(np.log(COOLEST)), float(np.log(HOTTEST)))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def sketch(x: Features) -> np.ndarray:
    """Rows of unit length in at most SKETCH dimensions, float32; zero rows stay zero.

    Wider features are added up in buckets with random signs, which keeps inner products on average.

    Source: Charikar et al. 2002, Finding frequent items in data streams (count sketch).
    """
    if x.ndim > 2:
        x = x.reshape(len(x), -1)
    wide = x.shape[1]
    if wide > SKETCH:
        draw = np.random.default_rng(0)
        bucket_F, sign_F = draw.integers(0, SKETCH, wide), draw.choice([-1.0, 1.0], wide)
        buckets: Features = sp.csr_matrix((sign_F, (np.arange(wide), bucket_F)), shape=(wide, SKETCH))
        x = x @ buckets
    dense = np.asarray(x if isinstance(x, np.ndarray) else x.toarray(), dtype=np.float64)
    unit_ID = dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), TINY)
    return np.ascontiguousarray(unit_ID, dtype=np.float32)  # a matrix product may leave it transposed


def _distances(x_ID: np.ndarray, reference_ID: np.ndarray) -> np.ndarray:
    """Cosine distance of rows to their fifth nearest reference, float64 (I,), 0 to 2."""
    rank = min(NEIGHBOUR, len(reference_ID)) - 1
    near = np.asarray(x_ID @ reference_ID.T, dtype=np.float64)
    return 1.0 + np.partition(-near, rank, axis=1)[:, rank]
