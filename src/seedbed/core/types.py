"""The nouns every module shares: batches, views, the contract of a learner.

Axis legend. A tensor's name ends in its axes, one capital letter each, for the whole package:

    B  examples of a batch        N  positions (tokens, patches)   D  width of the model
    H  attention heads            K  width of one head             V  entries of the vocabulary
    C  classes, or channels of an image                            P  values of one patch
    Y  rows of an image           X  columns of an image           S  draws or seeds
    I  items scored               M  shared negatives or keys      F  features of a classic model

`keep` is True where a position is real, `hidden` is True where it is to be predicted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from seedbed.core.events import Say as Say
from seedbed.core.events import silent as silent
from seedbed.core.labels import NO_LABEL as NO_LABEL

if TYPE_CHECKING:
    from seedbed.core.rng import Keys

EVALUATION_EPOCH = -1

Views = dict[str, Tensor]


class Padded(NamedTuple):
    """One modality of a batch.

    Text: values are tokens_BN (int64) and keep is keep_BN. Images: values are pixels_BCYX (uint8) and keep is keep_B.
    Vectors: the same with float32, one pixel and a channel a value.
    """

    values: Tensor
    keep: Tensor


@dataclass(frozen=True)
class Batch:
    """Examples as they arrive from the loader, before any randomness.

    Attributes:
        inputs: modality -> padded values.
        ids_B: int64 content hash of each example; with its epoch, the key of all its randomness.
        epochs_B: int64, EVALUATION_EPOCH when scoring.
        starts_B: int64, where a window starts in its document (0 for whole examples).
        labels_B: one label an example, as the data hold it: int64 class index, NO_LABEL where there is none; for sets
            of labels int8 rows of 0 and 1 (then it is labels_BC), of NO_LABEL where there is none; for numbers float64,
            NaN where there is none.
    """

    inputs: Mapping[str, Padded]
    ids_B: Tensor
    epochs_B: Tensor
    starts_B: Tensor
    labels_B: Tensor

    def __len__(self) -> int:
        return len(self.ids_B)

    def split(self, size: int) -> Iterator[Batch]:
        """Cut into micro-batches of at most `size` examples, in order."""
        for low in range(0, len(self), size):
            part = slice(low, low + size)
            inputs = {name: Padded(values[part], keep[part]) for name, (values, keep) in self.inputs.items()}
            yield Batch(inputs, self.ids_B[part], self.epochs_B[part], self.starts_B[part], self.labels_B[part])

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        inputs = {name: Padded(values.to(device), keep.to(device)) for name, (values, keep) in self.inputs.items()}
        # Apple's processors have no doubles.
        double = self.labels_B.dtype == torch.float64
        labels_B = self.labels_B.float() if double and device.type == "mps" else self.labels_B
        return replace(
            self,
            inputs=inputs,
            ids_B=self.ids_B.to(device),
            epochs_B=self.epochs_B.to(device),
            starts_B=self.starts_B.to(device),
            labels_B=labels_B.to(device),
        )


@dataclass(frozen=True)
class Facts:
    """What counting the training rows told; travels with the weights, as JSON.

    Attributes:
        modality: "text", "image" or "vector".
        vocab_size: entries of the tokenizer, 0 without one.
        token_counts: how often each token occurs in the training rows, length vocab_size.
        document_counts: in how many training rows each token occurs, length vocab_size.
        num_documents: training rows counted.
        image_shape: (channels, rows, columns), all 0 without images; a vector is one pixel with a channel a value.
        channel_mean, channel_std: per channel, of pixels scaled to 0..1, or of values as they are.
        label_kind: what a label is: one "class", a "set" of names, a "number"; see data/labels.py.
        classes: label names in index order, none for numbers.
        class_counts: how many training labels each class has, or how many sets hold each name.
        num_labels: training labels counted.
        target_mean, target_std: of the training labels, where they are numbers.
    """

    modality: str
    vocab_size: int = 0
    token_counts: tuple[int, ...] = ()
    document_counts: tuple[int, ...] = ()
    num_documents: int = 0
    image_shape: tuple[int, int, int] = (0, 0, 0)
    channel_mean: tuple[float, ...] = ()
    channel_std: tuple[float, ...] = ()
    label_kind: str = "class"
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    num_labels: int = 0
    target_mean: float = 0.0
    target_std: float = 1.0

    @property
    def num_outputs(self) -> int:
        """Columns of an answer: one for each class or name, one for a number."""
        return 1 if self.label_kind == "number" else len(self.classes)


class Moment(NamedTuple):
    """When and how views are made.

    Attributes:
        keys: draws of the batch's examples, a pure function of (seed, epoch, id, name, position).
        step: optimiser step, -1 when scoring; keys what a whole batch shares.
        progress: 0 at the first step, 1 after the last; when scoring, that of the step before.
        training: False when scoring: frozen masks, no augmentation.
        facts: what is known of the data.
    """

    keys: Keys
    step: int
    progress: float
    training: bool
    facts: Facts


class Loss(NamedTuple):
    """A sum and a count, never a mean: the loop divides once, after adding over micro-batches and ranks.

    Attributes:
        total: () sum over the units counted, in nats unless the learner says otherwise.
        count: () how many units: tokens, patches, examples.
        metrics: name -> (sum, count), both detached.
    """

    total: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody needs
    metrics: dict[str, tuple[Tensor, Tensor]]


class Prediction(NamedTuple):
    """What a task answers: logits_BC, in the order of Facts.classes; one column where labels are numbers."""

    logits_BC: Tensor


@dataclass(frozen=True)
class Setup:
    """What a learner asks of the data, the model and the optimiser; the planner reads it, the user may override it.

    Attributes:
        modalities: which readers' batches it understands.
        trunks: trunks it can train, the preferred first; empty for a task, which takes whatever was pretrained.
        label_kind: what labels a task learns; of no meaning to objectives.
        tokenizer: "bpe", "char" or "word"; "" for data without one. The first is what the planner takes.
        items: "chunks" (every document in consecutive windows, no token lost) or "whole" (one item a row, cropped).
        seq_len: tokens of a window, 0 for data without a length.
        batch_size: examples (or windows) of one step, over all micro-batches and ranks.
        optimizer: "adamw", "muon", "adagrad".
        lr: peak learning rate.
        weight_decay: decoupled, on matrices only.
    """

    modalities: tuple[str, ...]
    trunks: tuple[str, ...] = ()
    label_kind: str = "class"
    tokenizer: str = ""
    items: str = "whole"
    seq_len: int = 0
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05


class Learner(nn.Module, ABC):
    """Anything the loop can train. Subclasses are final; a file holds one, with its Config, SETUP and `views`.

    Attributes:
        encoders: modality -> encoder, the only thing carried from pretraining to fine-tuning.
        players: who takes an optimiser step, in order.
        phases: equal parts of a run in which different parts of it learn, each with its own rise and fall of the
            learning rate; 1 where everything learns all the time.
    """

    encoders: nn.ModuleDict
    players: tuple[str, ...] = ("model",)
    phases: int = 1
    couples: bool = False

    @property
    def coupled(self) -> bool:
        """Whether examples enter one another's loss, so that a batch cannot be split."""
        batch_norms = (nn.modules.batchnorm._BatchNorm,)
        return self.couples or any(isinstance(m, batch_norms) and m.training for m in self.modules())

    def phase(self, progress: float) -> tuple[int, float]:
        """The phase a run is in when it has come so far, and how far that phase has come."""
        along = progress * self.phases
        now = min(int(along), self.phases - 1)
        return now, along - now

    @abstractmethod
    def forward(self, views: Views, player: str) -> Loss:
        """The loss of one player on one micro-batch of views."""

    def parameters_of(self, player: str) -> list[nn.Parameter]:
        """What a player's step may change; all parameters unless there are several players."""
        return list(self.parameters())

    def after_step(self, step: int) -> None:
        """Moving averages, centres, queues: what changes without a gradient."""

    def zero_head_(self, player: str) -> None:
        """Set in place whatever makes the player's output zero, so that its loss is `at_zero` (for tests)."""
        raise NotImplementedError(f"{type(self).__name__} states no zero head")

    def at_zero(self, views: Views, player: str) -> float | None:
        """Mean loss with a zero head, in closed form: ln V, ln C, ...; None where there is none."""
        return None

    def chance(self, views: Views, player: str) -> float | None:
        """Mean loss of the best predictor that ignores its input, from counted frequencies; None where unknown."""
        return None


class Task(Learner):
    """A learner that answers: trained with labels, scored on predictions."""

    metrics: tuple[str, ...] = ()

    @abstractmethod
    def predict(self, views: Views) -> Prediction:
        """Answers for one batch of views."""

    @abstractmethod
    def answers(self, logits_BC: Tensor) -> Tensor:
        """What logits say, float64 (B, C): probabilities, or numbers in the unit of the labels."""
