"""On a graphics card every learner keeps the same contract, and one run does what it does on the processor."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seedbed.core.device import configure
from tests.contract.checks import CHECKS, Check
from tests.contract.followed import told
from tests.contract.subjects import MACHINE, Subject, subjects

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device here", allow_module_level=True)

SUBJECTS = subjects()


@pytest.fixture(scope="module", autouse=True)
def configured() -> None:
    configure(replace(MACHINE, device="cuda"))
    # A kernel without a deterministic form is a warning for users, and an error here.
    torch.use_deterministic_algorithms(True)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_contract(subject: Subject, check: Check) -> None:
    check(replace(subject, device="cuda"))


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_losses_are_those_of_the_processor(subject: Subject) -> None:
    """Attention, convolutions and recurrent layers take other routes there, which round in another order."""
    assert told(replace(subject, device="cuda")) == pytest.approx(told(subject), rel=1e-3, abs=1e-5)
