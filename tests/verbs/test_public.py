"""Weights that others pretrained take part in the comparison, on the side that the user's pretraining has to beat."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from seedbed.core.errors import UsageError
from seedbed.core.extras import EXTRAS
from seedbed.evaluate.verdict import PUBLIC, Arm, Contestant, decide
from seedbed.verbs.public import public_names
from tests.models.checkpoints import save_checkpoint, save_preprocessor, save_tokenizer
from tests.verbs.conftest import Kept
from tests.verbs.making import BAD, COMMON, GOOD, Shell

pytestmark = pytest.mark.filterwarnings("ignore")
FEW = ("--set", "prove.draws=2", "--set", "prove.labels=[20]", "--threads", "1", "--set", "pretrain.precision=float32")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "tiny-bert"
    save_checkpoint(folder, "bert")
    save_tokenizer(folder, [*GOOD, *BAD, *COMMON])
    return folder


def test_the_arms_of_public_weights(shell: Shell, texts: Kept, bert: Path, tmp_path: Path) -> None:
    arms = ("--set", "prove.arms=['majority', 'frozen+probe', 'public+probe']")
    words = (
        "--label",
        "label",
        "--from",
        texts.run("pretrain"),
        "--public",
        bert,
        "--out",
        tmp_path / "r",
        *FEW,
        *arms,
    )
    told = shell.ok("prove", texts.data, *words)
    assert "tiny-bert: BertModel of transformers" in told.out and told.last.startswith("verdict: ")
    (run,) = (tmp_path / "r").glob("prove-*")
    proof = json.loads((run / "eval" / "proof.json").read_text())
    sides = {arm["name"]: (arm["kind"], arm["pretrained"]) for arm in proof["arms"]}
    assert sides["public+probe"] == (PUBLIC, False) and sides["frozen+probe"][1]
    # prepared once more, with the checkpoint's tokenizer, in the same rows and splits
    sets = list((tmp_path / "r" / "data").glob("*/index.arrow"))
    assert len(sets) == 2
    assert "finished before" in shell.ok("prove", texts.data, *words).out


@pytest.mark.slow
def test_public_weights_in_a_whole_run(shell: Shell, texts: Kept, bert: Path, tmp_path: Path) -> None:
    arms = ("--set", "prove.arms=['majority', 'frozen+probe', 'public+probe', 'public fine-tuned']")
    words = (
        "--label",
        "label",
        "--public",
        bert,
        "--out",
        tmp_path / "r",
        "--steps",
        "20",
        "--size",
        "nano",
        *FEW,
        *arms,
    )
    told = shell.ok("run", texts.data, *words, "--json").json
    accuracy = told["summary"]["accuracy"]
    assert {"public+probe", "public fine-tuned"} <= set(accuracy)
    # texts of eight good or eight bad words: these are learnt with whatever weights
    assert accuracy["public fine-tuned"] > accuracy["majority"]
    assert shell.ok("predict", tmp_path / "r", "bright charming story", "--json").json["summary"]["answered"] == 1


@pytest.mark.slow
def test_public_weights_for_images_see_them_at_their_own_size(shell: Shell, images: Kept, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "vit", "vit")
    save_preprocessor(tmp_path / "vit")
    arms = ("--set", "prove.arms=['majority', 'frozen+probe', 'public+probe']")
    words = ("--from", images.run("pretrain"), "--public", tmp_path / "vit", "--out", tmp_path / "r", *FEW, *arms)
    told = shell.ok("prove", images.data, *words, "--json").json["summary"]
    assert "public+probe" in told["accuracy"]
    shapes = [json.loads(path.read_text())["image_shape"] for path in (tmp_path / "r" / "data").glob("*/facts.json")]
    assert sorted(shapes) == [[1, 8, 8], [1, 16, 16]]


def test_names_tell_several_apart() -> None:
    assert public_names([]) == []
    assert public_names(["a/bert"]) == ["public+probe", "public fine-tuned"]
    assert public_names(["a/bert", "b.h5"])[2:] == ["public+probe: b.h5", "public fine-tuned: b.h5"]
    with pytest.raises(UsageError, match="same name"):
        public_names(["a/bert", "b/bert"])


def test_what_is_refused_is_refused_before_the_data_are_read(
    shell: Shell, texts: Kept, images: Kept, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--label", "label", "--out", tmp_path / "r", "--public")
    assert "no such run folder" in shell.refused(2, "run", tmp_path / "nothing.csv", *words, tmp_path / "none")
    told = shell.refused(3, "prove", images.data, "--from", images.run("pretrain"), "--public", bert, *FEW)
    assert "reads text, these data are image" in told
    unknown = ("--set", "prove.arms=['majority', 'frozen+probe', 'public+prob']")
    assert 'Did you mean "public+probe"?' in shell.refused(2, "run", texts.data, *words, bert, *unknown)
    monkeypatch.setitem(EXTRAS, "hub", ("no_such_package",))
    assert "seedbed[hub]" in shell.refused(4, "run", tmp_path / "nothing.csv", *words, bert)
    assert not (tmp_path / "r").exists()


def test_the_verdict_names_public_weights() -> None:
    right = np.ones((5, 100))
    half = np.tile(np.arange(100) % 2 == 0, (5, 1)).astype(float)
    mine = Contestant(Arm("fine-tuned", "finetuned", True), half, 0.5)
    theirs = Contestant(Arm("public+probe", PUBLIC, False), right, 0.9)
    scratch = Contestant(Arm("scratch", "scratch", False), half, 0.5)
    verdict = decide([mine, theirs, scratch], 50)
    assert verdict.outcome == "did not pay" and verdict.best_other.name == "public+probe"
    assert "less often than public+probe (public weights), the best without your pretraining" in verdict.sentence
