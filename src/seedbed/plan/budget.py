"""Time and memory: how minutes become steps, what a comparison may cost, how many examples fit in memory at once.

Plain arithmetic on measured seconds and counted parameters; nothing here looks at a clock or a machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from seedbed.core.errors import BudgetError, OutOfMemoryError

PROVE_SHARE = 0.45  # the comparison takes at most this part of the time
PRETRAIN_SHARE = 0.40  # pretraining is promised at least this part
RESERVE_SHARE = 0.15  # for what no estimate saw: evaluation, saving, the report
LEAST_DRAWS = 5  # an interval over fewer label subsets says next to nothing
LEAST_ITEMS = 200  # test items that an interval of a difference needs to be worth printing
LEAST_STEPS = 50  # fewer steps of a schedule with warm-up teach nothing
MEMORY_SHARE = 0.6  # of the machine's memory; the rest is the operating system's, the reader's and the estimate's error
WORKING = 1.5  # the peak of a step is 1.1 to 1.8 times what its forward pass keeps, measured on eight learners

EPOCHS = {"bag": 3, "text": 40, "image": 200, "vector": 200}
"""After how many passes over the data more time is not worth it: by trunk where one is named, else by modality."""


@dataclass(frozen=True)
class Shares:
    """Seconds given to each part of a command."""

    pretrain_s: float
    prove_s: float
    reserve_s: float


def divide(seconds: float, prove_s: float) -> Shares:
    """Divide the time that is left: the comparison has been priced, pretraining takes what it leaves.

    Args:
        seconds: left of the command's time, data preparation already taken off.
        prove_s: price of the comparison, at most PROVE_SHARE of the time; 0 for pretraining alone.
    """
    reserve_s = RESERVE_SHARE * seconds
    prove_s = min(prove_s, PROVE_SHARE * seconds)
    return Shares(seconds - reserve_s - prove_s, prove_s, reserve_s)


def epoch_cap(trunk: str, modality: str) -> int:
    """Epochs after which pretraining stops although time is left."""
    return EPOCHS.get(trunk, EPOCHS[modality])


def horizon(seconds: float, step_s: float, epoch_steps: float, cap_epochs: int) -> int:
    """Steps to plan for.

    Args:
        seconds: of pretraining.
        step_s: measured seconds of one step, all players together.
        epoch_steps: steps of one pass over the data.
        cap_epochs: passes after which time is better saved.

    Raises:
        BudgetError: too few steps to learn anything.
    """
    cap = max(math.ceil(epoch_steps * cap_epochs), 1)
    affordable = int(seconds / step_s)
    least = min(LEAST_STEPS, cap)
    if affordable < least:
        raise too_short(
            f"Pretraining has {seconds:.1f} s, enough for {affordable} steps of {step_s:.3f} s.",
            cause=f"At least {least} steps are needed to learn anything.",
            least_s=(least * step_s) / PRETRAIN_SHARE,
        )
    return min(affordable, cap)


def too_short(what: str, *, cause: str, least_s: float, instead: str = "fix the work with --steps") -> BudgetError:
    """The error for a budget that cannot give an honest result, naming the least that would do.

    Args:
        what: what does not fit.
        cause: why it has to.
        least_s: seconds of the whole command that would do, data preparation included.
        instead: what else can be done.
    """
    # Estimates of short fits are noisy, and the same command at the least told should go through.
    minutes = rounded_minutes(1.5 * least_s)
    return BudgetError(what, cause=cause, fix=f"Give at least --minutes {minutes:g}, or {instead}.")


def rounded_minutes(seconds: float) -> float:
    """Minutes a person would type that are not less than this: up to two digits, with a tenth to spare."""
    minutes = max(1.1 * seconds / 60, 0.1)
    unit = 10.0 ** (math.floor(math.log10(minutes)) - 1)
    return round(math.ceil(minutes / unit - 1e-9) * unit, 3)


@dataclass(frozen=True)
class Price:
    """What one arm of the comparison costs.

    Attributes:
        name: the arm.
        fit_s: label count -> seconds to fit one draw.
        once_s: paid once, whatever the label counts: an unsupervised part, features of the labelled rows.
        once_item_s: paid once for each test item, as for its features.
        item_s: seconds to score one test item, for each draw and label count.
        required: a verdict needs it; it is never cut.
    """

    name: str
    fit_s: Mapping[int, float]
    once_s: float = 0.0
    once_item_s: float = 0.0
    item_s: float = 0.0
    required: bool = False

    def seconds(self, labels: Sequence[int], draws: int, items: int) -> float:
        """The arm's whole cost."""
        repeated = sum(self.fit_s[n] + self.item_s * items for n in labels)
        return self.once_s + self.once_item_s * items + draws * repeated


@dataclass(frozen=True)
class Proof:
    """The comparison that fits.

    Attributes:
        labels: label counts, ascending; the last carries the verdict.
        arms: names, in the order given.
        items: test items scored.
        draws: label subsets drawn.
        seconds: estimated.
        reasons: what was cut, and why.
    """

    labels: tuple[int, ...]
    arms: tuple[str, ...]
    items: int
    draws: int
    seconds: float
    reasons: tuple[str, ...] = ()


