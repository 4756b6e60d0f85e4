"""What the contract is checked on: every learner found, on every modality and trunk it declares, in miniature."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.core.device import Machine
from seedbed.core.find import LearnerModule, find, names
from seedbed.core.rng import keys_for
from seedbed.core.settings import Section
from seedbed.core.tokens import NUM_SPECIAL, PAD
from seedbed.core.types import EVALUATION_EPOCH, NO_LABEL, Batch, Facts, Learner, Moment, Padded, Views
from seedbed.data.labels import label_kind
from seedbed.models import bag, conv1d, conv2d, mlp, recurrent, resnet, transformer, vgg
from seedbed.models.encoder import EncoderSpec, build_encoder
from seedbed.train.loop import Step, steps
from seedbed.train.optim import Stepping, frozen_names, make_optimizers
from seedbed.train.state import Horizon, Training

MACHINE = Machine("cpu", 1, "float32", 0, 1, "test")
VOCAB_SIZE, NUM_CLASSES, LONGEST, SIDE, NUM_VALUES = 37, 3, 12, 6, 7
NUM_EXAMPLES = 8
CLASSES = ("a", "b", "c")
# What stands for each class where labels are sets (one of them empty) or numbers.
SETS = torch.tensor([[1, 0, 1], [0, 1, 1], [0, 0, 0]], dtype=torch.int8)
NUMBERS = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
LR = {"adamw": 5e-3, "muon": 1e-2, "adagrad": 0.5}
BAG_LR = 0.1  # of a mean of small vectors, without a norm between them and the head

# Stem and shape of each trunk.
SMALL: dict[tuple[str, str], tuple[str, Any]] = {
    ("transformer", "text"): ("tokens", transformer.Config("text", width=32, depth=1, heads=2, hidden=48, context=64)),
    ("transformer", "image"): (
        "patches",
        transformer.Config("classic", width=32, depth=1, heads=2, hidden=48, eps=1e-6),
    ),
    ("mlp", "image"): ("flat", mlp.Config(width=48, depth=1)),
    ("mlp", "text"): ("tfidf", mlp.Config(width=48, depth=1)),
    ("mlp", "vector"): ("flat", mlp.Config(width=48, depth=1)),
    ("bag", "text"): ("words", bag.Config(width=24)),
    ("resnet", "image"): ("fine", resnet.Config(width=16, stem_width=8, depths=(1, 1))),
    ("vgg", "image"): ("fine", vgg.Config(width=16, stem_width=8, depths=(2, 1))),
    ("conv2d", "image"): ("pixels", conv2d.Config(width=32, stem_width=16, depth=1)),
    ("conv1d", "text"): ("tokens", conv1d.Config(width=32, depth=2)),
    ("tcn", "text"): ("tokens", conv1d.Config(width=32, depth=2, forward=True)),
    **{
        (both * "bi" + cell, "text"): ("tokens", recurrent.Config(cell, width=32, depth=1, both_ends=both))
        for cell in ("lstm", "gru")
        for both in (False, True)
    },
}
# What is checked of a trunk beside classification; of trunks not named here, every learner that can train them.
PAIRED = {
    "resnet": "contrastive",
    "vgg": "denoising",
    "conv2d": "adversarial",
    "conv1d": "masked_lm",
    "tcn": "causal_lm",
    "lstm": "causal_lm",
    "gru": "contrastive",
    "bilstm": "masked_lm",
    "bigru": "masked_lm",
}


@dataclass(frozen=True)
class Subject:
    """One learner on one modality and trunk, and where it trains."""

    kind: str
    module: LearnerModule
    modality: str
    trunk: str
    device: str = "cpu"

    def __str__(self) -> str:
        return f"{self.module.name}-{self.modality}-{self.trunk}"

    @property
    def spec(self) -> EncoderSpec:
        stem, config = SMALL[self.trunk, self.modality]
        return EncoderSpec(self.modality, stem, self.trunk, "test", asdict(config))

    def learner(self, seed: int = 0, facts: Facts | None = None) -> Learner:
        facts = facts or self.facts
        torch.manual_seed(seed)
        encoders = nn.ModuleDict({self.modality: build_encoder(self.spec, facts)})
        return self.module.learner_class(self.module.config_class(), encoders, facts).to(self.device)

    def training(self, num_steps: int, *, seed: int = 0, freeze: tuple[str, ...] = (), **changed: int) -> Training:
        learner = self.learner(seed)
        setup = self.module.setup
        lr = BAG_LR if self.trunk == "bag" and setup.optimizer == "adamw" else LR[setup.optimizer]
        made = {
            player: make_optimizers(learner, player, Stepping(setup.optimizer, lr, 0.01), freeze)
            for player in learner.players
        }
        return Training(
            learner=learner,
            config=self.module.config_class(),
            views=self._views,
            optimizers=made,
            base_lrs={p: [[float(g["lr"]) for g in o.param_groups] for o in many] for p, many in made.items()},
            facts=self.facts,
            seed=3,
            horizon=Horizon(((0, num_steps),)),
            micro_batch=changed.get("micro_batch"),
            freeze=freeze,
            frozen=frozen_names(learner, freeze),
        )

    def views(
        self,
        batch: Batch,
        *,
        training: bool = True,
        step: int = 5,
        progress: float = 0.5,
        facts: Facts | None = None,
    ) -> Views:
        batch = batch.to(torch.device(self.device))
        at = moment(batch, self.modality, training, step, facts or self.facts)._replace(progress=progress)
        return self._views(batch, self.module.config_class(), at)

    def _views(self, batch: Batch, config: Section, at: Moment) -> Views:
        """The module's own, on labels of the kind it learns."""
        labels_B = labels_of(self.module.setup.label_kind, batch.labels_B)
        return self.module.views(replace(batch, labels_B=labels_B), config, at)

    @property
    def facts(self) -> Facts:
        """What counting labels of its kind tells: a hundred of each class."""
        kind = self.module.setup.label_kind
        labels = labels_of(kind, torch.arange(NUM_CLASSES).repeat(100)).numpy()
        return replace(FACTS[self.modality], **label_kind(kind).count(labels, CLASSES if kind != "number" else ()))


