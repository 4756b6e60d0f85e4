"""Stems: from a reader's values to what the trunk takes, and back from states to one vector an example.

`tokens`, `words` and `tfidf` take tokens_BN (int64) with keep_BN; the others take pixels_BCYX with keep_B: uint8 in
0..255, or floating point already scaled to 0..1 (what augmentation and generators make). All make positions x_BND but
`pixels`, `fine` and `coarse`, which make a map x_BDYX for convolutional trunks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedbed.core.tokens import NUM_SPECIAL
from seedbed.core.types import Facts

TOKEN_STD = 0.02
MAX_PATCHES = 64
# Images up to so many pixels a side keep every pixel in the first convolution.
SMALL_IMAGE = 64


class Stem(nn.Module, ABC):
    """What an encoder needs of a stem."""

    @staticmethod
    def suits(facts: Facts) -> bool:
        """Whether it is the right one for these data; asked where a trunk can stand on several."""
        return True

    @abstractmethod
    def forward(self, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embedded positions x_BND, or a map x_BDYX, and keep_BN: None where nothing can be padded."""

    @abstractmethod
    def pool(self, states_BND: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        """One vector an example, pooled_BD."""


class Tokens(Stem):
    """Token embeddings, pooled by the mean over real positions.

    Initialisation: normal with standard deviation 0.02. The head is tied to this table, so the first logits are small
    (0.02 sqrt(width)) and the first loss is about ln V.
    """

    weight_V: Tensor

    def __init__(self, facts: Facts, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(facts.vocab_size, width)
        nn.init.normal_(self.embedding.weight, std=TOKEN_STD)
        self.register_buffer("weight_V", torch.ones(facts.vocab_size), persistent=False)

    def forward(self, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
        """Look tokens_BN up."""
        return self.embedding(values), keep

    def pool(self, states_BND: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        """Mean over real positions, weighted by the token's weight; zero where all weights are."""
        weight_BN = self.weight_V[values] * keep
        # Not a matrix product: autocast would round the mean of a long text to bfloat16.
        total_BD = (states_BND * weight_BN[:, :, None]).sum(1)
        return total_BD / weight_BN.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


class Words(Tokens):
    """Word vectors with sparse gradients, pooled by inverse document frequency; special tokens weigh nothing.

    Initialisation: uniform within 1 / (2 width), as word2vec does.
    """

    def __init__(self, facts: Facts, width: int) -> None:
        super().__init__(facts, width)
        self.embedding = nn.Embedding(facts.vocab_size, width, sparse=True)
        nn.init.uniform_(self.embedding.weight, -0.5 / width, 0.5 / width)
        self.weight_V.copy_(inverse_document_frequency(facts))


class Patches(Stem):
    """Square patches by a strided convolution, a class token before them, learned positions; pooled: the class token.

    Initialisation: the projection has variance 1 / fan-in, class token and positions standard deviation 0.02.
    """

    def __init__(self, facts: Facts, width: int) -> None:
        super().__init__()
        channels, rows, columns = facts.image_shape
        self.patch = patch_size(rows, columns)
        self.normalise = Normalise(facts)
        self.projection = nn.Conv2d(channels, width, self.patch, stride=self.patch)
        num_patches = (rows // self.patch) * (columns // self.patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, num_patches + 1, width))
        nn.init.normal_(self.projection.weight, std=(channels * self.patch**2) ** -0.5)
        if self.projection.bias is not None:
            nn.init.zeros_(self.projection.bias)
        nn.init.normal_(self.class_token, std=TOKEN_STD)
        nn.init.normal_(self.positions, std=TOKEN_STD)

    def forward(self, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
        """Project the patches of pixels_BCYX."""
        patches_BND = self.projection(self.normalise(values)).flatten(2).transpose(1, 2)
        class_B1D = self.class_token.expand(values.shape[0], -1, -1)  # len() would fix the size of an exported batch
        return torch.cat((class_B1D, patches_BND), dim=1) + self.positions, None

    def pool(self, states_BND: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        """The state of the class token."""
        return states_BND[:, 0]


class Vector(Stem):
    """An example as one vector of values, projected to a single position.

    Initialisation: variance 1 / fan-in, zero bias; values are about 1 in size, so that what is projected is, too.
    """

    def __init__(self, num_values: int, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(num_values, width)
        nn.init.normal_(self.projection.weight, std=self.projection.in_features**-0.5)
        nn.init.zeros_(self.projection.bias)

    @abstractmethod
    def vector(self, values: Tensor, keep: Tensor) -> Tensor:
        """The values of each example, vector_BF, with a mean square of about 1."""

    @abstractmethod
    def shares(self, values: Tensor, keep: Tensor) -> Tensor:
        """The same between 0 and 1, shares_BF, to be compared by cross-entropy."""

    def forward(self, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
        """Project the vectors."""
        return self.projection(self.vector(values, keep))[:, None], None

    def pool(self, states_BND: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        """The one state there is."""
        return states_BND[:, 0]


class Flat(Vector):
    """All pixels of an image, or all values of a vector."""

    def __init__(self, facts: Facts, width: int) -> None:
        super().__init__(math.prod(facts.image_shape), width)
        self.normalise = Normalise(facts)

    def vector(self, values: Tensor, keep: Tensor) -> Tensor:
        """Values with mean 0 and deviation 1 per channel."""
        return self.normalise(values).flatten(1)

    def shares(self, values: Tensor, keep: Tensor) -> Tensor:
        """Pixels in 0..1; the values of vectors have no bounds."""
        return unit(values).flatten(1)


class TfIdf(Vector):
    """How often each token occurs in a text, in logarithm, times how rare it is among the training texts.

    Rows have unit length before they are scaled; special tokens, the unknown one among them, count nothing. Equal to
    scikit-learn's TfidfVectorizer with sublinear_tf.
    """

    idf_V: Tensor

    def __init__(self, facts: Facts, width: int) -> None:
        super().__init__(facts.vocab_size, width)
        idf_V = 1 + inverse_document_frequency(facts)
        idf_V[:NUM_SPECIAL] = 0
        self.register_buffer("idf_V", idf_V, persistent=False)

    def vector(self, values: Tensor, keep: Tensor) -> Tensor:
        """Shares as long as a vector of standardised values would be."""
        return self.shares(values, keep) * len(self.idf_V) ** 0.5

    def shares(self, values: Tensor, keep: Tensor) -> Tensor:
        """Weights of unit length, all zero where no token is known."""
        counts_BV = self.idf_V.new_zeros((values.shape[0], self.idf_V.shape[0]))
        counts_BV.scatter_add_(1, values, keep.to(torch.float32))
        weight_BV = torch.where(counts_BV > 0, 1 + counts_BV.clamp_min(1).log(), 0) * self.idf_V
        return weight_BV / weight_BV.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


class Pixels(Stem):
    """One 3x3 convolution that keeps every pixel, made into a map; pooled: the mean over the map's positions."""

    kernel, stride = 3, 1

    def __init__(self, facts: Facts, width: int) -> None:
        super().__init__()
        self.normalise = Normalise(facts)
        channels, _, _ = facts.image_shape
        self.convolution = nn.Conv2d(channels, width, self.kernel, self.stride, self.kernel // 2, bias=False)
        start_convolution_(self.convolution)

    def forward(self, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
        """Convolve pixels_BCYX."""
        # Channels innermost: all convolutions after this one follow, 1.3 times faster on a processor in bfloat16.
        x_BDYX = self.convolution(self.normalise(values))
        return x_BDYX.contiguous(memory_format=torch.channels_last), None

    def pool(self, states_BND: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        """The mean over all positions."""
        return states_BND.float().mean(1)


class Fine(Pixels):
    """A 3x3 convolution, batch norm and ReLU: the stem of VGG, and of a ResNet for small images.

    Source: He et al. 2016, Deep residual learning, section 4.2.
    """

    def __init__(self, facts: Facts, width: int) -> None:
        super().__init__(facts, width)
        self.norm = nn.BatchNorm2d(width)

    @staticmethod
    def suits(facts: Facts) -> bool:
        """Images of at most 64 pixels a side."""
        return max(facts.image_shape[1:]) <= SMALL_IMAGE

    def forward(self, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
        """Convolve pixels_BCYX and normalise over the batch."""
        x_BDYX, _ = super().forward(values, keep)
        return F.relu(self.norm(x_BDYX)), None


class Coarse(Fine):
    """A 7x7 convolution of stride 2, batch norm, ReLU and pooling of stride 2: a quarter of the image's side is left.

    Source: He et al. 2016, Deep residual learning, table 1.
    """

    kernel, stride = 7, 2

    @staticmethod
    def suits(facts: Facts) -> bool:
        """Images of any size."""
        return True

    def forward(self, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
        """Convolve pixels_BCYX, normalise over the batch and keep the largest of every 3x3."""
        x_BDYX, _ = super().forward(values, keep)
        return F.max_pool2d(x_BDYX, 3, 2, 1), None


class Raw(Stem):
    """Values as they are, for a trunk that embeds them itself; pooled by the mean over real positions."""

    def __init__(self, facts: Facts, width: int) -> None:
        super().__init__()

    def forward(self, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
        """The values, and keep_BN where positions can be padded."""
        return values, keep if keep.dim() == 2 else None

    def pool(self, states_BND: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        """Mean over real positions of a text, over all of an image."""
        if keep.dim() != 2:
            return states_BND.mean(1)
        return (states_BND * keep[:, :, None]).sum(1) / keep.sum(1, keepdim=True).clamp_min(1)


class RawFirst(Raw):
    """The same, pooled by the state of the first position, where a class token stands."""

    def pool(self, states_BND: Tensor, values: Tensor, keep: Tensor) -> Tensor:
        """The first state."""
        return states_BND[:, 0]


class Normalise(nn.Module):
    """Pixels or values to zero mean and unit deviation per channel, by the counts of the training rows."""

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        mean_C11 = torch.tensor(facts.channel_mean, dtype=torch.float32)[:, None, None]
        # A channel that never changes would otherwise be divided by zero: one grey level is the least step.
        least = 1 / 255 if facts.modality == "image" else torch.finfo(torch.float32).tiny
        std_C11 = torch.tensor(facts.channel_std, dtype=torch.float32)[:, None, None].clamp_min(least)
        self.register_buffer("mean_C11", mean_C11, persistent=False)
        self.register_buffer("std_C11", std_C11, persistent=False)

    def forward(self, pixels_BCYX: Tensor) -> Tensor:
        """Map uint8 in 0..255, or floating point in 0..1, to float32."""
        return (unit(pixels_BCYX) - self.mean_C11) / self.std_C11


def unit(pixels_BCYX: Tensor) -> Tensor:
    """Pixels in 0..1: uint8 in 0..255 is divided, floating point is so already."""
    return pixels_BCYX / 255 if pixels_BCYX.dtype == torch.uint8 else pixels_BCYX


def inverse_document_frequency(facts: Facts) -> Tensor:
    """ln((1 + documents) / (1 + documents with the token)), at least 0.001; 0 for special tokens."""
    found_V = torch.tensor(facts.document_counts, dtype=torch.float32)
    idf_V = torch.log((1 + facts.num_documents) / (1 + found_V)).clamp_min(1e-3)
    idf_V[:NUM_SPECIAL] = 0
    return idf_V


def patch_size(rows: int, columns: int) -> int:
    """The smallest patch that cuts an image into at most 64, preferring one that leaves no border over."""
    few = [p for p in range(2, min(rows, columns) + 1) if (rows // p) * (columns // p) <= MAX_PATCHES]
    if not few:
        return 1
    return next((p for p in few if p <= 2 * few[0] and rows % p == columns % p == 0), few[0])


def start_convolution_(layer: nn.Conv2d) -> None:
    """Set weights to variance 2 / fan-out, which keeps the scale of gradients through ReLU.

    Source: He et al. 2015, Delving deep into rectifiers, equation 14.
    """
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


BY_NAME: dict[str, type[Tokens] | type[Patches] | type[Flat] | type[TfIdf] | type[Pixels] | type[Raw]] = {
    "tokens": Tokens,
    "words": Words,
    "patches": Patches,
    "flat": Flat,
    "tfidf": TfIdf,
    "pixels": Pixels,
    "fine": Fine,
    "coarse": Coarse,
    "raw_mean": Raw,
    "raw_first": RawFirst,
}
