from __future__ import annotations

import numpy as np
import pytest

from seedbed.evaluate.metrics import confusion, score


def test_scores_in_a_case_worked_by_hand() -> None:
    probs_IC = np.array([[0.8, 0.2, 0.0], [0.4, 0.6, 0.0], [0.3, 0.7, 0.0], [0.1, 0.9, 0.0]])
    metrics = score(probs_IC, np.array([0, 0, 1, 1]))
    assert metrics.accuracy == 0.75
    # Precision and recall: class 0 1 and 1/2, class 1 2/3 and 1, class 2 never asked nor answered.
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 0.8 + 0.0) / 3)
    assert metrics.log_loss == pytest.approx(-np.log([0.8, 0.4, 0.7, 0.9]).mean(), rel=1e-4)


def test_sure_and_wrong_costs_much_but_not_infinitely() -> None:
    assert score(np.array([[1.0, 0.0]]), np.array([1])).log_loss == pytest.approx(-np.log(1e-6), rel=1e-3)


def test_confusion_has_the_truth_in_rows_and_every_class() -> None:
    counts = confusion(np.array([0, 0, 1]), np.array([1, 0, 1]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
