"""Files as examples: what their folders and names say of split and class, and documents cut into units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from seedbed.core.errors import UsageError
from seedbed.core.settings import Settings
from seedbed.data.delimited import too_long
from seedbed.data.files import PART_BYTES, Piece, key_of, lines, paragraphs, parts
from seedbed.data.rows import (
    SPLIT_WORDS,
    UNLABELLED,
    Quarantined,
    Row,
    Unreadable,
    listed,
    number,
    settle_splits,
)
from seedbed.data.tables import stem_of

_LABELLED = ("labeled", "labelled", "sup", "supervised")
_SNIFFED_LINES = 1000
LEAST_PART_BYTES = 16 << 10
PARTS_OF_ONE = 64  # a single file is cut into about so many


class Placed(NamedTuple):
    """A file and what its place says of it.

    Attributes:
        path: the file.
        word: the split it names, as `split_word`; None where it names none.
        label: its class, None without one.
    """

    path: Path
    word: str | None
    label: str | None


def place(files: Sequence[Path], root: Path, understood: list[str]) -> list[Placed]:
    """Read split and class from the folders between root and file.

    Names of splits are never classes; the first other folder is the class, where there are at least two such folders
    with two files each on average. Files beside class folders are unlabelled.

    Args:
        files: below root.
        root: the folder asked for.
        understood: receives what was read.
    """
    found = []
    for path in files:
        word, folder = None, None
        for name in path.relative_to(root).parts[:-1]:
            if name.lower() in SPLIT_WORDS and folder is None:
                word = SPLIT_WORDS[name.lower()] if word in (None, UNLABELLED) else word
            elif name.lower() not in _LABELLED and folder is None:
                folder = name
        found.append(Placed(path, word, folder if word != UNLABELLED else None))
    classes = Counter(file.label for file in found if file.label is not None)
    if not classes:
        understood.append(
            "no class folders: every file is unlabelled" if len(files) > 1 else "a single file: no labels"
        )
        return found
    if len(classes) == 1 or 2 * len(classes) > classes.total():
        why = "there is only one" if len(classes) == 1 else "there are too many of them for that"
        understood.append(f"folders ({listed(classes, 4)}) are not taken as classes, as {why}")
        return [file._replace(label=None) for file in found]
    without = len(found) - classes.total()
    understood.append(
        f"{len(classes):,} classes from folders: {listed(sorted(classes))}"
        + (f"; {number(without, 'file')} without a class folder, unlabelled" if without else "")
    )
    return found


def refuse_columns(settings: Settings, what: str) -> None:
    """Say that named columns make no sense where there are none.

    Raises:
        UsageError: a column was named.
    """
    named = {"--label": settings.label, "data.text": settings.data.text, "data.group": settings.data.group}
    for option, name in named.items():
        if name is not None:
            raise UsageError(
                f'{option} names a column, "{name}".',
                found=f"The data are {what}, without columns.",
                cause="The class of a file is the name of its folder.",
                fix=f"Leave {option} out.",
            )


def image_rows(files: Sequence[Path], root: Path, settings: Settings, understood: list[str]) -> list[Row]:
    """A row for each image file; the pixels are read later."""
    refuse_columns(settings, "image files")
    understood.append(f"{number(len(files), 'image file')}")
    placed = place(files, root, understood)
    settled = settle_splits((file.word for file in placed), understood)
    return [Row(key_of(file.path, root), file.path, file.label, settled[file.word]) for file in placed]


def text_rows(
    files: Sequence[Path], root: Path, settings: Settings, understood: list[str]
) -> tuple[list[Row], list[Quarantined]]:
    """Rows of text files: one a file, a line, or a paragraph.

    Returns:
        rows with undecoded bytes, and what could not be cut into rows.
    """
    refuse_columns(settings, "text files")
    unit = "file" if settings.data.unit == "auto" else settings.data.unit
    placed = place(files, root, understood)
    stems = [SPLIT_WORDS.get(stem_of(file.path).lower()) for file in placed]
    if all(stems) and not any(file.word for file in placed):
        placed = [file._replace(word=stem) for file, stem in zip(placed, stems, strict=True)]
    settled = settle_splits((file.word for file in placed), understood)
    size = _part_bytes(files, settings)
    rows: list[Row] = []
    broken: list[Quarantined] = []
    for file in placed:
        key = key_of(file.path, root)
        own = ""
        try:
            for piece in _cut(file.path, unit, size):
                own = _key(key, unit, piece)
                if piece.too_long:
                    broken.append(too_long(own, piece))
                else:
                    rows.append(Row(own, piece.data, file.label, settled[file.word]))
        except Unreadable as error:
            broken.append(Quarantined(f"{own} and after" if own else key, str(error)))
    understood.append(_say_unit(unit, settings, len(files), rows))
    return rows, broken


def _part_bytes(files: Sequence[Path], settings: Settings) -> int:
    """Size of the parts of long documents; a single file is cut finer, so that some of it can be held out."""
    if len(files) > 1 or settings.data.unit != "auto":
        return PART_BYTES
    try:
        return min(PART_BYTES, max(LEAST_PART_BYTES, files[0].stat().st_size // PARTS_OF_ONE))
    except OSError:
        return PART_BYTES


def _cut(path: Path, unit: str, size: int) -> Iterator[Piece]:
    cutters: dict[str, Callable[[Path], Iterator[Piece]]] = {
        "file": partial(parts, size=size),
        "line": lines,
        "paragraph": paragraphs,
    }
    for piece in cutters[unit](path):
        if piece.data.strip() or piece.too_long or unit == "file":  # a blank line stands between examples
            yield piece


def _key(name: str, unit: str, piece: Piece) -> str:
    if unit != "file":
        return f"{name}:{piece.number}"
    return name if piece.number == 1 else f"{name}:part {piece.number}"


def _say_unit(unit: str, settings: Settings, num_files: int, rows: list[Row]) -> str:
    if unit != "file":
        return f"{number(num_files, 'text file')}, every {unit} an example: {len(rows):,}"
    told = "1 text file, one document" if num_files == 1 else f"{num_files:,} text files, one document each"
    if len(rows) > num_files:
        told += f", long ones in parts: {number(len(rows), 'row')}"
    if settings.data.unit == "auto":
        told += " (--set data.unit=line or paragraph cuts into smaller examples)"
    return told


def is_tabbed(path: Path) -> bool:
    """Whether the first lines of a .txt all have the same number of tabs, so that it is a table in truth."""
    try:
        counts = {line.data.count(b"\t") for line in islice(lines(path), _SNIFFED_LINES) if line.data.strip()}
        return len(counts) == 1 and counts != {0} and len(list(islice(lines(path), 2))) == 2
    except Unreadable:
        return False
