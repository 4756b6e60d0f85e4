"""Files as examples: what their folders and names say of split and class, and documents cut into units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

from seedbed.core.errors import UsageError
from seedbed.core.settings import Settings
from seedbed.data.archives import archive_ending
from seedbed.data.delimited import too_long
from seedbed.data.files import PART_BYTES, Found, Piece, lines, paragraphs, parts, stem_of
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

_LABELLED = ("labeled", "labelled", "sup", "supervised")
_SNIFFED_LINES = 1000
LEAST_PART_BYTES = 16 << 10
PARTS_OF_ONE = 64  # a single file is cut into about so many


class Placed(NamedTuple):
    """A file and what is known of it from elsewhere than its content.

    Attributes:
        file: itself.
        word: the split it belongs to, as `split_word`; None where nothing says so.
        label: its class, None without one.
        group: what must not be torn apart, None without one.
    """

    file: Found
    word: str | None
    label: str | None = None
    group: str | None = None


def place(files: Sequence[Found], understood: list[str]) -> list[Placed]:
    """Read split and class from the folders a file is in.

    Names of splits are never classes, and neither is a folder that everything is in; the first other folder is the
    class, where there are at least two such folders with two files each on average. Files beside class folders are
    unlabelled.

    Args:
        files: all of one kind.
        understood: receives what was read.
    """
    found = [_placed(file, names) for file, names in zip(files, _telling(files), strict=True)]
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


def _telling(files: Sequence[Found]) -> list[tuple[str, ...]]:
    """The folders of each file without those that all files are in, unless nothing were left."""
    folders = [tuple(_without_archive(name) for name in file.folders) for file in files]
    ends = zip(min(folders, default=()), max(folders, default=()), strict=False)
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], ends)))
    if all(len(names) == shared for names in folders):
        shared = max(0, shared - 1)
    kept = [name for name in folders[0][:shared] if name.lower() in SPLIT_WORDS] if folders else []
    return [(*kept, *names[shared:]) for names in folders]


def _without_archive(name: str) -> str:
    return name[: -len(ending)] if (ending := archive_ending(name)) else name


def _placed(file: Found, names: Sequence[str]) -> Placed:
    word, folder = None, None
    for name in names:
        if name.lower() in SPLIT_WORDS and folder is None:
            word = SPLIT_WORDS[name.lower()] if word in (None, UNLABELLED) else word
        elif name.lower() not in _LABELLED and folder is None:
            folder = name
    return Placed(file, word, folder if word != UNLABELLED else None)


def refuse_columns(settings: Settings, what: str) -> None:
    """Say that named columns make no sense where there are none.

    Raises:
        UsageError: a column was named.
    """
    named = {"--label": settings.label, "data.text": settings.data.text, "data.group": settings.data.group}
    named["--slice"] = next(iter(settings.prove.columns), None)
    for option, name in named.items():
        if name is not None:
            raise UsageError(
                f'{option} names a column, "{name}".',
                found=f"The data are {what}, without columns.",
                cause="The class of a file is the name of its folder.",
                fix=f"Leave {option} out.",
            )


def image_rows(placed: Sequence[Placed], understood: list[str]) -> list[Row]:
    """A row for each image file; the pixels are read later."""
    understood.append(f"{number(len(placed), 'image file')}")
    settled = settle_splits((one.word for one in placed), understood)
    return [Row(one.file.name, one.file.path, one.label, settled[one.word], one.group) for one in placed]


def text_rows(
    placed: Sequence[Placed], settings: Settings, understood: list[str]
) -> tuple[list[Row], list[Quarantined]]:
    """Rows of text files: one a file, a line, or a paragraph.

    Returns:
        rows with undecoded bytes, and what could not be cut into rows.
    """
    unit = "file" if settings.data.unit == "auto" else settings.data.unit
    stems = [SPLIT_WORDS.get(stem_of(one.file.path).lower()) for one in placed]
    if all(stems) and not any(one.word for one in placed):
        placed = [one._replace(word=stem) for one, stem in zip(placed, stems, strict=True)]
    settled = settle_splits((one.word for one in placed), understood)
    size = _part_bytes([one.file.path for one in placed], settings)
    rows: list[Row] = []
    broken: list[Quarantined] = []
    for one in placed:
        own = ""
        try:
            for piece in _cut(one.file.path, unit, size):
                own = _key(one.file.name, unit, piece)
                if piece.too_long:
                    broken.append(too_long(own, piece))
                else:
                    rows.append(Row(own, piece.data, one.label, settled[one.word], one.group))
        except Unreadable as error:
            broken.append(Quarantined(f"{own} and after" if own else one.file.name, str(error)))
    understood.append(_say_unit(unit, settings, len(placed), rows))
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
