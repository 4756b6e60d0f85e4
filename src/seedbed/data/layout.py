"""From files to rows: which kind they are of, what their names, folders and tables say, and what is left aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seedbed.core.settings import Settings
from seedbed.data import arrays, cifar
from seedbed.data.columns import rows_of_tables
from seedbed.data.companions import set_aside
from seedbed.data.files import Found
from seedbed.data.folders import image_rows, is_tabbed, place, refuse_columns, text_rows
from seedbed.data.hf import data_files
from seedbed.data.kinds import ARRAYS, CIFAR, IMAGES, TABLES, TEXTS, by_kind, kind_of, likeliest, say_left
from seedbed.data.metadata import Naming, named_elsewhere, naming_tables, place_by_tables
from seedbed.data.not_yet import refuse_files, refuse_tables, refuse_tagged
from seedbed.data.pairs import joined
from seedbed.data.rows import Quarantined, Row, number
from seedbed.data.table_files import open_table_files
from seedbed.data.tables import Table

Rows = tuple[str, Sequence[Row], list[Quarantined]]


def rows_of_files(
    files: Sequence[Found], broken: Sequence[Quarantined], where: str, settings: Settings, understood: list[str],
    *, asked: bool,
) -> Rows:  # fmt: skip
    """Rows of the files of one kind; files of other kinds are said.

    Args:
        files: all there are.
        broken: what could not even be listed, for the error.
        where: what was asked for, in words.
        settings: what the user named.
        understood: receives what was found out.
        asked: whether each file was named by the user.

    Returns:
        modality, rows, and what cannot be used of these files.

    Raises:
        DataError: nothing that can be read, or data of a task that is not there.
        MachineError: nothing may be read.
    """
    refuse_files(files, where)
    files = data_files(files, understood)
    files, labels = set_aside(files, [file for file in files if kind_of(file) == IMAGES], understood)
    kinds = by_kind(files, where, broken, asked=asked)
    if CIFAR in kinds:
        refuse_columns(settings, "arrays")
        unknown = {kind: [file for file in found if file.base not in cifar.NAMES] for kind, found in kinds.items()}
        say_left(unknown, (CIFAR,), understood)
        return "image", cifar.rows_of_batches(kinds[CIFAR], files, understood), []
    if ARRAYS in kinds:
        say_left(kinds, (ARRAYS,), understood)
        return arrays.rows_of_files(kinds[ARRAYS], settings, understood)
    tables, unread = open_table_files(kinds.get(TABLES, []), understood)
    for kind in (IMAGES, TEXTS):
        if tables and kind in kinds and (naming := naming_tables(tables, kinds[kind], understood)):
            say_left(kinds, (kind, TABLES), understood)
            return _rows_of_content(kind, kinds[kind], naming, labels, settings, understood)
    if asked and len(tables) == 1:
        beside, naming = named_elsewhere(tables[0], kinds[TABLES][0].path.parent, (IMAGES, TEXTS))
        if beside:
            return _rows_of_content(kind_of(beside[0]), beside, naming, labels, settings, understood)
    kind = likeliest(kinds)
    say_left(kinds, (kind,), understood)
    if kind == TEXTS and settings.data.unit == "auto":
        refuse_tagged(kinds[kind][0])
        if all(is_tabbed(file.path) for file in kinds[kind]):
            understood.append("every line has the same number of tabs: read as tables")
            kind, (tables, unread) = TABLES, open_table_files(kinds[kind], understood)
    if kind != TABLES:
        return _rows_of_content(kind, kinds[kind], [], labels, settings, understood)
    if not tables:
        return "text", [], unread
    understood.append("; ".join(f"{table.name}: {number(table.num_rows, 'row')}" for table in tables[:9]))
    modality, rows, fresh = rows_of_some_tables(tables, settings, understood)
    return modality, rows, unread + fresh


def rows_of_some_tables(tables: Sequence[Table], settings: Settings, understood: list[str]) -> Rows:
    """Rows of tables that belong together: images where a column holds them and no text was named, else texts.

    Raises:
        DataError: a named column does not exist, none looks like text, or they are of a task that is not there.
    """
    image = next((table.image for table in tables if table.image is not None), None)
    if image is not None and settings.data.text is None:
        return "image", *rows_of_tables(tables, settings, understood, image)
    refuse_tables(tables, settings)
    return "text", *rows_of_tables(joined(tables, settings, understood), settings, understood)


def _rows_of_content(
    kind: str, files: list[Found], naming: list[Naming], labels: Mapping[str, str], settings: Settings,
    understood: list[str],
) -> Rows:  # fmt: skip
    """Rows of image or text files, labelled by tables that name them, else by files beside them, else by folders."""
    if not naming:
        refuse_columns(settings, "image files" if kind == IMAGES else "text files")
    placed = place(files, understood)
    placed = [one._replace(label=labels.get(one.file.name)) for one in placed] if labels else placed
    broken: list[Quarantined] = []
    if naming:
        placed, broken = place_by_tables(placed, naming, settings, understood)
    if kind == IMAGES:
        return "image", image_rows(placed, understood), broken
    rows, fresh = text_rows(placed, settings, understood)
    return "text", rows, broken + fresh
