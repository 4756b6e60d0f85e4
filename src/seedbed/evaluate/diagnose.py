"""What went wrong in training, and with the data: over- and under-fitting, the learning rate, labels, a leaked test.

Each function looks at one kind of evidence and tells what it sees only where chance does not explain it. `ranked` puts
causes before what they bring about: a learning rate that is too high also looks like under-fitting, wrong labels also
look like over-fitting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import betabinom, binomtest
from sklearn.neighbors import NearestNeighbors

Points = Sequence[tuple[float, float]]

LEAK, LR, LABELS, NOTHING, OVER, UNDER = (
    "leaked test",
    "learning rate too high",
    "label noise",
    "nothing learnt",
    "over-fitting",
    "under-fitting",
)
ORDER = (LEAK, LR, LABELS, NOTHING, OVER, UNDER)
WARNING, NOTE = "warning", "note"

AT_CHANCE = 0.995  # share of the loss of chance
ROSE = 1.05  # validation loss at the end by its least
MATTERS = 0.04  # of the loss of chance: a smaller rise or fall is not worth a word
FALLING = 0.97  # validation loss at the end by that at 80 % of the steps
SPIKE = 1.3  # training loss by the greater of its first value and chance
SURE_SHARE = 1 / 5  # of the answers, the surest
SURE_WRONG = 0.10  # of those; clean labels of hard problems stay below it
NEAR = 0.2  # of the median distance of training rows to a neighbour some way off
OFF = 25  # one in so many rows is nearer than that neighbour, but no more than
MOST_OFF = 20  # neighbours: far enough away not to be another copy
NEAR_SHARE = 0.01  # of test rows that may be so near
CLOSEST = 0.05  # quantile of training rows' distances that test rows are compared at
UNLIKELY = 1e-6
LEAST_LABELS = 100
CONFIDENCE = 0.99


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: one of ORDER.
        severity: "warning" where the result suffers, "note" where it has been dealt with.
        evidence: the figures that show it.
        cause: what usually brings them about.
        advice: what to do.
        rows: places of the rows to look at first, where there are such, and their keys once these are known.
    """

    kind: str
    severity: str
    evidence: str
    cause: str
    advice: str
    rows: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()

    def about(self, keys: Sequence[str]) -> Finding:
        """The same with the keys of its rows."""
        return replace(self, keys=tuple(keys))

    def to_json(self) -> dict[str, Any]:
        """Plain values, without places, which mean nothing to a reader."""
        told = asdict(self)
        del told["rows"]
        return {**told, "keys": list(self.keys)}


