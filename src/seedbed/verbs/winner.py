"""The best arm of a comparison, trained once more on all labels, as the model that the run leaves behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seedbed.core.rng import fold
from seedbed.evaluate.probes import features, logistic_weights
from seedbed.models.encoder import Encoder
from seedbed.verbs.arms import recipe_of, untrained
from seedbed.verbs.fit import fit, fit_job
from seedbed.verbs.model import NETWORK, save_network
from seedbed.verbs.proof import Contest, Judged

PROBES = ("frozen", "untrained")
NETWORKS = ("finetuned", "scratch")


def keep_winner(contest: Contest, judged: Judged, encoder: Encoder, folder: Path) -> dict[str, Any]:
    """Train the best network on every label that is not for scoring and write it as a model folder.

    Where a classic arm did better, that is said: model/ holds networks only.

    Args:
        contest: the comparison.
        judged: what it found.
        encoder: the pretrained one.
        folder: to write to.

    Returns: what model/ holds, for the summary.
    """
    best = judged.best.arm
    if best.kind not in (*PROBES, *NETWORKS):
        networks = [arm for arm in judged.told["arms"] if arm["kind"] in (*PROBES, *NETWORKS)]
        top = str(judged.told["labels"][-1])
        best_network = max(networks, key=lambda arm: arm["scores"][top]["selection"])
        kind, name = best_network["kind"], best_network["name"]
        contest.say(
            "warning",
            text=f"The best arm, {best.name}, is no network; model/ holds the best network, {name}. Use {best.name} "
            "itself if the difference matters to you.",
        )
    else:
        kind, name = best.kind, best.name
    prepared, settings = contest.prepared, contest.settings
    spec = encoder.spec
    rows = prepared.rows(split=("train", "validation", "held"), labelled=True)
    start = encoder if kind in ("finetuned", "frozen") else untrained(spec, prepared.facts, settings.seed)
    recipe = replace(recipe_of(spec, settings, fold(settings.seed, "winner")), options={**settings.task_options})
    if kind in PROBES:
        recipe = replace(recipe, options={**recipe.options, "head": "linear"})
        training = fit_job(start, prepared, rows, None, recipe, contest.machine).training
        x_ID = features(start, prepared, rows, contest.machine, recipe.seq_len)
        weight_CD, bias_C = logistic_weights(x_ID, prepared.labels[rows], len(prepared.facts.classes), settings.seed)
        _fill_(training.learner.get_submodule("head").get_submodule("out"), weight_CD, bias_C)
    else:
        training = fit(start, prepared, rows, recipe, contest.machine).training
    extra = {"kind": NETWORK, "arm": name, "task": recipe.task, "options": recipe.options, "seq_len": recipe.seq_len}
    save_network(folder, training, prepared, extra)
    return {"model": {"arm": name, "labels": len(rows)}, "best_arm": best.name}


@torch.no_grad()
def _fill_(layer: nn.Module, weight_CD: np.ndarray, bias_C: np.ndarray) -> None:
    assert isinstance(layer, nn.Linear), "a linear head has one layer"
    layer.weight.copy_(torch.from_numpy(weight_CD))
    layer.bias.copy_(torch.from_numpy(bias_C))
