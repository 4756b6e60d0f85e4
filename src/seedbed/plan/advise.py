"""Choosing what to train, by evidence: each choice names the measurement or the rule it rests on.

Objectives that nobody has measured are never chosen, only taken when asked for. A new row of the table needs a run
whose figures are in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from seedbed.core.device import Machine
from seedbed.core.errors import UsageError
from seedbed.core.find import find
from seedbed.core.settings import Settings
from seedbed.core.types import Setup
from seedbed.models.encoder import shape_of
from seedbed.plan import budget
from seedbed.plan.profile import Profile
from seedbed.train.assemble import Stage, chosen
from seedbed.train.optim import usual

DEFAULT_MINUTES = 30.0
SMALL_TRUNKS = ("mlp",)
LEAST_S = 10.0  # a command that starts Python, reads data and writes a report cannot take less


@dataclass(frozen=True)
class Evidence:
    """One measured reason to prefer an objective.

    Attributes:
        modality, objective, trunk, size: what to take.
        needs: num_examples and traits of the data with the least value each must have.
        minutes: of the whole command, the least for which it was measured to be the better choice.
        measured: the sentence for the plan.
        tokenizer: pieces that the text is read in; "": what the objective asks for.
    """

    modality: str
    objective: str
    trunk: str
    size: str
    measured: str
    needs: Mapping[str, float] = field(default_factory=dict)
    minutes: float = 0.0
    tokenizer: str = ""


EVIDENCE = (
    Evidence(
        "text",
        "skip_gram",
        "bag",
        "micro",
        "Word vectors and a linear probe were the best for the time on 45,000 film reviews at 200 labels: 0.81 after "
        "3 minutes on 2 cores, where transformers of 3.3 M parameters reached 0.75 in 20 minutes.",
        needs={"word_coverage": 0.8, "num_words": 300_000},
    ),
    Evidence(
        "text",
        "skip_gram",
        "bag",
        "nano",
        "Word vectors cost the least of all pretraining; with so few words a narrow table is enough.",
        needs={"word_coverage": 0.8},
    ),
    Evidence(
        "text",
        "skip_gram",
        "bag",
        "nano",
        "The words of this text hardly repeat (no spaces, or codes instead of words), so pieces are learnt: on 62,000 "
        "Chinese reviews a linear probe on their vectors reached 0.844 at 50 labels and 0.865 at 200 after a minute on "
        "one core, where a transformer that restores masked pieces reached 0.809 and 0.834 in four.",
        tokenizer="bpe",
    ),
    Evidence(
        "text",
        "masked_lm",
        "transformer",
        "micro",
        "Masked pieces of words suit a transformer that is read as a whole; with much text and time a larger one.",
        needs={"num_chars": 5_000_000},
        minutes=20,
    ),
    Evidence(
        "text",
        "masked_lm",
        "transformer",
        "nano",
        "Masked pieces of words suit a transformer that is read as a whole; the smallest, for little text or time.",
    ),
    Evidence(
        "image",
        "contrastive",
        "vgg",
        "micro",
        "On 12,000 small photographs with 100 labels, 10 minutes of contrast on one core reached 0.353 with "
        "convolutions, denoising without them 0.249.",
        needs={"channels": 3, "num_examples": 10_000},
        minutes=17,
    ),
    Evidence(
        "image",
        "contrastive",
        "vgg",
        "nano",
        "Colours mislead a network that looks at all pixels at once: on 2,000 small photographs with 100 labels, 3 "
        "minutes on one core brought 0.333 by contrast with convolutions, 0.240 by denoising without them.",
        needs={"channels": 3, "num_examples": 1_500},
    ),
    Evidence(
        "image",
        "contrastive",
        "vgg",
        "micro",
        "On 20,000 pictures of clothes with 100 labels, 20 minutes of contrast on two cores reached 0.767 with "
        "convolutions, where denoising without them stays at 0.739.",
        needs={"num_examples": 10_000},
        minutes=30,
    ),
    Evidence(
        "image",
        "denoising",
        "mlp",
        "nano",
        "The cheapest pretraining for small images without colours: on 20,000 pictures of clothes with 100 labels it "
        "reached 0.739 after 6 minutes on one core.",
    ),
    Evidence(
        "vector",
        "stacked",
        "mlp",
        "nano",
        "What there is for vectors of numbers. Expect little: on 1,797 digits as 64 values a linear probe reached "
        "0.815 at 50 labels on its features, and 0.812 on the values themselves.",
    ),
)


@dataclass(frozen=True)
class Plan:
    """Everything decided before step 0, each choice with its reason; JSON-able, and stored as plan.json.

    Attributes:
        objective, trunk, size, tokenizer: what is trained, on which pieces.
        items, seq_len, batch_size, micro_batch: what a step sees.
        optimizer, lr, weight_decay: how it steps.
        precision, threads, device: what it computes with.
        seconds: of the whole command; None when steps were asked for.
        shares: seconds for pretraining, comparison and reserve.
        steps: of pretraining; 0 until a step has been timed.
        cap_epochs: passes over the data after which pretraining stops.
        step_s: measured seconds of a step; 0 until then.
        memory_bytes: estimate for one step; 0 until the model is built.
        reasons: sentences, one a choice.
    """

    objective: str
    trunk: str
    size: str
    tokenizer: str
    items: str
    seq_len: int
    batch_size: int
    micro_batch: int
    optimizer: str
    lr: float
    weight_decay: float
    precision: str
    threads: int
    device: str
    seconds: float | None
    cap_epochs: int
    steps: int = 0
    step_s: float = 0.0
    memory_bytes: int = 0
    shares: budget.Shares | None = None
    reasons: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, accepted by `Plan.from_json`."""
        return {**asdict(self), "reasons": list(self.reasons)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Plan:
        """The plan that was stored."""
        shares = values["shares"] and budget.Shares(**values["shares"])
        return Plan(**{**values, "shares": shares, "reasons": tuple(values["reasons"])})


def advise(profile: Profile, settings: Settings, machine: Machine) -> Plan:
    """Choose what to train, before any data are prepared.

    Args:
        profile: of the rows pretraining may use.
        settings: what the user fixed; only what was left open is chosen.
        machine: what it will run on.

    Returns: a plan without steps; `with_horizon` adds them once a step has been timed.

    Raises:
        UsageError: an objective, trunk or size that does not exist or does not fit the data.
        BudgetError: a time in which nothing can be done.
    """
    seconds, time_reason = allowed(settings)
    objective, trunk, size, tokenizer, reasons = _what(profile, settings, seconds)
    setup: Setup = find("objectives", objective).setup
    if profile.modality not in setup.modalities:
        raise UsageError(
            f"{objective} does not work on {profile.modality} data.",
            found=f"It understands: {', '.join(setup.modalities)}.",
            fix="Choose another --objective, or leave the choice to the planner: --objective auto.",
        )
    if trunk not in setup.trunks:
        raise UsageError(
            f"{objective} cannot train the trunk {trunk}.",
            found=f"It can train: {', '.join(setup.trunks)}.",
            fix=f"--trunk {setup.trunks[0]}, or another --objective.",
        )
    shape_of(profile.modality, trunk, size)
    wanted = settings.pretrain
    used = _used(machine, trunk, settings)
    optimizer = setup.optimizer if wanted.optimizer == "auto" else wanted.optimizer
    lr, weight_decay = usual(optimizer, setup)
    batch_size = wanted.batch_size or setup.batch_size
    if setup.items == "whole":
        batch_size = min(batch_size, max(profile.num_examples, 1))
    return Plan(
        objective=objective,
        trunk=trunk,
        size=size,
        tokenizer=(tokenizer or setup.tokenizer) if settings.data.tokenizer == "auto" else settings.data.tokenizer,
        items=setup.items,
        seq_len=(wanted.seq_len or setup.seq_len) if setup.tokenizer else 0,
        batch_size=batch_size,
        micro_batch=wanted.micro_batch or batch_size,
        optimizer=optimizer,
        lr=wanted.lr or lr,
        weight_decay=weight_decay if wanted.weight_decay is None else wanted.weight_decay,
        precision=used.precision,
        threads=used.threads,
        device=machine.device,
        seconds=seconds,
        cap_epochs=budget.epoch_cap(trunk, profile.modality),
        reasons=(time_reason, *reasons, _machine_reason(used, machine)),
    )


def allowed(settings: Settings) -> tuple[float | None, str]:
    """Seconds of the whole command, None when steps were asked for, and the sentence that says so.

    Raises:
        BudgetError: a time in which nothing can be done.
    """
    if settings.steps is not None:
        return None, f"{settings.steps} steps, as asked for; no time limit."
    if settings.minutes is None:
        return 60 * DEFAULT_MINUTES, f"Neither --minutes nor --steps was given: {DEFAULT_MINUTES:g} minutes."
    seconds = 60 * settings.minutes
    if seconds < LEAST_S:
        raise budget.too_short(
            f"{settings.minutes:g} minutes are {seconds:.1f} s for the whole command.",
            cause="Reading data, training, comparing and writing the report take longer than that on any machine.",
            least_s=LEAST_S,
        )
    return seconds, f"{settings.minutes:g} minutes for the whole command, as asked for."


def _what(profile: Profile, settings: Settings, seconds: float | None) -> tuple[str, str, str, str, list[str]]:
    """Objective, trunk, size and tokenizer with their reasons; what the user fixed narrows the evidence down."""
    fits = [row for row in EVIDENCE if _applies(row, profile, settings, seconds)]
    if settings.objective == "auto" and not fits:
        found = sorted({row.objective for row in EVIDENCE if row.modality == profile.modality})
        raise UsageError(
            f"No objective has been measured for {profile.modality} data with --trunk {settings.trunk}.",
            found=f"Measured for {profile.modality} data: {', '.join(found) or 'none'}.",
            fix="Name one with --objective, or leave --trunk to the planner.",
        )
    if settings.objective == "auto":
        row = fits[0]
        reasons = [f"Objective {row.objective} on the trunk {row.trunk}: {row.measured}"]
        return row.objective, row.trunk, _size(row.size, settings), row.tokenizer, reasons
    setup: Setup = find("objectives", settings.objective).setup
    row = fits[0] if fits else Evidence(profile.modality, settings.objective, setup.trunks[0], "nano", "")
    trunk = row.trunk if settings.trunk == "auto" else settings.trunk
    reasons = [f"Objective {settings.objective} as asked for, on the trunk {trunk}."]
    if settings.size == "auto":
        reasons.append(f"Size {row.size}: by the amount of data and time.")
    return settings.objective, trunk, _size(row.size, settings), row.tokenizer, reasons


def _applies(row: Evidence, profile: Profile, settings: Settings, seconds: float | None) -> bool:
    known = {"num_examples": profile.num_examples, **profile.traits}
    return (
        row.modality == profile.modality
        and settings.objective in ("auto", row.objective)
        and settings.trunk in ("auto", row.trunk)
        and all(known.get(trait, 0.0) >= least for trait, least in row.needs.items())
        and (seconds is None or seconds >= 60 * row.minutes)
    )


def _size(size: str, settings: Settings) -> str:
    return size if settings.size == "auto" else settings.size


def _used(machine: Machine, trunk: str, settings: Settings) -> Machine:
    """What of the machine is used: the matrices of a small network are not worth a second thread or a conversion."""
    if machine.device != "cpu" or trunk not in SMALL_TRUNKS:
        return machine
    precision = "float32" if settings.pretrain.precision == "auto" else machine.precision
    return replace(machine, threads=settings.threads or 1, precision=precision)


def _machine_reason(used: Machine, machine: Machine) -> str:
    threads = f"{used.threads} thread" + ("" if used.threads == 1 else "s")
    if used != machine:
        return f"{used.precision}, {threads}: the matrices of this trunk are too small for more."
    why = "the faster of the two when timed" if used.precision == "bfloat16" else "not slower than bfloat16 here"
    return f"{used.precision} ({why}), {threads} on {used.processor}."


def with_memory(plan: Plan, footprint: budget.Footprint, machine: Machine, *, coupled: bool, chosen: bool) -> Plan:
    """The plan with its micro-batch and memory estimate.

    Args:
        footprint: of the learner as built.
        machine: whose memory counts.
        coupled: whether the batch must stay whole.
        chosen: whether the user fixed the micro-batch, which is then left as it is.

    Raises:
        OutOfMemoryError: nothing fits.
    """
    size = plan.micro_batch if chosen else budget.micro_batch(footprint, plan.batch_size, machine.memory_bytes, coupled)
    needed = budget.memory_bytes(footprint, size)
    parts = "the whole batch at once" if size >= plan.batch_size else f"micro-batches of {size}"
    reason = f"{parts[0].upper()}{parts[1:]}: about {needed / 2**20:,.0f} MiB are needed."
    return replace(plan, micro_batch=size, memory_bytes=needed, reasons=(*plan.reasons, reason))


def with_horizon(
    plan: Plan, settings: Settings, *, step_s: float, epoch_steps: float, left_s: float, prove_s: float
) -> Plan:
    """The plan with its number of steps and shares of time.

    Args:
        settings: whose `steps`, when given, are taken as they are.
        step_s: measured seconds of a step.
        epoch_steps: steps of one pass over the data.
        left_s: seconds left of the command's time.
        prove_s: price of the comparison that follows; 0 without one.

    Raises:
        BudgetError: too few steps fit.
    """
    if settings.steps is not None or plan.seconds is None:
        steps = settings.steps or 1
        reason = f"{steps} steps are {steps / max(epoch_steps, 1e-9):.2f} passes over the data."
        return replace(plan, steps=steps, step_s=step_s, reasons=(*plan.reasons, reason))
    shares = budget.divide(left_s, prove_s)
    steps = budget.horizon(shares.pretrain_s, step_s, epoch_steps, plan.cap_epochs)
    reasons = [
        f"Of {left_s:.0f} s left, {shares.prove_s:.0f} s for the comparison, {shares.reserve_s:.0f} s in reserve, up "
        f"to {shares.pretrain_s:.0f} s for pretraining.",
        f"{steps} steps of {step_s:.3f} s are {steps / epoch_steps:.1f} passes over the data"
        + (
            f"; more than {plan.cap_epochs} are not worth their time."
            if steps * step_s < 0.95 * shares.pretrain_s
            else "."
        ),
    ]
    return replace(plan, steps=steps, step_s=step_s, shares=shares, reasons=(*plan.reasons, *reasons))


def pretrain_stage(plan: Plan, settings: Settings) -> Stage:
    """The stage that the loop trains, from the plan and what else the settings say."""
    train = settings.pretrain
    return Stage(
        kind="objectives",
        name=plan.objective,
        options=dict(settings.objective_options),
        items=plan.items,
        seq_len=plan.seq_len,
        batch_size=plan.batch_size,
        micro_batch=None if plan.micro_batch >= plan.batch_size else plan.micro_batch,
        optimizer=plan.optimizer,
        lr=plan.lr,
        weight_decay=plan.weight_decay,
        steps=plan.steps,
        seed=settings.seed,
        **chosen(train),
    )