def fit_proof(
    prices: Sequence[Price], labels: Sequence[int], items: int, draws: int, allowed_s: float, spent_s: float = 0.0
) -> Proof:
    """Cut the comparison until it fits: label counts first, then arms, then test items; draws never.

    Args:
        prices: of all arms that apply, the most important first.
        labels: label counts wanted; the greatest carries the verdict and stays.
        items: test items there are.
        draws: label subsets wanted.
        allowed_s: seconds the comparison may take; infinite without a time limit.
        spent_s: seconds of the command already gone, for the advice in the error.

    Raises:
        BudgetError: what must stay does not fit; names the least that would do.
    """
    proof = Proof(tuple(sorted(labels)), tuple(price.name for price in prices), items, draws, 0.0)
    cuts: tuple[Callable[[Proof, Sequence[Price], float], Proof | None], ...] = (
        _fewer_labels,
        _fewer_arms,
        _fewer_items,
    )
    for cut in cuts:
        while _seconds(proof, prices) > allowed_s:
            smaller = cut(proof, prices, allowed_s)
            if smaller is None:
                break
            proof = smaller
    seconds = _seconds(proof, prices)
    if seconds > allowed_s:
        raise too_short(
            f"The comparison needs {seconds:.0f} s even at its smallest, and {allowed_s:.0f} s are left for it.",
            cause=f"{len(proof.arms)} arms, {proof.labels[-1]} labels, {proof.draws} draws and {proof.items} test "
            "items are the least an honest interval can be made of.",
            least_s=spent_s + seconds / PROVE_SHARE,
        )
    return replace(proof, seconds=seconds)


def _seconds(proof: Proof, prices: Sequence[Price]) -> float:
    kept = [price for price in prices if price.name in proof.arms]
    return sum(price.seconds(proof.labels, proof.draws, proof.items) for price in kept)


def _fewer_labels(proof: Proof, prices: Sequence[Price], _: float) -> Proof | None:
    """Without the dearest label count but the last."""
    if len(proof.labels) == 1:
        return None
    cheapest = {n: _seconds(replace(proof, labels=_without(proof.labels, n)), prices) for n in proof.labels[:-1]}
    gone = min(cheapest, key=lambda n: cheapest[n])
    reason = f"No comparison at {gone} labels: it does not fit the time."
    return replace(proof, labels=_without(proof.labels, gone), reasons=(*proof.reasons, reason))


def _without(labels: tuple[int, ...], gone: int) -> tuple[int, ...]:
    return tuple(n for n in labels if n != gone)


def _fewer_arms(proof: Proof, prices: Sequence[Price], _: float) -> Proof | None:
    """Without the least important arm that a verdict can do without."""
    optional = [price.name for price in prices if price.name in proof.arms and not price.required]
    if not optional:
        return None
    reason = f'No arm "{optional[-1]}": it does not fit the time.'
    arms = tuple(name for name in proof.arms if name != optional[-1])
    return replace(proof, arms=arms, reasons=(*proof.reasons, reason))


def _fewer_items(proof: Proof, prices: Sequence[Price], allowed_s: float) -> Proof | None:
    """As many test items as fit, at least LEAST_ITEMS."""
    fixed = _seconds(replace(proof, items=0), prices)
    each = (_seconds(proof, prices) - fixed) / max(proof.items, 1)
    items = max(int((allowed_s - fixed) / each) if each > 0 else 0, LEAST_ITEMS)
    if items >= proof.items:
        return None
    reason = f"{items} of {proof.items} test items are scored: more do not fit the time."
    return replace(proof, items=items, reasons=(*proof.reasons, reason))


@dataclass(frozen=True)
class Footprint:
    """What the memory of a training step depends on.

    Attributes:
        num_parameters: of the learner, tables included.
        kept: bytes a forward pass keeps for the backward pass, whatever the number of examples.
        kept_each: bytes it keeps of each example.
        ema: whether an averaged copy of the weights is kept.
    """

    num_parameters: int
    kept: int
    kept_each: int
    ema: bool = False

    def fixed_bytes(self) -> int:
        """Weights, gradients and the optimiser's two moments, in float32, and what any batch keeps."""
        return self.num_parameters * 4 * (5 if self.ema else 4) + self.kept

    def example_bytes(self) -> int:
        """What a step needs of one example: what is kept, and gradients and temporaries beside it."""
        return math.ceil(WORKING * self.kept_each)


def micro_batch(footprint: Footprint, batch_size: int, memory_bytes: int, coupled: bool) -> int:
    """The largest part of a batch that fits in memory, by halving; the whole batch where it does.

    Args:
        footprint: of the learner and its input.
        batch_size: examples of one step.
        memory_bytes: of the device; 0 when unknown, which asks for nothing.
        coupled: whether the batch must stay whole.

    Raises:
        OutOfMemoryError: not even one example fits, or a coupled batch does not.
    """
    if not memory_bytes:
        return batch_size
    left = MEMORY_SHARE * memory_bytes - footprint.fixed_bytes()
    size = batch_size
    while size > 1 and size * footprint.example_bytes() > left:
        size = math.ceil(size / 2)
    if size * footprint.example_bytes() <= left and (size == batch_size or not coupled):
        return size
    needed = footprint.fixed_bytes() + (batch_size if coupled else 1) * footprint.example_bytes()
    raise OutOfMemoryError(
        f"One training step needs about {needed / 2**30:.1f} GiB.",
        found=f"The machine has {memory_bytes / 2**30:.1f} GiB, of which {MEMORY_SHARE:.0%} may be used.",
        cause="The loss couples the examples of a batch, so it cannot be split."
        if coupled
        else "The model is too large.",
        fix="Choose a smaller --size" + (f", or --set pretrain.batch_size={size}." if coupled and size > 1 else "."),
    )


def memory_bytes(footprint: Footprint, examples: int) -> int:
    """Estimated bytes of one training step over this many examples at once."""
    return footprint.fixed_bytes() + examples * footprint.example_bytes()
