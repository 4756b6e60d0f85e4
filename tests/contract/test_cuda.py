"""On a graphics card every learner keeps the same contract, and loses what it loses on the processor."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seedbed.core.device import configure
from seedbed.train.loop import steps
from tests.contract.checks import CHECKS, Check, assert_same_state
from tests.contract.followed import told
from tests.contract.subjects import BATCH, MACHINE, Subject, subjects

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device here", allow_module_level=True)

SUBJECTS = subjects()


@pytest.fixture(scope="module", autouse=True)
def configured() -> None:
    configure(replace(MACHINE, device="cuda"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_contract(subject: Subject, check: Check) -> None:
    check(replace(subject, device="cuda"))


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_losses_are_those_of_the_processor(subject: Subject) -> None:
    """Attention, convolutions and recurrent layers take other routes there, which round in another order."""
    assert told(replace(subject, device="cuda")) == pytest.approx(told(subject), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_two_runs_in_bfloat16_are_bit_equal(subject: Subject) -> None:
    """Attention takes yet another route then, which has no sure order unless it is asked for."""
    machine = replace(MACHINE, device="cuda", precision="bfloat16")
    one, other = (replace(subject, device="cuda").training(4) for _ in range(2))
    for training in (one, other):
        assert len(list(steps(training, BATCH[subject.modality], machine))) == 4
    assert_same_state(one, other)
