"""Classic machine learning on the same labels, as strong as is honest and cheap: a weak baseline would flatter us.

    classic = Classic("lsa", prepared, pool)              # an unsupervised part is fitted when first needed, once
    probs_IC, selection = classic.answer(train_rows, train_y, test_rows)

Text: `tfidf` (presence of word 1-2-grams and of character 3-5-grams, weighted by idf over the labelled rows) and `lsa`
(presence of word 1-2-grams in all training text, labelled or not, weighted by idf and squeezed to 300 directions).
Images: `pixels` (logistic regression), `knn` (cosine distance), `svm` (RBF kernel). What a row looks like to an arm is
computed once and kept, so that a further draw costs only its fit. All linear arms end in `probes.logistic_probe`, as
the probes of encoders do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from sklearn.svm import SVC
from sklearn.utils.extmath import randomized_svd

from seedbed.data.store import Prepared
from seedbed.evaluate.probes import ENOUGH, MANY, Features, Fit, choose, logistic_probe, scaled, strongest

Answer = tuple[np.ndarray, float]
Render = Callable[[np.ndarray], Features]

# Words; of scripts that do not part them, single characters, so that pairs of them stand for words.
WORDS = r"[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])\w)+"
HASHED = 2**22
OFTEN = 3000
# 40,000 documents gave 0.2 points more than 20,000 on IMDb, for twice the time.
LSA_DOCUMENTS, LSA_TERMS, LSA_WIDTH = 20_000, 50_000, 300
LARGEST_SIDE = 32
MEAN_IMAGES = 5000


def classic_arms(modality: str) -> tuple[str, ...]:
    """Names of the classic arms of a modality."""
    return {"text": ("tfidf", "lsa"), "image": ("pixels", "knn", "svm")}[modality]


def majority(train_y: np.ndarray, num_items: int, num_classes: int) -> Answer:
    """Answer the most frequent class always, with the frequencies as probabilities.

    Returns:
        probs_IC, and the share of the most frequent class among the training labels.
    """
    shares_C = np.bincount(train_y, minlength=num_classes) / len(train_y)
    return np.tile(shares_C, (num_items, 1)), float(shares_C.max())


class Classic:
    """One classic arm on one prepared data set.

    Args:
        name: one of `classic_arms(modality)`.
        prepared: the data.
        pool: rows an unsupervised part may see: training rows, labelled or not, never test rows.
        seed: of the folds, and of the sketch in LSA.
    """

    def __init__(self, name: str, prepared: Prepared, pool: np.ndarray, seed: int = 0) -> None:
        self.name, self.prepared, self.pool, self.seed = name, prepared, pool, seed
        self._place: dict[int, int] = {}
        self._kept: list[Features] = []

    def answer(self, train_rows: np.ndarray, train_y: np.ndarray, test_rows: np.ndarray) -> Answer:
        """Learn from labelled rows and answer for others.

        Returns:
            probs_IC, and the accuracy estimated on held-out folds of the training labels.
        """
        arm = {"tfidf": _tfidf, "knn": _knn, "svm": _svm}.get(self.name, logistic_probe)
        num_classes = len(self.prepared.facts.classes)
        return arm(self._features(train_rows), train_y, self._features(test_rows), num_classes, self.seed)

    def _features(self, rows: np.ndarray) -> Features:
        new = [row for row in dict.fromkeys(rows.tolist()) if row not in self._place]
        if new:
            block = self._render(np.array(new))
            start = len(self._place)
            self._place |= {row: start + index for index, row in enumerate(new)}
            stack = sp.vstack if sp.issparse(block) else np.concatenate
            self._kept = [stack([*self._kept, block])]
        return self._kept[0][[self._place[row] for row in rows.tolist()]]

    @functools.cached_property
    def _render(self) -> Render:
        """What turns rows of the data into features, its unsupervised part fitted."""
        raw: Callable[[np.ndarray], Any] = self.prepared.raw
        if self.name == "tfidf":
            return lambda rows: _terms(raw(rows))
        if self.name == "lsa":
            project = _lsa(raw(_thinned(self.pool, LSA_DOCUMENTS)), self.seed)
            return lambda rows: project(raw(rows))
        mean_F = _pixels(raw(_thinned(self.pool, MEAN_IMAGES))).mean(axis=0)
        return lambda rows: _pixels(raw(rows)) - mean_F


def _thinned(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]


def _terms(texts: Sequence[str]) -> Features:
    """Presence of hashed terms, (rows, 2 x HASHED): word 1-2-grams left, character 3-5-grams inside words right."""
    words = _hashing(analyzer="word", token_pattern=WORDS, ngram_range=(1, 2)).transform(texts)
    # Characters of a word are cut up once, however many rows it is in: 20 times faster, the same terms.
    rows = [sorted(set(text.lower().split())) for text in texts]
    vocabulary: dict[str, int] = {"": 0}
    columns = np.array([vocabulary.setdefault(word, len(vocabulary)) for row in rows for word in row], dtype=np.int64)
    starts = np.cumsum([0, *map(len, rows)])
    has = sp.csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(len(rows), len(vocabulary)))
    characters = has @ _hashing(analyzer="char_wb", ngram_range=(3, 5)).transform(list(vocabulary))
    characters.data[:] = 1.0
    return sp.hstack([words, characters], format="csr")


def _hashing(**how: object) -> HashingVectorizer:
    return HashingVectorizer(n_features=HASHED, binary=True, norm=None, alternate_sign=False, dtype=np.float32, **how)


def _tfidf(train: Features, train_y: np.ndarray, test: Features, num_classes: int, seed: int) -> Answer:
    """Logistic regression on terms of the labelled rows; idf over all training text was no better (77.8 v. 77.9 %)."""
    frequency = np.bincount(train.indices, minlength=train.shape[1])
    blocks = []
    for first in (0, HASHED):
        columns = first + np.flatnonzero(frequency[first : first + HASHED] > (1 if len(train_y) > MANY else 0))
        weights = sp.diags_array(1.0 + np.log((1.0 + len(train_y)) / (1.0 + frequency[columns])))
        blocks.append([normalize(part[:, columns] @ weights) for part in (train, test)])
    train, test = (sp.hstack(parts, format="csr") for parts in zip(*blocks, strict=True))
    if len(train_y) > MANY:
        return strongest(train, train_y, test, num_classes, seed, (1.0, 10.0))
    return logistic_probe(**_rotated(train, test), train_y=train_y, num_classes=num_classes, seed=seed)


def _rotated(train: Features, test: Features) -> dict[str, np.ndarray]:
    """The rows in the space the n training rows span: a penalised linear model is the same there, and far smaller."""
    often = np.zeros(train.shape[1], dtype=bool)
    often[np.argsort(-np.bincount(train.indices, minlength=train.shape[1]))[:OFTEN]] = True

    def products(rows: Features) -> np.ndarray:
        # Terms that are in many rows make a sparse product slow, and are few enough for a dense one.
        dense = rows[:, often].toarray() @ train[:, often].toarray().T
        return np.asarray(dense + (rows[:, ~often] @ train[:, ~often].T).toarray(), dtype=np.float64)

    gram, cross = products(train), products(test)
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-9 * values[-1]
    basis = vectors[:, kept] / np.sqrt(values[kept])
    return {"train_x": gram @ basis, "test_x": cross @ basis}


def _lsa(texts: Sequence[str], seed: int) -> Callable[[Sequence[str]], np.ndarray]:
    """Fit latent semantic analysis; what returns turns texts into unit vectors.

    Directions are weighted by their singular value once more than plain LSA does, so that the strong ones speak first:
    70 v. 61, 77 v. 74, 82 v. 82 % on AG News, 55 v. 43, 66 v. 60, 74 v. 73 % on THUCNews at 50, 200, 1000 labels.
    Source: Deerwester et al., "Indexing by latent semantic analysis" (1990).
    """
    least = 5 if len(texts) >= 2000 else 2 if len(texts) >= 200 else 1
    counting = CountVectorizer(
        binary=True, ngram_range=(1, 2), token_pattern=WORDS, min_df=least, max_features=LSA_TERMS, dtype=np.float32
    )
    presence = counting.fit_transform(texts)
    frequency = np.bincount(presence.indices, minlength=presence.shape[1])
    # A term in most rows says little and would be the first direction.
    idf = np.where(frequency > len(texts) / 2, 0.0, 1.0 + np.log((1.0 + len(texts)) / (1.0 + frequency)))
    weights = sp.diags_array(idf.astype(np.float32))
    width = max(1, min(LSA_WIDTH, min(presence.shape) - 1))
    _, values, directions = randomized_svd(normalize(presence @ weights), width, n_iter=3, random_state=seed % 2**32)
    projection = (values[:, None] * directions).T

    def project(texts: Sequence[str]) -> np.ndarray:
        result: np.ndarray = normalize(normalize(counting.transform(texts) @ weights) @ projection)
        return result

    return project


def _pixels(images: np.ndarray) -> np.ndarray:
    """Flat pixels in 0..1, float32 (rows, F); sides above 32 pixels are shrunk by averaging blocks."""
    side = -(-max(images.shape[2:]) // LARGEST_SIDE)
    pixels = images.astype(np.float32) / 255.0
    if side > 1:
        rows, columns = (max(length // side, 1) * side for length in images.shape[2:])
        cut = pixels[:, :, :rows, :columns]
        blocks = cut.reshape(*cut.shape[:2], rows // side, side, columns // side, side)
        pixels = blocks.mean(axis=(3, 5))
    return pixels.reshape(len(images), -1)


def _knn(train: np.ndarray, train_y: np.ndarray, test: np.ndarray, num_classes: int, seed: int) -> Answer:
    """Nearest neighbours by cosine distance; one neighbour when labels are few."""
    train, test = normalize(train), normalize(test)

    def votes(learn: np.ndarray, x: np.ndarray, neighbours: int) -> np.ndarray:
        near = KNeighborsClassifier(min(neighbours, len(learn)), weights="distance").fit(train[learn], train_y[learn])
        probs_IC = np.zeros((len(x), num_classes))
        probs_IC[:, near.classes_] = near.predict_proba(x)
        # One imagined vote, spread over all classes: k neighbours that agree are not certain.
        return (neighbours * probs_IC + 1.0 / num_classes) / (neighbours + 1.0)

    sizes = (1, 3, 5, 10) if len(train_y) >= ENOUGH else (1,)
    return _best([functools.partial(votes, neighbours=size) for size in sizes], train, train_y, test, seed)


def _svm(train: np.ndarray, train_y: np.ndarray, test: np.ndarray, num_classes: int, seed: int) -> Answer:
    """Support vectors with an RBF kernel whose width is the typical distance from the mean."""
    train, test = scaled(train, train), scaled(train, test)

    def decide(learn: np.ndarray, x: np.ndarray, penalty: float, sharpness: float) -> np.ndarray:
        probs_IC, present = np.zeros((len(x), num_classes)), np.unique(train_y[learn])
        if len(present) == 1:
            probs_IC[:, present] = 1.0
            return probs_IC
        machine = SVC(C=penalty, gamma=0.5).fit(train[learn], train_y[learn])
        margins = machine.decision_function(x)
        margins = np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins
        heights = np.exp(sharpness * (margins - margins.max(axis=1, keepdims=True)))
        probs_IC[:, present] = heights / heights.sum(axis=1, keepdims=True)
        return probs_IC

    grid = [(1.0, 1.0), (1.0, 3.0), (10.0, 1.0), (10.0, 3.0)] if len(train_y) >= ENOUGH else [(10.0, 1.0)]
    recipes = [functools.partial(decide, penalty=penalty, sharpness=sharpness) for penalty, sharpness in grid]
    return _best(recipes, train, train_y, test, seed)


def _best(
    recipes: Sequence[Callable[[np.ndarray, np.ndarray], np.ndarray]],
    train: np.ndarray,
    train_y: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> Answer:
    """The answers of the recipe (rows to learn from, features to answer for) that cross-validates best."""

    def held(recipe: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Fit:
        return lambda learn, answer: recipe(learn, train[answer])

    best, selection = choose([held(recipe) for recipe in recipes], train_y, seed)
    return recipes[best](np.arange(len(train_y)), test), selection
