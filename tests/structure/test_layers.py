"""Imports go one way. The contract itself is in pyproject.toml; here it is run, and tried on planted faults."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.structure.sources import PACKAGE, ROOT, sources


def lint_imports(package_parent: Path) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from importlinter.cli import lint_imports;"
        f"sys.exit(lint_imports(config_filename={str(ROOT / 'pyproject.toml')!r}, no_cache=True))"
    )
    environment = {**os.environ, "PYTHONPATH": str(package_parent), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=package_parent
    )


def test_the_package_keeps_its_layers() -> None:
    done = lint_imports(ROOT / "src")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout
    folders = {source.path.relative_to(PACKAGE).parts[0] for source in sources()}
    assert len(folders) >= 11


FAULTS = {
    "an upward import": ("core/errors.py", "import seedbed.train\n"),
    "a task importing an objective": ("tasks/classify.py", "import seedbed.objectives.masked_lm\n"),
    "an objective importing another": ("objectives/causal_lm.py", "import seedbed.objectives.masked_lm\n"),
    "readers and models meeting": ("models/heads.py", "import seedbed.data\n"),
    "a folder without a layer": ("misc/__init__.py", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_import_is_found(fault: str, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "seedbed", ignore=shutil.ignore_patterns("__pycache__"))
    where, line = FAULTS[fault]
    target = tmp_path / "seedbed" / where
    target.parent.mkdir(exist_ok=True)
    with target.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}")
    assert lint_imports(tmp_path).returncode != 0


def test_importing_seedbed_or_asking_for_help_loads_no_torch() -> None:
    program = (
        "import sys, seedbed;"
        "assert 'torch' not in sys.modules, 'import seedbed loads torch';"
        "from seedbed.cli import main;"
        "sys.argv = ['seedbed', '--help'];\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code\n"
        "assert 'torch' not in sys.modules, 'seedbed --help loads torch'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "prove" in done.stdout
