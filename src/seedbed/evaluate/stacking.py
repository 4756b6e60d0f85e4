"""One linear classifier on two kinds of features side by side, neither drowning the other.

Each block is centred and scaled to unit length on average, as in a probe of its own, and then given a share of the
whole: by choice from 200 labels on, half and half below. The result is one linear model for each block; their logits
add up, so the blocks can be kept and served apart.

Source: Wolpert, "Stacked generalization" (1992), for the idea; blocks instead of predictions because labels are few.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from seedbed.evaluate.linear import ENOUGH, FIXED_STRENGTH, STRENGTHS, Fit, Linear, centre, choose
from seedbed.evaluate.score_class import fit

SHARES = (0.2, 0.5, 0.8)
FIXED_SHARE = 0.5


def fit_stacked(
    one_x: np.ndarray, other_x: np.ndarray, y: np.ndarray, num_classes: int, seed: int
) -> tuple[Linear, Linear, float]:
    """Fit a linear classifier on both blocks of the labelled rows.

    Returns:
        The part of each block (the biases are in the first), and the accuracy estimated on held-out folds.
    """
    blocks = [(x, *centre(x)) for x in (one_x, other_x)]
    scaled = [(x - mean_F) / length for x, mean_F, length in blocks]

    def beside(share: float) -> np.ndarray:
        return np.concatenate([math.sqrt(share) * scaled[0], math.sqrt(1.0 - share) * scaled[1]], axis=1)

    def fit_with(x: np.ndarray, strength: float) -> Fit:
        return lambda learn, answer: fit(x[learn], y[learn], num_classes, strength).answers(x[answer])

    many = len(y) >= ENOUGH
    recipes = list(product(SHARES if many else (FIXED_SHARE,), STRENGTHS if many else (FIXED_STRENGTH,)))
    sides = {share: beside(share) for share, _ in recipes}
    best, selection = choose([fit_with(sides[share], strength) for share, strength in recipes], y, seed)
    share, strength = recipes[best]
    model = fit(sides[share], y, num_classes, strength)
    cut = one_x.shape[1]
    one_CF = model.weight_CF[:, :cut] * math.sqrt(share) / blocks[0][2]
    other_CF = model.weight_CF[:, cut:] * math.sqrt(1.0 - share) / blocks[1][2]
    bias_C = model.bias_C - one_CF @ blocks[0][1] - other_CF @ blocks[1][1]
    return Linear(one_CF, bias_C), Linear(other_CF, np.zeros(num_classes)), selection


def together(one_IC: np.ndarray, other_IC: np.ndarray) -> np.ndarray:
    """Probabilities of the sum of two parts' logits, from the probabilities of each part."""
    both_IC = one_IC * other_IC
    found: np.ndarray = both_IC / np.maximum(both_IC.sum(axis=1, keepdims=True), 1e-300)
    return found
