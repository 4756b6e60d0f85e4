"""Recipes of fine-tuning: where the head starts, trials of rates, ensembles, dropout and smoothing, from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seedbed.core.device import Machine
from seedbed.core.settings import FinetuneSettings, Settings
from seedbed.data.store import Prepared, load
from seedbed.evaluate.linear import fit_probe
from seedbed.evaluate.probes import features
from seedbed.verbs.arms import recipe_of
from seedbed.verbs.finetune import finetune, labelled_rows
from seedbed.verbs.fit import PARTS, Recipe, fit, fit_job, member_rows, predict_rows, try_rates
from seedbed.verbs.model import load_model
from seedbed.verbs.predict import predict
from tests.verbs.conftest import Kept
from tests.verbs.making import SAME, Shell

MACHINE = Machine("cpu", 1, "float32", 0, 1, "test")


def prepared_of(kept: Kept) -> Prepared:
    name = json.loads((kept.run("finetune") / "data.json").read_text())["folder"]
    return load(kept.out / "data" / name)


def recipe(kept: Kept, **settings: Any) -> Recipe:
    spec = load_model(kept.run("pretrain") / "model").encoder.spec
    return recipe_of(spec, Settings(task="classify", finetune=FinetuneSettings(**settings)), 7)


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_the_head_starts_as_the_probe(kind: str, request: pytest.FixtureRequest) -> None:
    """Before the first step the network answers what the probe on its frozen features answers."""
    kept: Kept = request.getfixturevalue(kind)
    prepared, encoder = prepared_of(kept), load_model(kept.run("pretrain") / "model").encoder
    rows, how = labelled_rows(prepared), recipe(kept)
    test = rows[::3]
    job = fit_job(encoder, prepared, rows, None, how, MACHINE)
    found = predict_rows([job.training], prepared, test, how.seq_len, MACHINE)
    x_ID = features(encoder, prepared, rows, MACHINE, how.seq_len)
    model, _ = fit_probe(x_ID, prepared.labels[rows], len(prepared.facts.classes), 7)
    expected = model.answers(features(encoder, prepared, test, MACHINE, how.seq_len))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    other = fit_job(encoder, prepared, rows, None, recipe(kept, head_first=False), MACHINE)
    small = predict_rows([other.training], prepared, test, how.seq_len, MACHINE)
    assert np.abs(small - 1 / len(prepared.facts.classes)).max() < 0.3


def test_a_class_without_a_label_keeps_a_chance(images: Kept) -> None:
    prepared = prepared_of(images)
    rows = labelled_rows(prepared)
    few = rows[prepared.labels[rows] != 1]
    encoder = load_model(images.run("pretrain") / "model").encoder
    job = fit_job(encoder, prepared, few, None, recipe(images), MACHINE)
    probs_IC = predict_rows([job.training], prepared, few, 0, MACHINE)
    assert 0 < probs_IC[:, 1].mean() < 0.1 and np.isfinite(probs_IC).all()


def test_from_scratch_the_head_starts_at_random(images: Kept) -> None:
    """What a probe finds in features that mean nothing would have to be unlearnt."""
    prepared = prepared_of(images)
    rows = labelled_rows(prepared)
    spec = load_model(images.run("pretrain") / "model").encoder.spec
    job = fit_job(spec, prepared, rows, None, recipe(images), MACHINE)
    probs_IC = predict_rows([job.training], prepared, rows, 0, MACHINE)
    assert np.abs(probs_IC - 1 / probs_IC.shape[1]).max() < 0.15


@pytest.mark.slow
def test_trials_choose_by_held_out_labels(images: Kept) -> None:
    prepared, encoder = prepared_of(images), load_model(images.run("pretrain") / "model").encoder
    rows, how = labelled_rows(prepared), recipe(images)
    tried = try_rates(encoder, prepared, rows, how, MACHINE)
    assert [trial.recipe.lr for trial in tried] == list(how.trials) and len(tried) == 2
    assert all(0 < trial.loss < 1 for trial in tried)
    assert recipe(images, lr=0.01).trials == () and recipe(images, lr=0.01).stage(50, stopping=False).lr == 0.01


@pytest.mark.slow
def test_an_ensemble_averages_and_each_member_stops_by_another_part(images: Kept) -> None:
    prepared, encoder = prepared_of(images), load_model(images.run("pretrain") / "model").encoder
    rows, test = labelled_rows(prepared), prepared.rows(split="test", labelled=True)
    fitted = fit(encoder, prepared, rows, recipe(images, lr=1e-3, ensemble=2), MACHINE)
    alone = [predict_rows([member], prepared, test, 0, MACHINE) for member in fitted.members]
    assert len(alone) == 2 and np.abs(alone[0] - alone[1]).max() > 1e-6
    np.testing.assert_allclose(predict_rows(fitted.members, prepared, test, 0, MACHINE), (alone[0] + alone[1]) / 2)
    many = np.resize(rows, 300)
    held = [set(member_rows(prepared, many, recipe(images), number)[1].tolist()) for number in range(PARTS)]
    assert set.union(*held) == set(rows.tolist()) and all(held)
    assert len(member_rows(prepared, rows, recipe(images), 0)[1]) == 0  # few labels: all are learnt from


def test_an_ensemble_is_kept_served_and_not_exported(shell: Shell, images: Kept, tmp_path: Path) -> None:
    words = ["--set", "finetune.ensemble=2", "--set", "task_options.dropout=0.1", "--set", "finetune.layer_decay=0.8"]
    words += ["--set", "task_options.label_smoothing=0.1", "--set", "finetune.lr=1e-3"]
    told = shell.ok("finetune", images.out, images.data, "--out", tmp_path, *SAME, *words)
    (run,) = tmp_path.glob("finetune-*")
    assert "Learning rate 0.001, as asked for." in told.out and "finetune-2: 150 steps" in told.out
    assert (run / "model" / "members" / "2" / "model.safetensors").is_file()
    answers = predict(run, images.more)
    model = load_model(run / "model")
    assert len(model.members) == 2
    assert model.members[0].learner.get_submodule("head").get_submodule("dropout").p == 0.1
    first, second = (dict(member.learner.named_parameters())["head.out.weight"] for member in model.members)
    assert not torch.equal(first, second)
    assert answers.summary["answered"] == 18
    refused = shell.refused(2, "export", tmp_path, "--to", "safetensors", "--out", tmp_path / "e")
    assert "an ensemble of 2 networks" in refused and "finetune.ensemble=1" in refused
    again = shell.ok("finetune", images.out, images.data, "--out", tmp_path, *SAME, *words)
    assert "finished before" in again.out


def test_auto_is_the_default_and_says_what_it_chose(images: Kept) -> None:
    run = images.run("finetune")
    rates = json.loads((run / "rates.json").read_text())
    assert [trial["lr"] for trial in rates["tried"]] == [3e-4, 9e-4]
    assert rates["lr"] == min(rates["tried"], key=lambda trial: float(trial["loss"]))["lr"]
    plan = json.loads((run / "plan.json").read_text())
    assert plan["stage"]["lr"] == rates["lr"] and "the best of 2 on labels held out" in plan["reasons"][1]
    same = finetune(images.out, str(images.data), out=images.out, dry_run=True, finetune={"lr": "auto"})
    assert same.folder is None


def test_options_that_are_out_of_range(shell: Shell, images: Kept, tmp_path: Path) -> None:
    words: list[str | Path] = ["finetune", images.out, images.data, "--out", tmp_path, *SAME]
    assert '"finetune.layer_decay" is 0' in shell.refused(2, *words, "--set", "finetune.layer_decay=0")
    assert '"finetune.ensemble" is 0' in shell.refused(2, *words, "--set", "finetune.ensemble=0")
    assert '"task_options.dropout" is 1.5' in shell.refused(2, *words, "--set", "task_options.dropout=1.5")
    assert "pretrain.head_first" in shell.refused(2, *words, "--set", "pretrain.head_first=true")
