"""Presence of word 1-2-grams and of character 3-5-grams, weighted by idf over the labelled rows; a linear model.

idf over all training text was no better (77.8 v. 77.9 % on IMDb). Terms are hashed, so there is no vocabulary to keep:
a fitted model is the columns it looks at with their weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from seedbed.evaluate.classic.words import WORDS
from seedbed.evaluate.linear import MANY, Features, Linear, State, fit_probe, strongest

HASHED = 2**22
OFTEN = 3000

MOST = 0  # rows the part without labels sees


def prepare(raw: Sequence[str], seed: int) -> State:
    """Nothing is learnt without labels."""
    return {}


def render(state: State, raw: Sequence[str]) -> Features:
    """Presence of hashed terms, (rows, 2 x HASHED): word 1-2-grams left, character 3-5-grams inside words right."""
    words = _hashing(analyzer="word", token_pattern=WORDS, ngram_range=(1, 2)).transform(raw)
    # Characters of a word are cut up once, however many rows it is in: 20 times faster, the same terms.
    rows = [sorted(set(text.lower().split())) for text in raw]
    vocabulary: dict[str, int] = {"": 0}
    columns = np.array([vocabulary.setdefault(word, len(vocabulary)) for row in rows for word in row], dtype=np.int64)
    starts = np.cumsum([0, *map(len, rows)])
    has = sp.csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(len(rows), len(vocabulary)))
    characters = has @ _hashing(analyzer="char_wb", ngram_range=(3, 5)).transform(list(vocabulary))
    characters.data[:] = 1.0
    return sp.hstack([words, characters], format="csr")


def _hashing(**how: object) -> HashingVectorizer:
    return HashingVectorizer(n_features=HASHED, binary=True, norm=None, alternate_sign=False, dtype=np.float32, **how)


def learn(x: Features, y: np.ndarray, num_classes: int, seed: int) -> tuple[State, float]:
    """Columns, their idf, and a linear model on them; a term of one row only is left out when labels are many."""
    frequency = np.bincount(x.indices, minlength=x.shape[1])
    columns = np.flatnonzero(frequency > (1 if len(y) > MANY else 0))
    idf = 1.0 + np.log((1.0 + len(y)) / (1.0 + frequency[columns]))
    seen = {"columns": columns, "idf": idf}
    weighed = _weighed(seen, x)
    if len(y) > MANY:
        model, selection = strongest(weighed, y, num_classes, seed, (1.0, 10.0))
    else:
        model, selection = _rotated(weighed, y, num_classes, seed)
    return {**seen, **model.state()}, selection


def respond(state: State, x: Features) -> np.ndarray:
    """Answers, float64 (I, C)."""
    return Linear.from_state(state).answers(_weighed(state, x))


def _weighed(state: State, x: Features) -> Features:
    """The terms that are looked at, weighted by idf; words and characters of a row each of unit length."""
    columns, idf = state["columns"], state["idf"]
    num_words = int(np.searchsorted(columns, HASHED))
    parts = []
    for part in (slice(0, num_words), slice(num_words, None)):
        parts.append(normalize(x[:, columns[part]] @ sp.diags_array(idf[part])))
    return sp.hstack(parts, format="csr")


def _rotated(x: Features, y: np.ndarray, num_classes: int, seed: int) -> tuple[Linear, float]:
    """Fitted in the space that the n rows span: a penalised linear model is the same there, and far smaller."""
    often = np.zeros(x.shape[1], dtype=bool)
    often[np.argsort(-np.bincount(x.indices, minlength=x.shape[1]))[:OFTEN]] = True
    # Terms that are in many rows make a sparse product slow, and are few enough for a dense one.
    dense, sparse = x[:, often].toarray(), x[:, ~often]
    gram = dense @ dense.T + (sparse @ sparse.T).toarray()
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-9 * values[-1]
    basis = vectors[:, kept] / np.sqrt(values[kept])
    model, selection = fit_probe(gram @ basis, y, num_classes, seed)
    return Linear(np.ascontiguousarray((x.T @ (basis @ model.weight_CF.T)).T), model.bias_C, model.link), selection
