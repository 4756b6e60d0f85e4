"""How far an answer can be trusted: probabilities that mean what they say, and a sense of what was never seen.

trust = fit_trust(probs_IC, truth_I, x)        # answers for labels held out, features of training rows
trust.calibrated(probs_IC)                     # the same answers, as sure as they have turned out right
trust.unlike(x)                                # True for rows farther from all training rows than those from another
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from seedbed.evaluate.linear import Features

SKETCH = 256
NEIGHBOUR = 5
USUAL = 0.99
MOST_REFERENCES = 1000
LEAST_HELD = 20  # held-out answers; fewer would make the temperature a matter of luck
COOLEST, HOTTEST = 0.05, 20.0
TINY = 1e-12


@dataclass(frozen=True)
class Trust:
    """What was learnt of a model's answers; written beside it.

    Attributes:
        temperature: divides the logits; above 1 the model was too sure of itself.
        held: answers for held-out labels it was fitted to; 0 where there were too few.
        reference_ID: sketched unit features of training rows, float32.
        limit: cosine distance to the fifth nearest of them that one in a hundred training rows exceeds.
    """

    temperature: float
    held: int
    reference_ID: np.ndarray
    limit: float

    def calibrated(self, probs_IC: np.ndarray) -> np.ndarray:
        """Probabilities softened or sharpened by the temperature; the order of the classes stays."""
        return tempered(probs_IC, self.temperature)

    def distance(self, x: Features) -> np.ndarray:
        """Cosine distance of rows to their fifth nearest training row, float64 (I,), 0 to 2."""
        return _distances(sketch(x), self.reference_ID, min(NEIGHBOUR, len(self.reference_ID)) - 1)

    def unlike(self, x: Features) -> np.ndarray:
        """Whether rows lie farther out than nearly all training rows do, bool (I,)."""
        return self.distance(x) > self.limit

    def told(self) -> dict[str, Any]:
        """The figures for people and for the manifest."""
        return {"temperature": self.temperature, "held": self.held, "limit": self.limit}


def fit_trust(probs_IC: np.ndarray, truth_I: np.ndarray, x: Features) -> Trust:
    """Learn from answers for labels the model had not seen, and from the features of training rows.

    Args:
        probs_IC: of held-out rows.
        truth_I: their classes.
        x: features of training rows, dense or sparse.
    """
    held = len(truth_I)
    temperature = _temperature(probs_IC, truth_I) if held >= LEAST_HELD else 1.0
    every = np.linspace(0, x.shape[0] - 1, min(x.shape[0], MOST_REFERENCES)).astype(np.int64)
    reference_ID = sketch(x[every])
    # Leaving each row out of its own neighbours: the first is itself.
    own = _distances(reference_ID, reference_ID, min(NEIGHBOUR, len(reference_ID) - 1))
    return Trust(temperature, held if held >= LEAST_HELD else 0, reference_ID, float(np.quantile(own, USUAL)))


def tempered(probs_IC: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities of the logits divided by a temperature.

    Source: Guo et al. 2017, On calibration of modern neural networks, section 4.2.
    """
    found: np.ndarray = softmax(np.log(np.clip(probs_IC, TINY, None)) / temperature, axis=1)
    return found


def _temperature(probs_IC: np.ndarray, truth_I: np.ndarray) -> float:
    """The one with the least log-loss on held-out answers."""

    def nats(log_temperature: float) -> float:
        p_I = tempered(probs_IC, float(np.exp(log_temperature)))[np.arange(len(truth_I)), truth_I]
        return -float(np.log(np.clip(p_I, 1e-6, None)).mean())

    bounds = (np.log(COOLEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(nats, bounds=bounds, method="bounded").x))


def sketch(x: Features) -> np.ndarray:
    """Rows of unit length in at most SKETCH dimensions, float32; zero rows stay zero.

    Wider features are added up in buckets with random signs, which keeps inner products on average.

    Source: Charikar et al. 2002, Finding frequent items in data streams (count sketch).
    """
    wide = x.shape[1]
    if wide > SKETCH:
        draw = np.random.default_rng(0)
        bucket_F, sign_F = draw.integers(0, SKETCH, wide), draw.choice([-1.0, 1.0], wide)
        buckets: Features = sp.csr_matrix((sign_F, (np.arange(wide), bucket_F)), shape=(wide, SKETCH))
        x = x @ buckets
    dense = np.asarray(x if isinstance(x, np.ndarray) else x.toarray(), dtype=np.float64)
    return (dense / np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), TINY)).astype(np.float32)


def _distances(x_ID: np.ndarray, reference_ID: np.ndarray, rank: int) -> np.ndarray:
    near = np.asarray(x_ID @ reference_ID.T, dtype=np.float64)
    return 1.0 - -np.partition(-near, rank, axis=1)[:, rank]
