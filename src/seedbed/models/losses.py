"""Losses that several learners share, as functions of tensors. All are sums in nats; the caller counts the units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from seedbed.core.errors import UsageError, nearest
from seedbed.models.fused import linear_cross_entropy


def token_cross_entropy(states_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """Cross-entropy of predicting tokens with a linear head without bias, such as a tied one.

    Args:
        states_ND: states of the positions to be predicted, and only of those.
        weight_VD: the head, or the embedding table it is tied to.
        targets_N: int64 token ids.

    Returns:
        () the sum over positions; with zero weights N ln V.
    """
    return linear_cross_entropy(states_ND, weight_VD, targets_N)


def nt_xent(z_2BD: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy: find the other view of an example among all others of the batch.

    Args:
        z_2BD: projections of the B first views, then of the B second views in the same order, shape (2 B, D).
        temperature: divides the cosine similarities.

    Returns:
        () the sum over the 2 B views; with equal projections each counts ln(2 B - 1).

    Source: Chen et al. 2020, SimCLR, equation 1.
    """
    # A projection may be exactly zero (a dead or zeroed head): equal similarities are then the right answer.
    with torch.autocast(z_2BD.device.type, enabled=False):
        unit_2BD = F.normalize(z_2BD.float(), dim=-1)
        logits = unit_2BD @ unit_2BD.T / temperature
    logits = logits.masked_fill(torch.eye(len(logits), dtype=torch.bool, device=logits.device), float("-inf"))
    other = torch.arange(len(logits), device=logits.device).roll(len(logits) // 2)
    return F.cross_entropy(logits, other, reduction="sum")


def negative_sampling(
    positive: Tensor, negative: Tensor, positive_weight: Tensor | float = 1.0, negative_weight: Tensor | float = 1.0
) -> Tensor:
    """Weighted logistic loss that raises the scores of true pairs and lowers those of sampled ones.

    Args:
        positive: scores of true pairs, any shape.
        negative: scores of pairs with sampled negatives, any shape.
        positive_weight: how much each true pair counts, broadcast against `positive`.
        negative_weight: how much each sampled pair counts, broadcast against `negative`.

    Returns:
        () the sum; with all scores zero ln 2 times the sum of all weights.

    Source: Mikolov et al. 2013, Distributed representations of words and phrases, equation 4.
    """
    return (F.softplus(-positive) * positive_weight).sum() + (F.softplus(negative) * negative_weight).sum()


def discriminator_loss(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """Logistic loss of telling real from generated.

    Args:
        real_B: logits of real examples, high for "real".
        fake_B: logits of generated ones.

    Returns:
        () the sum over both; with all logits zero ln 2 for each.

    Source: Goodfellow et al. 2014, Generative adversarial networks, equation 1.
    """
    return negative_sampling(real_B, fake_B)


def generator_loss(fake_B: Tensor) -> Tensor:
    """Non-saturating loss of a generator: its examples shall be taken for real.

    Args:
        fake_B: the discriminator's logits of generated examples.

    Returns:
        () the sum; with all logits zero ln 2 for each.

    Source: Goodfellow et al. 2014, Generative adversarial networks, section 3.
    """
    return F.softplus(-fake_B).sum()


Weights = Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]]


def class_weights(how: Weights, names: Sequence[str], counts_C: Tensor) -> Tensor:
    """How much an example of each class counts, scaled so that examples count 1 on average.

    Args:
        how: "none"; "balanced", by which every class counts as much as any other; or the weight of some classes, the
            others counting 1.
        names: of the classes.
        counts_C: training examples of each class.

    Returns:
        float64 (C,); a class without an example counts 1.

    Raises:
        UsageError: a weight is given for a class that does not exist.

    Source: King and Zeng 2001, "Logistic regression in rare events data"; "balanced" as in scikit-learn.
    """
    unknown = [name for name in (how if isinstance(how, dict) else ()) if name not in names]
    if unknown:
        raise UsageError(
            f'class_weights names "{unknown[0]}", which is no label of these data.',
            found=f"Labels: {', '.join(names[:20])}.",
            cause=nearest(unknown[0], names),
            fix="Correct task_options.class_weights.",
        )
    counts_C = counts_C.double()
    if isinstance(how, dict):
        weights_C = torch.tensor([how.get(name, 1.0) for name in names], dtype=torch.float64)
    else:
        weights_C = torch.ones_like(counts_C) if how == "none" else 1.0 / counts_C.clamp(min=1.0)
    weights_C = weights_C * counts_C.sum() / (weights_C * counts_C).sum().clamp(min=1e-12)
    return weights_C.where(counts_C > 0, 1.0)


def decision_weights(how: Weights, names: Sequence[str], counts_C: Tensor, num_examples: int) -> Tensor:
    """How much it counts that each name is not in a set, and that it is, scaled so that decisions count 1 on average.

    Args:
        how: as in `class_weights`: "balanced" makes the two count alike for every name; a weight is that of being in.
        names: in their order.
        counts_C: training sets that hold each name.
        num_examples: training sets.

    Returns:
        float64 (C, 2).

    Raises:
        UsageError: a weight is given for a name that does not exist.
    """
    class_weights(how, names, counts_C)
    rows = []
    for name, count in zip(names, counts_C.tolist(), strict=True):
        inside = {"in": how.get(name, 1.0)} if isinstance(how, dict) else how
        rows.append(class_weights(inside, ("out", "in"), torch.tensor([num_examples - count, count])))
    return torch.stack(rows)
