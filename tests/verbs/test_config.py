"""The configuration as a file: what it resolves to, what there is to set, and what editors check it by."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from seedbed.core.settings import Settings
from tests.verbs.making import Shell


def test_show_gives_each_value_with_its_origin(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('size = "nano"\n[pretrain]\nlr = 0.01\n')
    told = shell.ok("config", "show", "--config", tmp_path / "c.toml", "--seed", "7")
    assert 'size = "nano"  # file c.toml' in told.out and "seed = 7  # flag" in told.out
    assert tomllib.loads(told.out)["pretrain"]["lr"] == 0.01


def test_show_is_what_no_word_means(shell: Shell) -> None:
    told = shell.ok("config", "--json")
    assert told.json["summary"]["settings"]["prove"]["draws"] == 5


def test_init_writes_a_file_that_changes_nothing_and_names_everything(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "new" / "all.toml"
    shell.ok("config", "init", "--to", path, "--objective", "masked_lm", "--task", "classify")
    text = path.read_text()
    assert shell.ok("config", "show", "--config", path, "--json").json["summary"]["settings"] == Settings().model_dump(
        mode="json"
    )
    assert all(f"# {name} =" in text or f"[{name}]" in text for name in Settings.model_fields)
    assert "# rate_start =" in text.partition("[objective_options]")[2]
    assert "# head =" in text.partition("[task_options]")[2]
    unset = [line.removeprefix("# ") for line in text.splitlines() if re.match(r"# \w+ = ", line)]
    assert len(unset) >= 50
    assert all(tomllib.loads(line) for line in unset if not line.endswith("(not set)"))


def test_a_file_of_the_user_is_never_written_over(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("seed = 1\n")
    assert "exists already" in shell.refused(4, "config", "init", "--to", tmp_path / "mine.toml")
    assert (tmp_path / "mine.toml").read_text() == "seed = 1\n"


def test_the_schema_knows_every_option(shell: Shell) -> None:
    schema = json.loads(shell.ok("config", "schema").out)
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert schema["additionalProperties"] is False


def test_an_unknown_action(shell: Shell) -> None:
    assert 'Did you mean "schema"?' in shell.refused(2, "config", "shema")
