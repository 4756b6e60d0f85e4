"""Which rows to label next: typical ones of every kind while labels are few, then those the labels leave in doubt.

Before labels of two classes are known, rows are clustered into as many clusters as there will be labels, and the row
nearest each centre is taken, clusters without a label first. With labels, the rows a linear probe is least sure of are
clustered, and one is taken from each cluster: the unsurest rows alone are much alike. Rows that are nearly equal to one
with a label, or to one taken before, teach nothing new and are passed over. What was tried beside it is in LOG.md.

Source: Hacohen, Dekel and Weinshall, "Active learning on a budget" (2022), for clusters at the start; Citovsky et al.,
"Batch active learning at scale" (2021), for unsure rows by cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans

from seedbed.core.types import NO_LABEL
from seedbed.evaluate.linear import fit_probe, scaled

# So many times as many unsure rows as are wanted are clustered.
UNSURE = 4
# Cosine from which on two rows are nearly equal.
ALIKE = 0.99
# From so many rows on, clusters are found on small batches of them; and more clusters are not found in a minute.
LARGE, MOST_CLUSTERS = 3000, 500


class Suggestion(NamedTuple):
    """A row worth a label.

    Attributes:
        row: index into the features.
        score: share of all rows that its group has, or how little the classes differ for it; higher is more.
        reason: in words.
    """

    row: int
    score: float
    reason: str


def choose_rows(
    x_ID: np.ndarray, labels_I: np.ndarray, classes: Sequence[str], count: int, seed: int
) -> list[Suggestion]:
    """Choose rows without a label, the most useful first.

    Args:
        x_ID: features of an encoder.
        labels_I: class indices, NO_LABEL where there is none.
        classes: their names.
        count: how many; fewer come back where the others are nearly equal to these.
        seed: of the clustering.
    """
    unit_ID = scaled(x_ID, x_ID)
    unit_ID /= np.maximum(np.linalg.norm(unit_ID, axis=1, keepdims=True), 1e-12)
    labelled = np.flatnonzero(labels_I != NO_LABEL)
    if len(np.unique(labels_I[labelled])) < 2:
        ordered = _typical(unit_ID, labelled, count, seed)
    else:
        probs_IC = fit_probe(x_ID[labelled], labels_I[labelled], len(classes), seed)[0].answers(x_ID)
        ordered = _unsure(unit_ID, np.flatnonzero(labels_I == NO_LABEL), probs_IC, classes, count, seed)
    return _unlike(ordered, unit_ID, labelled, count)


def _typical(unit_ID: np.ndarray, labelled: np.ndarray, count: int, seed: int) -> list[Suggestion]:
    """By cluster: those with the fewest labels first, then the largest; in each, the row nearest the centre first."""
    cluster_I, distance_I = _clusters(unit_ID, count + len(labelled), seed)
    size = np.bincount(cluster_I)
    known = np.bincount(cluster_I[labelled], minlength=len(size))
    free = np.ones(len(unit_ID), dtype=bool)
    free[labelled] = False
    found = []
    for cluster in range(len(size)):
        rows = np.flatnonzero(free & (cluster_I == cluster))
        for turn, row in enumerate(rows[np.argsort(distance_I[rows], kind="stable")].tolist()):
            about = "none of which has a label" if not known[cluster] else f"{known[cluster]} of which have a label"
            reason = f"{'typical' if not turn else 'near the middle'} of {size[cluster]:,} rows alike, {about}"
            suggestion = Suggestion(row, float(size[cluster] / len(unit_ID)), reason)
            found.append(((known[cluster] + turn, -size[cluster], cluster), suggestion))
    return [suggestion for _, suggestion in sorted(found, key=lambda one: one[0])]


def _unsure(
    unit_ID: np.ndarray, free: np.ndarray, probs_IC: np.ndarray, classes: Sequence[str], count: int, seed: int
) -> list[Suggestion]:
    """By cluster of unsure rows, the nearest to each centre first; then all others, the unsurest first."""
    two_IC = np.sort(probs_IC[free], axis=1)[:, -2:]
    margin_I = two_IC[:, 1] - two_IC[:, 0]
    order = np.argsort(margin_I, kind="stable")
    unsure = order[: max(min(UNSURE * count, len(order) // 2), count)]
    cluster_I, distance_I = _clusters(unit_ID[free[unsure]], count, seed, weights=1.0 - margin_I[unsure] + 1e-3)
    turn_I = np.empty(len(unsure), dtype=np.int64)
    for cluster in range(int(cluster_I.max()) + 1):
        rows = np.flatnonzero(cluster_I == cluster)
        turn_I[rows[np.argsort(distance_I[rows], kind="stable")]] = np.arange(len(rows))
    ordered = [*unsure[np.lexsort((margin_I[unsure], turn_I))], *order[len(unsure) :]]
    found = []
    for place in ordered:
        row = int(free[place])
        first, second = np.argsort(-probs_IC[row], kind="stable")[:2].tolist()
        likely = " or ".join(f'"{classes[at]}" ({probs_IC[row, at]:.2f})' for at in (first, second))
        found.append(Suggestion(row, float(1.0 - margin_I[place]), f"unsure: {likely}"))
    return found


def _clusters(
    unit_ID: np.ndarray, count: int, seed: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each row and its distance from the centre."""
    num = min(count, MOST_CLUSTERS)
    if len(unit_ID) >= LARGE:
        means = MiniBatchKMeans(num, n_init=3, batch_size=1024, random_state=seed % 2**32)
    else:
        # More clusters than different rows would be warned of.
        num = min(num, len(np.unique(unit_ID.astype(np.float32), axis=0)))
        means = KMeans(num, n_init=1, random_state=seed % 2**32)
    cluster_I = means.fit(unit_ID, sample_weight=weights).labels_
    return cluster_I, np.linalg.norm(unit_ID - means.cluster_centers_[cluster_I], axis=1)


def _unlike(ordered: Sequence[Suggestion], unit_ID: np.ndarray, labelled: np.ndarray, count: int) -> list[Suggestion]:
    """The first so many that are not nearly equal to a row with a label or to one before."""
    chosen: list[Suggestion] = []
    known = unit_ID[labelled]
    for suggestion in ordered:
        row_D = unit_ID[suggestion.row]
        if len(known) and float((known @ row_D).max()) > ALIKE:
            continue
        chosen.append(suggestion)
        if len(chosen) == count:
            break
        known = np.concatenate([known, row_D[None]])
    return chosen