@dataclass(frozen=True)
class Course:
    """How the losses of a stage went.

    Attributes:
        train, validation: (step, mean loss).
        chance: loss of the best predictor that ignores its input.
        skipped: steps left out because something was not finite.
        kept_best: whether the weights of the best validation loss were kept.
    """

    train: Points
    validation: Points
    chance: float | None
    skipped: int = 0
    kept_best: bool = False


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Causes first, and only the first of each kind."""
    found: dict[str, Finding] = {}
    for finding in findings:
        found.setdefault(finding.kind, finding)
    return sorted(found.values(), key=lambda finding: ORDER.index(finding.kind))


def of_course(course: Course) -> list[Finding]:
    """Over- and under-fitting and a learning rate that is too high, from losses alone."""
    found = [finding for finding in (_too_high(course), _nothing_learnt(course)) if finding]
    if not found:
        found = [finding for finding in (_rising(course), _falling(course)) if finding]
    return found


def _too_high(course: Course) -> Finding | None:
    advice = "Divide the learning rate by ten (--set pretrain.lr or finetune.lr), or leave it to the tool: lr = auto."
    if course.skipped:
        evidence = f"{course.skipped:,} steps were left out because loss or gradient was not finite."
        return Finding(LR, WARNING, evidence, "Steps so long that numbers overflow.", advice)
    if len(course.train) < 3:
        return None
    start = max(course.train[0][1], course.chance or 0.0)
    step, worst = max(course.train[1:], key=lambda point: point[1])
    if worst <= SPIKE * start:
        return None
    return Finding(
        LR,
        WARNING,
        f"The training loss rose to {worst:.3g} at step {step:,.0f}; it began at {course.train[0][1]:.3g}"
        + (f", and chance is {course.chance:.3g}." if course.chance is not None else "."),
        "Steps that overshoot: they undo what was learnt, or what pretraining had brought.",
        advice,
    )


def _nothing_learnt(course: Course) -> Finding | None:
    if course.chance is None or not course.validation or course.validation[-1][0] == 0:
        return None
    best = min(loss for _, loss in course.validation)
    if best < AT_CHANCE * course.chance:
        return None
    return Finding(
        NOTHING,
        WARNING,
        f"Validation loss is {best:.3f} at best, chance is {course.chance:.3f}.",
        "Too little time or too low a learning rate, or inputs that do not tell what is asked.",
        "Try more time and a higher learning rate; look at a few rows: could you answer from them?",
    )


def _scored(course: Course) -> list[tuple[float, float]]:
    return [(step, loss) for step, loss in course.validation if step > 0]


def _rising(course: Course) -> Finding | None:
    scored = _scored(course)
    if len(scored) < 4:
        return None
    best_step, best = min(scored, key=lambda point: point[1])
    # The lower of the last two: one bad evaluation is not a trend.
    last = min(loss for _, loss in scored[-2:])
    train = [loss for _, loss in course.train]
    if last <= ROSE * best or best_step >= scored[-2][0] or not train:
        return None
    if last - best <= MATTERS * (course.chance or 0.0):
        return None
    end = float(np.mean(train[-max(len(train) // 10, 1) :]))
    if end >= last:
        return None
    kept = f" The weights of step {best_step:,.0f} were kept." if course.kept_best else ""
    return Finding(
        OVER,
        NOTE if course.kept_best else WARNING,
        f"Validation loss was lowest at step {best_step:,.0f} ({best:.3f}) and rose by {last / best - 1:.0%} since, "
        f"while training loss fell to {end:.3f}.{kept}",
        "The network learns its rows by heart: there are too few of them for its size and for so many steps.",
        "More rows are the surest cure. Else fewer steps or a smaller --size, more weight_decay, "
        "--set task_options.dropout=0.2, or an average of several fits: --set finetune.ensemble=5.",
    )


def _falling(course: Course) -> Finding | None:
    scored = _scored(course)
    if len(scored) < 4:
        return None
    step, last = scored[-1]
    early = [loss for at, loss in scored if at <= 0.8 * step]
    if not early or last >= FALLING * early[-1] or early[-1] - last <= MATTERS * (course.chance or 0.0):
        return None
    return Finding(
        UNDER,
        WARNING,
        f"Validation loss was still falling at the end: {early[-1]:.3f} at 80 % of the steps, {last:.3f} at the last.",
        "The time was up before training was done.",
        "Give it more --minutes or --steps.",
    )


def of_fit(right_I: np.ndarray, held_I: np.ndarray, probe_I: np.ndarray) -> list[Finding]:
    """Under- and over-fitting of a task from what its network answers rightly, against a linear probe.

    Args:
        right_I: whether each row it learnt from is answered rightly.
        held_I: the same of rows held out; empty where there are none.
        probe_I: whether a linear probe answers each row rightly that it has not seen (cross-validated).
    """
    fitted, reached = float(right_I.mean()), float(probe_I.mean())
    low = _bounds(probe_I)[0]
    if _bounds(right_I)[1] < low:
        return [
            Finding(
                UNDER,
                WARNING,
                f"Of the rows it learnt from, the network answers {fitted:.1%} rightly; a linear probe reaches "
                f"{reached:.1%} on rows it has not seen.",
                "Too few steps, too low a learning rate, too much regularisation, or too small a network.",
                "Raise the learning rate or leave it to the tool (finetune.lr = auto), train longer, take a larger "
                "--size, or less dropout and weight_decay.",
            )
        ]
    if len(held_I) and _bounds(held_I)[1] < low:
        return [
            Finding(
                OVER,
                WARNING,
                f"The network answers {fitted:.1%} of the rows it learnt from rightly and {float(held_I.mean()):.1%} "
                f"of rows held out, where a linear probe reaches {reached:.1%}.",
                "Fine-tuning changed what pretraining had learnt to suit a few rows.",
                "Start from the probe (finetune.head_first = true), a lower learning rate or finetune.layer_decay, or "
                "freeze the encoder: --set finetune.freeze='[\"encoders\"]'.",
            )
        ]
    return []


def of_labels(probs_IC: np.ndarray, labels_I: np.ndarray) -> list[Finding]:
    """Labels that contradict the inputs: even the surest answers of a probe are wrong too often.

    Where a problem is hard and its labels are right, errors gather among the unsure answers; wrong labels fall
    everywhere alike.

    Args:
        probs_IC: a probe's answers for rows that it has not seen (cross-validated).
        labels_I: the labels given.

    Source: Northcutt et al. 2021, "Confident learning" (wrong labels as confident errors of held-out predictions).
    """
    if len(labels_I) < LEAST_LABELS:
        return []
    answer_I, sure_I = probs_IC.argmax(1), probs_IC.max(1)
    right_I = answer_I == labels_I
    most = float(np.bincount(labels_I).max()) / len(labels_I)
    if _bounds(right_I)[0] <= most:
        return []  # the probe knows nothing, so its contradictions tell nothing
    surest = np.argsort(-sure_I, kind="stable")[: round(SURE_SHARE * len(labels_I))]
    wrong = ~right_I[surest]
    low, high = _bounds(wrong)
    if low <= SURE_WRONG:
        return []
    given_I = probs_IC[np.arange(len(labels_I)), labels_I]
    suspects = [int(row) for row in np.argsort(given_I, kind="stable")[:12] if not right_I[row]]
    return [
        Finding(
            LABELS,
            WARNING,
            f"Of the fifth of the answers that a probe is surest of, {wrong.mean():.0%} contradict the label "
            f"({low:.0%} to {high:.0%}, {len(surest):,} rows). On such labels nothing scores much above "
            f"{1 - wrong.mean():.0%}.",
            "Labels are wrong, or what decides them does not stand in the inputs.",
            "Look at the rows named here and correct them. Until then --set task_options.label_smoothing=0.1 and early "
            "stopping keep the network from learning wrong labels by heart.",
            tuple(suspects),
        )
    ]


def of_split(train_x: Any, test_x: Any) -> list[Finding]:
    """Test rows that are training rows but for trifles: they measure memory, not what was learnt.

    Rows of a fair split are as far from the nearest training row as training rows are from one another.

    Args:
        train_x: what training rows look like, (n, F) dense or sparse, to something that has not learnt from them: an
            encoder knows its training rows, and sees them farther apart than others.
        test_x: the same of test rows.
    """
    if train_x.shape[0] < LEAST_LABELS or test_x.shape[0] < 20:
        return []
    off = min(MOST_OFF, train_x.shape[0] // OFF)
    search = NearestNeighbors(n_neighbors=off + 1, algorithm="brute").fit(train_x)
    around = search.kneighbors(train_x[_spread(train_x.shape[0])])[0]
    within, scale = around[:, 1], float(np.median(around[:, off]))
    asked = _spread(test_x.shape[0])
    across = search.kneighbors(test_x[asked], n_neighbors=1)[0][:, 0]
    copies = across < NEAR * scale
    closer = int((across < np.quantile(within, CLOSEST)).sum())
    # So many test rows nearer than nearly all training rows are to one another: not by chance, which knows the quantile
    # by few rows only, and by half as many distances, since two rows that are near one another share theirs.
    below = max(CLOSEST * len(within) / 2, 1.0)
    chance = betabinom(len(asked), below, len(within) / 2 - below + 1)
    unfair = closer > 2 * CLOSEST * len(asked) and float(chance.sf(closer - 1)) < UNLIKELY
    if _bounds(copies)[0] <= NEAR_SHARE and not unfair:
        return []
    share = max(float(copies.mean()), closer / len(asked) - CLOSEST)
    alike = float((within < NEAR * scale).mean())
    rows = asked[np.argsort(across, kind="stable")[:12]]
    return [
        Finding(
            LEAK,
            WARNING,
            f"About {share:.0%} of {len(asked):,} test rows have a training row at a fraction of the usual distance: "
            f"{float(np.median(np.sort(across)[: max(int(share * len(asked)), 1)])):.3g}, where training rows have "
            f"{off} others within {scale:.3g}.",
            "Copies that differ in trifles stand on both sides of the split: another scan, crop or edit of one thing, "
            "rows of one person or session" + (", of which these data hold many." if alike > NEAR_SHARE else "."),
            "Keep such rows together: name the column of what they share with --set data.group=COLUMN, or remove them "
            "from the test. Until then its score is too high.",
            tuple(int(row) for row in rows),
        )
    ]


def _spread(count: int, most: int = 1000) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _bounds(hits_I: np.ndarray) -> tuple[float, float]:
    """Wilson bounds of a share."""
    low, high = binomtest(int(hits_I.sum()), len(hits_I)).proportion_ci(CONFIDENCE, "wilson")
    return float(low), float(high)
