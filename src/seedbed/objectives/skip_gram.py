"""Word vectors that predict the words around them: the cheapest pretraining of text, and a strong one for little time.

The cost is that of a few matrix products. Positives of a window are a band of the products of all its words; negatives
are shared by the whole batch and scored once for each different word, weighted by how often it stands in the batch.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seedbed.core.settings import Count, Positive, Section
from seedbed.core.tokens import NUM_SPECIAL
from seedbed.core.types import Batch, Facts, Learner, Loss, Moment, Setup, Views
from seedbed.models.encoder import encoder_of
from seedbed.models.fused import working_dtype
from seedbed.models.losses import negative_sampling

SETUP = Setup(
    modalities=("text",),
    trunks=("bag",),
    tokenizer="word",
    items="chunks",
    seq_len=64,
    batch_size=32,
    optimizer="adagrad",
    lr=0.2,
    weight_decay=0.0,
)


BLOCK = 32


class Config(Section):
    """What counts as context, and against what."""

    window: Count = Field(10, description="words to each side; the weight falls in a line to 1 / window")
    negatives: Positive = Field(5.0, description="negatives that each true pair is weighed against")
    shared: Count = Field(256, description="words drawn as negatives for a whole batch")
    frequent: Positive = Field(1e-3, description="words more frequent than this share of the text are thinned out")
    power: Annotated[float, Field(ge=0.0, le=1.0)] = Field(0.75, description="negatives are drawn by count to this")


def views(batch: Batch, config: Config, at: Moment) -> Views:
    """The words, a draw for each that decides whether it is thinned out, and the draws of the shared negatives."""
    tokens_BN, keep_BN = batch.inputs["text"]
    return {
        "tokens_BN": tokens_BN,
        "keep_BN": keep_BN,
        "luck_BN": at.keys.uniform("thin", tokens_BN.shape[1]),
        "luck_M": at.keys.shared("negatives", config.shared),
    }


class _Blocks(NamedTuple):
    """A batch after thinning, as one stream of words cut into blocks of centres, each with all its neighbours.

    B counts blocks here, N the centres of a block, M its neighbours, V the different words of the batch.
    """

    words_V: Tensor
    centres_BN: Tensor
    neighbours_BM: Tensor
    weight_BNM: Tensor


class _Rows(torch.autograd.Function):
    """Repeated reading of rows: read in the precision of matrix products, gradients added up in float32.

    The ordinary lookup either reads float32 and converts each repetition, or adds in bfloat16, which loses gradients.
    """

    @staticmethod
    def forward(ctx: Any, table_VD: Tensor, which: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(which)
        ctx.num_rows = len(table_VD)
        return F.embedding(which, table_VD.to(dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (which,) = ctx.saved_tensors
        grad_ND = grad.flatten(0, -2).float()
        return grad_ND.new_zeros(ctx.num_rows, grad.shape[-1]).index_add_(0, which.flatten(), grad_ND), None, None


@final
class SkipGram(Learner):
    """Skip-gram with negative sampling; the encoder holds the input vectors, the learner the output vectors.

    Units: true pairs, weighted by their distance.
    Chance: for one score a word, the same in every context, each at its best: ln(p / (k q)), where p is the frequency
        after thinning, q that of negatives and k their number.
    Source: Mikolov et al. 2013, Distributed representations of words and phrases, equation 4 and section 2.3.
    """

    share_V: Tensor
    cumulated_V: Tensor

    def __init__(self, config: Config, encoders: nn.ModuleDict, facts: Facts) -> None:
        super().__init__()
        self.config = config
        self.encoders = encoders
        table = encoder_of(encoders, "text").table()
        self.output = nn.Embedding(table.num_embeddings, table.embedding_dim, sparse=True)
        nn.init.zeros_(self.output.weight)
        counts_V = torch.tensor(facts.token_counts, dtype=torch.float64)
        counts_V[:NUM_SPECIAL] = 0
        frequency_V = counts_V / counts_V.sum()
        ratio_V = config.frequent / frequency_V
        share_V = torch.where(counts_V > 0, (ratio_V.sqrt() + ratio_V).clamp(max=1), 0)
        drawn_V = torch.where(counts_V > 0, counts_V**config.power, 0)
        drawn_V /= drawn_V.sum()
        self.register_buffer("share_V", share_V.float(), persistent=False)
        self.register_buffer("cumulated_V", drawn_V.cumsum(0), persistent=False)
        thinned_V = frequency_V * share_V
        self._chance = _best_constant_loss(thinned_V / thinned_V.sum(), config.negatives * drawn_V)

    def forward(self, views: Views, player: str) -> Loss:
        blocks = self._blocks(*self._thin(views))
        pairs_BN = blocks.weight_BNM.sum(2)
        table = encoder_of(self.encoders, "text").table()
        inputs_VD, outputs_VD = table(blocks.words_V), self.output(blocks.words_V)
        dtype = working_dtype(inputs_VD)
        centres_BND = _Rows.apply(inputs_VD, blocks.centres_BN, dtype)
        neighbours_BMD = _Rows.apply(outputs_VD, blocks.neighbours_BM, dtype)
        positive_BNM = torch.bmm(centres_BND, neighbours_BMD.transpose(1, 2)).float()
        negative_VM = F.linear(inputs_VD, self.output(self._negatives(views["luck_M"]))).float()
        pairs_V = inputs_VD.new_zeros(len(inputs_VD)).index_add_(0, blocks.centres_BN.flatten(), pairs_BN.flatten())
        each = self.config.negatives / self.config.shared
        total = negative_sampling(positive_BNM, negative_VM, blocks.weight_BNM, each * pairs_V[:, None])
        return Loss(total, pairs_BN.sum(), {})

    def _thin(self, views: Views) -> tuple[Tensor, Tensor]:
        """The words left after frequent ones were thinned out, as one stream, and which example each is from."""
        keep_BN = views["keep_BN"] & (views["luck_BN"] < self.share_V[views["tokens_BN"]])
        return views["tokens_BN"][keep_BN], keep_BN.nonzero()[:, 0]

    def _blocks(self, tokens_N: Tensor, example_N: Tensor) -> _Blocks:
        """Pairs of one example, up to `window` words apart after thinning, so that a window reaches further.

        The weight is 1 beside one another and falls to 1 / window. Cutting the stream into blocks makes dense matrix
        products without padding each example; where the cuts fall changes no pair.
        """
        window = self.config.window
        words_V, which_N = torch.unique(tokens_N, return_inverse=True)
        # Where nothing is left, one block of places that belong to nobody keeps the shapes whole.
        words_V = words_V if len(words_V) else words_V.new_zeros(1)
        rest = -len(which_N) % BLOCK if len(which_N) else BLOCK
        around = (window, window + rest)
        centres_BN = F.pad(which_N, (0, rest)).unflatten(0, (-1, BLOCK))
        neighbours_BM = F.pad(which_N, around).unfold(0, BLOCK + 2 * window, BLOCK)
        owner_BN = F.pad(example_N, (0, rest), value=-1).unflatten(0, (-1, BLOCK))
        owner_BM = F.pad(example_N, around, value=-2).unfold(0, BLOCK + 2 * window, BLOCK)
        places_M = torch.arange(BLOCK + 2 * window, device=tokens_N.device)
        distance_NM = (places_M[:BLOCK, None] + window - places_M).abs()
        near_NM = ((window + 1 - distance_NM) / window).clamp(min=0) * (distance_NM > 0)
        weight_BNM = near_NM * (owner_BN[:, :, None] == owner_BM[:, None, :])
        return _Blocks(words_V, centres_BN, neighbours_BM, weight_BNM)

    def _negatives(self, luck_M: Tensor) -> Tensor:
        return torch.searchsorted(self.cumulated_V, luck_M.double(), right=True).clamp(max=len(self.cumulated_V) - 1)

    def zero_head_(self, player: str) -> None:
        nn.init.zeros_(self.output.weight)

    def at_zero(self, views: Views, player: str) -> float:
        return (1 + self.config.negatives) * math.log(2)

    def chance(self, views: Views, player: str) -> float:
        return self._chance


def _best_constant_loss(true_V: Tensor, false_V: Tensor) -> float:
    """Least logistic loss with one score a word, where words are true and false with these frequencies."""
    both_V = (true_V + false_V).clamp(min=torch.finfo(torch.float64).tiny)
    return float(-(torch.xlogy(true_V, true_V / both_V) + torch.xlogy(false_V, false_V / both_V)).sum())
