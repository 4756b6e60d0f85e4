"""Build the reference of every public function and class from their docstrings: one folder of pages, no network.

python docs/build_reference.py FOLDER
"""

from __future__ import annotations

import argparse
import pkgutil
import warnings
from pathlib import Path

import pdoc
import pdoc.render

import seedbed


def build(folder: Path) -> None:
    """Write the pages of the package and of all its modules."""
    # Verbs are fetched when first used; here all of them are.
    for verb in seedbed.VERBS:
        getattr(seedbed, verb)
    pdoc.render.configure(docformat="google", search=True)
    with warnings.catch_warnings():
        # Names imported for annotations alone are not there at run time.
        warnings.filterwarnings("ignore", message="Error parsing type annotation")
        parts = [f"seedbed.{part.name}" for part in pkgutil.iter_modules(seedbed.__path__)]
        pdoc.pdoc("seedbed", *parts, output_directory=folder)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    build(parser.parse_args().folder)


if __name__ == "__main__":
    main()
