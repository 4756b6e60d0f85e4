"""Layers, origins, problems told at once, and the round trip through TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedbed.core.config import dump_toml, leaves, load_toml, merge, parse_set, resolve, validate_options
from seedbed.core.errors import UsageError
from seedbed.core.settings import Count, Section, Settings


def test_defaults_alone() -> None:
    resolved = resolve([])
    assert resolved.settings == Settings()
    assert set(resolved.origins.values()) == {"default"}
    assert set(resolved.origins) == {".".join(path) for path, _ in leaves(Settings().model_dump())}
    assert len(resolved.origins) > 50


def test_later_layers_win_and_leave_their_origin() -> None:
    file = ("file run.toml", {"seed": 3, "size": "nano", "pretrain": {"lr": 0.01, "clip": 2.0}})
    flags = ("flag", {"seed": 4, "minutes": None, "pretrain": {"lr": 0.02}})
    resolved = resolve([file, flags])
    assert (resolved.settings.seed, resolved.settings.size) == (4, "nano")
    assert (resolved.settings.pretrain.lr, resolved.settings.pretrain.clip) == (0.02, 2.0)
    assert resolved.origins["seed"] == "flag"
    assert resolved.origins["size"] == "file run.toml"
    assert resolved.origins["pretrain.lr"] == "flag"
    assert resolved.origins["pretrain.clip"] == "file run.toml"
    assert resolved.origins["minutes"] == "default"


def test_sections_keep_the_defaults_that_differ() -> None:
    resolved = resolve([("flag", {"finetune": {"lr": 0.1}})])
    assert resolved.settings.finetune.patience == Settings().finetune.patience == 5
    assert resolved.settings.pretrain.patience == 0


def test_planner_fills_only_what_was_left_open() -> None:
    user = ("flag", {"size": "auto", "objective": "masked_lm", "pretrain": {"batch_size": 32}})
    plan = ("planner: fits 30 minutes", {"size": "micro", "objective": "skip_gram", "threads": 2})
    more = ("planner: from SETUP", {"pretrain": {"batch_size": 64, "lr": 1e-3}})
    resolved = resolve([user, plan, more])
    settings = resolved.settings
    assert (settings.size, settings.objective, settings.threads) == ("micro", "masked_lm", 2)
    assert (settings.pretrain.batch_size, settings.pretrain.lr) == (32, 1e-3)
    assert resolved.origins["size"] == "planner: fits 30 minutes"
    assert resolved.origins["objective"] == "flag"
    assert resolved.origins["pretrain.lr"] == "planner: from SETUP"


def test_one_unknown_key_says_where_and_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        resolve([("file run.toml", {"pretrain": {"optimiser": "muon"}})])
    assert caught.value.what == '"pretrain.optimiser" is not a known key (file run.toml).'
    assert caught.value.cause == 'Did you mean "pretrain.optimizer"?'
    assert "optimizer, lr, weight_decay" in caught.value.found


def test_a_key_at_the_wrong_level_is_found_where_it_belongs() -> None:
    with pytest.raises(UsageError) as caught:
        resolve([("flag", {"lr": 0.1})])
    assert caught.value.cause == 'Did you mean "pretrain.lr" or "finetune.lr"?'


def test_a_bad_value_says_key_value_and_what_is_allowed() -> None:
    with pytest.raises(UsageError) as caught:
        resolve([("flag", {"data": {"tokenizer": "huge"}})])
    assert caught.value.what == '"data.tokenizer" is "huge" (flag).'
    assert "'auto', 'bpe', 'char'" in caught.value.found


def test_all_problems_at_once() -> None:
    layers = [
        ("file a.toml", {"sede": 1, "prove": {"draws": 1}}),
        ("flag", {"minutes": -5, "steps": True, "data": 3, "pretrain": {"lr": "fast"}}),
    ]
    with pytest.raises(UsageError) as caught:
        resolve(layers)
    assert caught.value.what == "The configuration has 6 problems."
    for part in (
        '"sede" is not a known key (file a.toml).',
        'Did you mean "seed"?',
        '"prove.draws" is 1 (file a.toml)',
        '"minutes" is -5 (flag). Allowed: greater than 0.',
        '"steps" is true (flag).',
        '"data" is 3 (flag)',
        '"pretrain.lr" is "fast" (flag)',
    ):
        assert part in caught.value.found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("pretrain.lr=3e-4", {"pretrain": {"lr": 3e-4}}),
        ("size=nano", {"size": "nano"}),
        ("label=a = b", {"label": "a = b"}),
        ('label="1"', {"label": "1"}),
        ("prove.labels=[50, 200]", {"prove": {"labels": [50, 200]}}),
        ("data.transductive=true", {"data": {"transductive": True}}),
        ("label=1\nseed = 5", {"label": "1\nseed = 5"}),
        ("label=", {"label": ""}),
        ("objective_options.rate=0.5", {"objective_options": {"rate": 0.5}}),
    ],
)
def test_parse_set(text: str, value: dict[str, Any]) -> None:
    assert parse_set([text]) == value


def test_parse_set_tells_all_mistakes() -> None:
    with pytest.raises(UsageError, match="2 problems") as caught:
        parse_set(["seed", "seed=1", "pretrain..lr=2"])
    assert '"seed" is not KEY=VALUE' in caught.value.found
    with pytest.raises(UsageError, match="contradicts"):
        parse_set(["data=1", "data.text=x"])
    with pytest.raises(UsageError, match="contradicts"):
        parse_set(["data.text=x", "data=1"])


def test_merge_keeps_both_and_ignores_none() -> None:
    assert merge({"a": {"x": 1}, "b": 2}, {"a": {"y": 3}, "b": None}) == {"a": {"x": 1, "y": 3}, "b": 2}
    assert merge({"a": 1}, {"a": {"y": 3}}) == {"a": {"y": 3}}


def test_round_trip_with_origins(tmp_path: Path) -> None:
    flags = {
        "minutes": 30,
        "label": 'a "quoted"\ncolumn # not a comment',
        "pretrain": {"freeze": ["stem.*"]},
        "prove": {"labels": [50, 200]},
        "objective_options": {"rate": 0.3, "nested": {"a.b": [1, {"c": 2}]}, "wide key": True},
    }
    resolved = resolve([("flag", flags), ("planner: two\nlines", {"size": "nano"})])
    text = dump_toml(resolved)
    assert "minutes = 30.0  # flag" in text
    assert 'size = "nano"  # planner: two lines' in text
    assert "# steps is not set (default)" in text
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    again = resolve([("file config.toml", load_toml(path))])
    assert again.settings == resolved.settings
    assert again.origins["size"] == again.origins["seed"] == "file config.toml"
    assert again.origins["steps"] == "default"


SCALARS = st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False), st.text(max_size=20))


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=4))
def test_round_trip_of_any_options(options: dict[str, Any]) -> None:
    resolved = resolve([("flag", {"task_options": options})])
    again = resolve([("file", tomllib.loads(dump_toml(resolved)))])
    assert again.settings == resolved.settings


def test_missing_file_offers_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("seed = 1")
    with pytest.raises(UsageError, match="no such configuration file") as caught:
        load_toml(tmp_path / "recipes.toml")
    assert caught.value.cause == 'Did you mean "recipe.toml"?'


def test_broken_toml_says_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("seed = 1\nsize = nano\n")
    with pytest.raises(UsageError) as caught:
        load_toml(path)
    assert caught.value.what == f"{path}:2:11: this is not TOML."
    path.write_bytes(b"label = '\xff'")
    with pytest.raises(UsageError, match="cannot be read"):
        load_toml(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_toml(tmp_path)


class Config(Section):
    rate: float = 0.3
    width: Count = 4


def test_validate_options() -> None:
    assert validate_options(Config, {"rate": 0.5}, "objective_options") == Config(rate=0.5)
    with pytest.raises(UsageError) as caught:
        validate_options(Config, {"rat": 0.5}, "objective_options")
    assert caught.value.what == '"objective_options.rat" is not a known key.'
    assert caught.value.cause == 'Did you mean "objective_options.rate"?'
    assert "[objective_options]" in caught.value.fix
    with pytest.raises(UsageError, match="2 problems"):
        validate_options(Config, {"rate": "x", "width": 0}, "objective_options")
