"""Twenty steps of every learner, as they were: a change of any number has to be meant.

To write those of new learners, or renew some after a change that is meant, which names them by a part of their name:
python -m tests.golden.test_curves "the reason, in a sentence" [PART OF A NAME]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from tests.contract.subjects import BATCH, Subject, run, subjects

FOLDER = Path(__file__).parent
NUM_STEPS = 20
# Sums of float32 differ by the processor in their last bits. Muon makes its directions in bfloat16, where such a bit is
# 0.4 %: between an AMD and an Intel processor its curves came to differ by 3.4e-4 within nine steps.
TOLERANCE = {"muon": 3e-3}
OTHERWISE = 1e-4
SUBJECTS = subjects()


def curve(subject: Subject) -> dict[str, list[float]]:
    training = subject.training(NUM_STEPS)
    batches = [BATCH[subject.modality](seed) for seed in range(4)]
    done = run(training, lambda step: batches[step % 4])
    return {player: [item.losses[player] for item in done] for player in training.learner.players}


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_twenty_steps_are_as_they_were(subject: Subject) -> None:
    golden = json.loads((FOLDER / f"{subject}.json").read_text(encoding="utf-8"))
    made = curve(subject)
    assert made.keys() == golden["losses"].keys()
    for player, losses in made.items():
        assert len(losses) == NUM_STEPS
        near = TOLERANCE.get(subject.module.setup.optimizer, OTHERWISE)
        assert losses == pytest.approx(golden["losses"][player], rel=near, abs=near)


def test_each_curve_belongs_to_a_learner() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {str(subject) for subject in SUBJECTS}


def renew(reason: str, part: str) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for subject in SUBJECTS:
        if (part not in str(subject)) if part else (FOLDER / f"{subject}.json").exists():
            continue
        losses = {player: [round(loss, 6) for loss in values] for player, values in curve(subject).items()}
        written = {"reason": reason, "torch": torch.__version__, "losses": losses}
        (FOLDER / f"{subject}.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or len(sys.argv[1].split()) < 3:
        sys.exit('Say why, in a sentence: python -m tests.golden.test_curves "..." [PART OF A NAME]')
    renew(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "")
