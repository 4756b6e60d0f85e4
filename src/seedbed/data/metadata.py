"""Tables that name files: metadata.csv and its like, or any table with a column of files that exist."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from seedbed.core.errors import DataError, nearest
from seedbed.core.settings import Settings
from seedbed.data.columns import Chosen, choose, rows_of_table
from seedbed.data.files import Found, shown
from seedbed.data.folders import Placed
from seedbed.data.kinds import kind_of
from seedbed.data.rows import Quarantined, Unreadable, listed, number
from seedbed.data.tables import Table

METADATA = "metadata"
_FILE_COLUMN = "file_name"
_LEAST_SHARE = 0.5  # of the values of a column that must be files, for it to name files
_LEAST_DISTINCT = 0.1  # of the values of such a column must differ; a picture may have several captions
_FIRST = 100  # values looked at where each costs a look at the disk
_SHOWN = 5
Find = Callable[[str], Found | None]


class Naming(NamedTuple):
    """A table that names files.

    Attributes:
        table: itself.
        column: holds the names.
        find: the file a name means, None where there is none.
    """

    table: Table
    column: str
    find: Find


def naming_tables(tables: Sequence[Table], content: Sequence[Found], understood: list[str]) -> list[Naming]:
    """The tables among some that name files of the content.

    Args:
        tables: all there are beside it.
        content: images or texts they may name.
        understood: receives which table was taken.
    """
    index = _Index(content)
    found: list[Naming] = []
    for table in tables:
        if table.stem.lower().startswith("sample"):  # of what to hand in, with labels that are made up
            continue
        naming = _naming(table, index)
        if naming is None:
            continue
        if found and naming.column != found[0].column:
            understood.append(f'{table.name}: not used, it names files in "{naming.column}"')
            continue
        understood.append(f'{table.name}: its column "{naming.column}" names files')
        found.append(naming)
    return found


def named_elsewhere(table: Table, folder: Path, kinds: Collection[str]) -> tuple[list[Found], list[Naming]]:
    """Files that a table given alone names, relative to its folder or absolutely; none if it names none.

    Args:
        table: the only one.
        folder: it lies in.
        kinds: of files that may be meant.
    """

    def find(name: str) -> Found | None:
        found = Found(folder / name, shown(Path(name)))
        try:
            return found if kind_of(found) in kinds and found.path.is_file() else None
        except (OSError, ValueError):  # no name of a file at all
            return None

    for column, values in table.sample.items():
        if _share(values[:_FIRST], find) >= _LEAST_SHARE:
            blocks = table.blocks([column], 0)
            names = dict.fromkeys(_string(value) for block in blocks for value in block.columns[column])
            return [file for name in names if (file := find(name))], [Naming(table, column, find)]
    return [], []


def place_by_tables(
    placed: Sequence[Placed], naming: Sequence[Naming], settings: Settings, understood: list[str]
) -> tuple[list[Placed], list[Quarantined]]:
    """Give each file the label, split and group its table tells; files no table names stay unlabelled.

    Args:
        placed: files with what their folders say, which is kept where no table says better.
        naming: tables that name them.
        settings: the columns the user named.
        understood: receives what was read.

    Raises:
        DataError: a table names a file that is not there.
    """
    tables = [one.table for one in naming]
    chosen = choose(tables, settings, understood, ("files", naming[0].column))
    told: dict[str, list[Placed]] = defaultdict(list)
    broken: list[Quarantined] = [entry for table in tables for entry in table.broken]
    missing: list[tuple[str, str]] = []
    for one in naming:
        try:
            rows = list(rows_of_table(one.table, chosen))
        except Unreadable as error:
            broken.append(Quarantined(one.table.name, str(error)))
            continue
        for row, word in rows:
            name = _string(row.raw)
            if (file := one.find(name)) is None:
                missing.append((row.key, name))
            else:
                told[file.name].append(Placed(file, word, row.label, row.group))
    if missing:
        raise _missing(missing, [one.file for one in placed])
    merged = [_merged(before, told.get(before.file.name), chosen) for before in placed]
    _say(merged, told, understood)
    return merged, broken


def _merged(before: Placed, told: list[Placed] | None, chosen: Chosen) -> Placed:
    """What is known of one file; its folder names no class where a table has a column of labels."""
    if told is None:
        return before._replace(label=None) if chosen.label else before
    labels = {one.label for one in told if one.label is not None}
    label = (labels.pop() if len(labels) == 1 else None) if chosen.label else before.label
    return Placed(before.file, told[0].word or before.word, label, told[0].group)


def _say(merged: Sequence[Placed], told: Mapping[str, list[Placed]], understood: list[str]) -> None:
    without = [one.file.name for one in merged if one.file.name not in told]
    if without:
        understood.append(f"{number(len(without), 'file')} not named there, unlabelled: {listed(without, 3)}")
    often = Counter(len({one.label for one in each if one.label is not None}) > 1 for each in told.values())
    if often[True]:
        understood.append(f"{number(often[True], 'file')} named with different labels: unlabelled")


def _missing(missing: Sequence[tuple[str, str]], content: Sequence[Found]) -> DataError:
    key, name = missing[0]
    names = [file.name for file in content]
    closest = nearest(name, names) or nearest(PurePosixPath(name).name, [file.base for file in content])
    return DataError(
        f"{key}: there is no file {name}.",
        found=f"{number(len(missing), 'row')} of files that are not there: {listed((n for _, n in missing), _SHOWN)}",
        cause=closest,
        fix="Put these files there, or take their rows out of the table.",
    )


class _Index:
    """Files by their names, by their names without folders, and by these without endings."""

    def __init__(self, content: Sequence[Found]) -> None:
        self.names = {file.name: file for file in content}
        self.bases = _unique((file.base, file) for file in content)
        self.stems = _unique((PurePosixPath(file.base).stem, file) for file in content)

    def finders(self, folder: str) -> list[Find]:
        """Ways to read a name that stands in a table of this folder, the strictest first."""

        def by_path(name: str) -> Found | None:
            return self.names.get(str(PurePosixPath(folder, name)))

        return [by_path, lambda name: self.bases.get(PurePosixPath(name).name), lambda name: self.stems.get(name)]


def _unique(pairs: Iterable[tuple[str, Found]]) -> dict[str, Found]:
    found: dict[str, list[Found]] = defaultdict(list)
    for name, file in pairs:
        found[name].append(file)
    return {name: files[0] for name, files in found.items() if len(files) == 1}


def _naming(table: Table, index: _Index) -> Naming | None:
    finders = index.finders(str(PurePosixPath(table.name).parent))
    for find in finders:
        for column, values in table.sample.items():
            if _share(values, find) >= _LEAST_SHARE:
                return Naming(table, column, find)
    named = next((name for name in table.columns if name.lower().endswith(_FILE_COLUMN)), None)
    if named is not None and table.stem.lower() == METADATA:
        return Naming(table, named, finders[0])
    return None


def _share(values: Sequence[object], find: Find) -> float:
    """The share of the values that name a file; 0 for numbers, and for so few that they name classes."""
    names = [_string(value) for value in values if isinstance(value, str | bytes)]
    names = [name for name in names if name]
    if len(set(names)) < _LEAST_DISTINCT * len(names):
        return 0.0
    return sum(find(name) is not None for name in names) / len(names) if names else 0.0


def _string(value: object) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")).strip()
