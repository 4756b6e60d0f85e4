"""From decisions to a learner ready to train: the same for pretraining and for fine-tuning."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from seedbed.core.config import validate_options
from seedbed.core.errors import UsageError
from seedbed.core.find import find
from seedbed.core.hashing import fold
from seedbed.core.settings import TrainSettings
from seedbed.core.types import Facts
from seedbed.data.loader import Loader
from seedbed.data.store import Prepared
from seedbed.models.encoder import Encoder, EncoderSpec, build_encoder
from seedbed.train.optim import Ema, Stepping, frozen_names, make_optimizers
from seedbed.train.schedule import LINEAR
from seedbed.train.state import Horizon, Training


@dataclass(frozen=True)
class Stage:
    """Everything decided about one stage before its step 0; stored, so that a resumed stage is exact.

    Attributes:
        kind: "objectives" or "tasks".
        name: the learner's file name.
        options: of its own Config.
        items, seq_len, batch_size, micro_batch: what a step sees (see core.types.Setup).
        optimizer, lr, weight_decay, momentum, nesterov, layer_decay: see `Stepping`.
        warmup, schedule, cooldown: see `schedule`.
        steps: planned number of steps.
        patience: evaluations without progress before stopping; 0 for never.
        evaluations: how often the validation rows are scored.
    """

    kind: str
    name: str
    options: dict[str, Any]
    items: str
    seq_len: int
    batch_size: int
    micro_batch: int | None
    optimizer: str
    lr: float
    weight_decay: float
    warmup: float
    clip: float
    ema: float
    freeze: tuple[str, ...]
    steps: int
    seed: int
    momentum: float = 0.9
    nesterov: bool = False
    layer_decay: float = 1.0
    schedule: str = LINEAR
    cooldown: float = 0.25
    patience: int = 0
    evaluations: int = 10
    save_every_s: float = 60.0
    keep: int = 3

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a checkpoint keeps and compares them."""
        return {**asdict(self), "freeze": list(self.freeze)}

    def stepping(self) -> Stepping:
        """How its optimisers step."""
        return Stepping(self.optimizer, self.lr, self.weight_decay, self.momentum, self.nesterov, self.layer_decay)


def chosen(train: TrainSettings) -> dict[str, Any]:
    """What a stage takes from its settings as it is; what was not given keeps the stage's default."""
    names = {"warmup", "clip", "ema", "freeze", "momentum", "nesterov", "schedule", "cooldown"}
    names |= {"patience", "evaluations", "save_every_s", "keep"}
    return train.model_dump(include=names, exclude_none=True)


def assemble(stage: Stage, facts: Facts, encoder: Encoder | EncoderSpec, device: str = "cpu") -> Training:
    """Build learner and optimisers.

    Args:
        stage: what was decided.
        facts: of the prepared data.
        encoder: a pretrained encoder, trained further in place, or the description of a new one.
        device: where it will train. Initial weights are drawn on the processor, so that they are the same anywhere.

    Raises:
        UsageError: unknown learner or option, a learner that does not understand this modality, or early stopping of
            one whose phases cannot be compared.
    """
    module = find(stage.kind, stage.name)
    if facts.modality not in module.setup.modalities:
        raise UsageError(
            f"{stage.name} does not work on {facts.modality} data.",
            found=f"It understands: {', '.join(module.setup.modalities)}.",
            fix="Choose another --objective, or leave the choice to the planner: --objective auto.",
        )
    torch.default_generator.manual_seed(fold(stage.seed, "init", stage.kind))
    if isinstance(encoder, EncoderSpec):
        encoder = build_encoder(encoder, facts)
    config = validate_options(module.config_class, stage.options, f"{stage.kind[:-1]}_options")
    learner = module.learner_class(config, nn.ModuleDict({facts.modality: encoder}), facts)
    # Before optimisers and averages, whose state lies where the parameters lie.
    learner.to(device)
    if learner.phases > 1 and stage.patience:
        raise UsageError(
            f"patience = {stage.patience} with {stage.name}, whose layers learn one after another.",
            cause="What one layer loses cannot be compared with the next one's, so the run would stop before its end.",
            fix="Leave pretrain.patience at 0.",
        )
    optimizers = {
        player: make_optimizers(learner, player, stage.stepping(), stage.freeze) for player in learner.players
    }
    base_lrs = {
        player: [[float(group["lr"]) for group in optimizer.param_groups] for optimizer in made]
        for player, made in optimizers.items()
    }
    return Training(
        learner=learner,
        config=config,
        views=module.views,
        optimizers=optimizers,
        base_lrs=base_lrs,
        facts=facts,
        seed=stage.seed,
        horizon=Horizon(((0, stage.steps),)),
        warmup=stage.warmup,
        schedule=stage.schedule,
        cooldown=stage.cooldown,
        clip=stage.clip,
        micro_batch=stage.micro_batch,
        ema=Ema(learner, stage.ema) if stage.ema else None,
        freeze=stage.freeze,
        frozen=frozenset(frozen_names(learner, stage.freeze)),
    )


def loader_of(stage: Stage, prepared: Prepared, rows: np.ndarray) -> Loader:
    """The batches of some rows, as the stage sees them."""
    return Loader(
        prepared, rows, seed=stage.seed, batch_size=stage.batch_size, items=stage.items, seq_len=stage.seq_len
    )