def labels_of(kind: str, labels_B: Tensor) -> Tensor:
    """Labels of a kind in place of classes; what has none has none."""
    if kind == "class":
        return labels_B
    known_B = labels_B != NO_LABEL
    if kind == "set":
        return SETS.to(labels_B.device)[labels_B].where(known_B[:, None], NO_LABEL)
    return NUMBERS.to(labels_B.device)[labels_B].where(known_B, float("nan"))


def moment(batch: Batch, modality: str, training: bool = True, step: int = 5, facts: Facts | None = None) -> Moment:
    step = step if training else -1
    return Moment(keys_for(3, batch, step), step, 0.5 if training else 1.0, training, facts or FACTS[modality])


def subjects() -> list[Subject]:
    """Every learner with every modality and trunk it declares and that fit together, but see `PAIRED`."""
    return [
        Subject(kind, module, modality, trunk)
        for kind in ("objectives", "tasks")
        for name in names(kind)
        for module in (find(kind, name),)
        for modality in module.setup.modalities
        for trunk in module.setup.trunks or dict.fromkeys(trunk for trunk, _ in SMALL)
        if (trunk, modality) in SMALL and (name == "classify" or PAIRED.get(trunk, name) == name)
    ]


def run(training: Training, batch_at: Callable[[int], Batch]) -> list[Step]:
    return list(steps(training, batch_at, where(training)))


def where(training: Training) -> Machine:
    """The machine of the device on which it lies."""
    return replace(MACHINE, device=next(training.learner.parameters()).device.type)


