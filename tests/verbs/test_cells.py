"""Items that are cut, answers that survive, and what a damaged one costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedbed.core.runs import Run
from seedbed.core.settings import Settings
from seedbed.core.types import silent
from seedbed.data.store import Prepared, prepare
from seedbed.verbs.cells import Answer, Cell, Field, field_of, store, stored
from tests.data.making import cleaned_of, settings_with
from tests.verbs.making import reviews


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """80 reviews to learn from; 60 to score, the bad ones first."""
    train, test = reviews(80), sorted(reviews(60, 1), key=lambda row: row[1])
    rows = [*train, *test]
    cleaned = cleaned_of([text for text, _ in rows], [label for _, label in rows], ["train"] * 80 + ["test"] * 60)
    return prepare(cleaned, settings_with(validation_share=0.0), "word", tmp_path_factory.mktemp("cells"), silent)


def test_fewer_items_are_drawn_by_content_and_not_the_first_rows(prepared: Prepared) -> None:
    field = field_of(prepared, Settings())
    some, more = field.with_items(20), field.with_items(40)
    assert len(some.items) == 20 and set(some.items) < set(more.items) < set(field.items)
    assert np.all(np.diff(some.items) > 0)
    # The rows stand sorted by label: the first twenty would all be of one class.
    assert 5 <= (prepared.labels[some.items] == 0).sum() <= 15
    mixed = Field(prepared, field.pool, field.items[::-1], 0, field.seed)
    assert np.array_equal(mixed.with_items(20).items, some.items)
    assert field.with_items(60) is field


def test_labels_that_came_later_are_learnt_from_in_every_fold_and_never_scored(tmp_path: Path) -> None:
    rows, out = reviews(200), tmp_path / "out"
    texts = [text for text, _ in rows]

    def labelled(count: int) -> Prepared:
        labels = [label if row < count else None for row, (_, label) in enumerate(rows)]
        return prepare(cleaned_of(texts, labels), settings_with(validation_share=0.0), "word", out, silent)

    before, after = field_of(labelled(40), Settings()), field_of(labelled(70), Settings())
    assert len(before.pool) == 40 and not len(before.also)
    assert np.array_equal(after.items, before.items) and after.also.tolist() == list(range(40, 70))
    assert after.most() == before.most() + 30
    for cell in after.cells(after.most(), 2):
        assert set(after.also.tolist()) <= set(cell.train.tolist()) and not set(cell.train.tolist()) & set(cell.test)
    assert all(len(cell.train) == 20 for cell in after.cells(20, 1))


def test_a_damaged_answer_is_said_and_not_used(tmp_path: Path) -> None:
    run, told = Run(tmp_path), []
    cell = Cell(4, 0, 0, np.arange(4), np.arange(4, 7))

    def say(event: str, **fields: Any) -> None:
        told.append((event, fields))

    assert stored(run, cell, "an arm", say) is None and not told
    store(run, cell, "an arm", Answer(np.full((3, 2), 0.5), 0.75, 2.0))
    kept = stored(run, cell, "an arm", say)
    assert (
        kept is not None
        and (kept.selection, kept.seconds) == (0.75, 2.0)
        and kept.answers_IC.tolist() == [[0.5] * 2] * 3
    )
    assert stored(run, Cell(4, 0, 0, np.arange(4), np.arange(5, 8)), "an arm", say) is None and not told
    (path,) = (tmp_path / "eval" / "cells").iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert stored(run, cell, "an arm", say) is None
    ((event, fields),) = told
    assert event == "damaged" and fields["path"] == str(path) and "made again" in fields["why"]