def text_batch(seed: int, size: int = NUM_EXAMPLES, *, structured: bool = True) -> Batch:
    """Texts of uneven length. Structured: each word tells the next and the class; else nothing tells anything."""
    draw = torch.Generator().manual_seed(seed)
    labels_B = torch.arange(size) % NUM_CLASSES
    lengths_B = torch.randint(LONGEST // 2, LONGEST + 1, (size,), generator=draw)
    lengths_B[0] = LONGEST
    num_words = VOCAB_SIZE - NUM_SPECIAL
    first_B1 = torch.randint(num_words, (size, 1), generator=draw)
    tokens_BN = torch.randint(num_words, (size, LONGEST), generator=draw)
    if structured:
        tokens_BN = first_B1 + torch.arange(LONGEST) * (labels_B[:, None] + 1)
    keep_BN = torch.arange(LONGEST) < lengths_B[:, None]
    values_BN = torch.where(keep_BN, tokens_BN % num_words + NUM_SPECIAL, PAD)
    return _batch("text", Padded(values_BN, keep_BN), labels_B, draw, structured)


def image_batch(seed: int, size: int = NUM_EXAMPLES, *, structured: bool = True) -> Batch:
    """Noise. Structured: one third of it bright, which third is the class."""
    draw = torch.Generator().manual_seed(seed)
    labels_B = torch.arange(size) % NUM_CLASSES
    pixels_BCYX = torch.randint(0, 128, (size, 1, SIDE, SIDE), generator=draw)
    if structured:
        band_Y = torch.arange(SIDE) * NUM_CLASSES // SIDE
        pixels_BCYX = pixels_BCYX + 120 * (band_Y == labels_B[:, None])[:, None, :, None]
    kept_B = torch.ones(size, dtype=torch.bool)
    return _batch("image", Padded(pixels_BCYX.to(torch.uint8), kept_B), labels_B, draw, structured)


def vector_batch(seed: int, size: int = NUM_EXAMPLES, *, structured: bool = True) -> Batch:
    """Noise of unequal spread. Structured: the class moves one third of the values."""
    draw = torch.Generator().manual_seed(seed)
    labels_B = torch.arange(size) % NUM_CLASSES
    places_F = torch.arange(NUM_VALUES)
    values_BF = torch.randn(size, NUM_VALUES, generator=draw)
    if structured:
        values_BF = values_BF + 2.0 * (places_F % NUM_CLASSES == labels_B[:, None])
    values_BF = 3.0 + values_BF * (1 + places_F)
    kept_B = torch.ones(size, dtype=torch.bool)
    return _batch("vector", Padded(values_BF[:, :, None, None], kept_B), labels_B, draw, structured)


def _batch(modality: str, padded: Padded, labels_B: torch.Tensor, draw: torch.Generator, structured: bool) -> Batch:
    size = len(labels_B)
    ids_B = torch.randint(-(2**62), 2**62, (size,), generator=draw)
    if not structured:
        labels_B = torch.randint(NUM_CLASSES, (size,), generator=draw)
    zeros_B = torch.zeros(size, dtype=torch.int64)
    return Batch({modality: padded}, ids_B, zeros_B, zeros_B.clone(), labels_B)


BATCH = {"text": text_batch, "image": image_batch, "vector": vector_batch}


def scoring(batch: Batch) -> Batch:
    return replace(batch, epochs_B=torch.full_like(batch.epochs_B, EVALUATION_EPOCH))


def reordered(batch: Batch, order: torch.Tensor) -> Batch:
    inputs = {name: Padded(padded.values[order], padded.keep[order]) for name, padded in batch.inputs.items()}
    return Batch(inputs, batch.ids_B[order], batch.epochs_B[order], batch.starts_B[order], batch.labels_B[order])


def tensors(batch: Batch) -> Iterator[torch.Tensor]:
    for padded in batch.inputs.values():
        yield from padded
    yield from (batch.ids_B, batch.epochs_B, batch.starts_B, batch.labels_B)


def _facts() -> dict[str, Facts]:
    """Counted from the first hundred unstructured batches, as a store would count its training rows."""
    counts_V = torch.zeros(VOCAB_SIZE, dtype=torch.int64)
    counts_V[NUM_SPECIAL:] = 1000
    pixels = torch.cat([image_batch(seed).inputs["image"].values for seed in range(20)]).float() / 255
    classes, class_counts = CLASSES, (100, 100, 100)
    counts = tuple(counts_V.tolist())
    text = Facts("text", VOCAB_SIZE, counts, tuple(n // 4 for n in counts), 500)
    image = Facts("image", image_shape=(1, SIDE, SIDE))
    text = replace(text, classes=classes, class_counts=class_counts)
    image = replace(image, classes=classes, class_counts=class_counts)
    values = torch.cat([vector_batch(seed).inputs["vector"].values for seed in range(20)])[:, :, 0, 0]
    vector = Facts("vector", image_shape=(NUM_VALUES, 1, 1), classes=classes, class_counts=class_counts)
    return {
        "text": text,
        "vector": replace(
            vector, channel_mean=tuple(values.mean(0).tolist()), channel_std=tuple(values.std(0).tolist())
        ),
        "image": replace(image, channel_mean=(float(pixels.mean()),), channel_std=(float(pixels.std()),)),
    }


FACTS = _facts()
