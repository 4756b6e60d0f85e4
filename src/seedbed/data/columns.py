"""Which column of a table is what: text, label, split, group. What was chosen, and what not, is said."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from seedbed.core.errors import DataError, nearest
from seedbed.core.runs import fingerprint
from seedbed.core.settings import Settings
from seedbed.data.rows import (
    SPLIT_WORDS,
    Quarantined,
    Row,
    Stream,
    Unreadable,
    listed,
    number,
    settle_splits,
    split_word,
)
from seedbed.data.tables import Table

TEXT_NAMES = (
    "text", "content", "document", "body", "sentence", "review", "abstract", "article",
    "message", "comment", "post", "tweet", "description", "note", "summary", "title",
)  # fmt: skip
LABEL_NAMES = ("label", "labels", "class", "classes", "tags", "target", "category", "categories", "y")
MIN_TEXT_CHARS = 20.0  # mean length at which an unnamed column of strings may be text
FEW_CLASSES = 50
_WHOLE = re.compile(r"([-+]?\d+)\.0+")


class Chosen(NamedTuple):
    """Names of the columns that are used; None where there is none.

    Attributes:
        text: what a row is about: its text, its image, or the name of its file.
    """

    text: str
    label: str | None
    split: str | None
    group: str | None
    aside: tuple[str, ...] = ()


def rows_of_tables(
    tables: Sequence[Table], settings: Settings, understood: list[str], image: str | None = None
) -> tuple[Sequence[Row], list[Quarantined]]:
    """Choose the columns of tables that belong together, and read their rows.

    Args:
        tables: at least one.
        settings: what the user named.
        understood: receives what was chosen.
        image: column of the bytes of image files; without it, rows are texts.

    Raises:
        DataError: a named column does not exist, or none looks like text.
    """
    chosen = choose(tables, settings, understood, ("image", image) if image else None)
    broken = [entry for table in tables for entry in table.broken]
    used = [table for table in tables if chosen.text in table.columns]
    for table in tables:
        if table not in used:
            understood.append(f'{table.name}: not used, it has no column "{chosen.text}"')
            broken = [entry for entry in broken if entry not in table.broken]
    long = not all(table.held for table in used)
    sound: list[Table] = []
    rows: list[tuple[Row, str | None]] = []
    words: set[str | None] = set()
    for table in used:
        try:
            # Rows that are not held are gone through too: damage has to show before any of them is used.
            held, found = _gone_through(rows_of_table(table, chosen), hold=not long)
        except Unreadable as error:
            broken.append(Quarantined(table.name, f"{error} ({number(table.num_rows, 'row')})"))
            continue
        sound.append(table)
        rows += held
        words |= found
    settled = settle_splits(words, understood)
    _say_labels(used, chosen, understood)
    return _stream(sound, chosen, settled) if long else [_settle(row, word, settled) for row, word in rows], broken


def _gone_through(
    rows: Iterator[tuple[Row, str | None]], *, hold: bool
) -> tuple[list[tuple[Row, str | None]], set[str | None]]:
    """All rows if they are to be held, and the splits they name."""
    held: list[tuple[Row, str | None]] = []
    words: set[str | None] = set()
    for row, word in rows:
        words.add(word)
        if hold:
            held.append((row, word))
    return held, words


def _settle(row: Row, word: str | None, settled: Mapping[str | None, str | None]) -> Row:
    return row if settled[word] is None else replace(row, split=settled[word])


def _stream(tables: Sequence[Table], chosen: Chosen, settled: Mapping[str | None, str | None]) -> Stream:
    """Rows of tables that are too long to be held."""

    def read(first: int) -> Iterator[Row]:
        for table in tables:
            if first < table.num_rows:
                yield from (_settle(row, word, settled) for row, word in rows_of_table(table, chosen, first))
            first = max(first - table.num_rows, 0)

    files = [[table.name, table.identity] for table in tables]
    splits = sorted((str(word), str(split)) for word, split in settled.items())
    return Stream(sum(table.num_rows for table in tables), read, fingerprint([files, chosen, splits]))


def rows_of_table(table: Table, chosen: Chosen, first: int = 0) -> Iterator[tuple[Row, str | None]]:
    """Rows of a table from one on, and the split that each of them names.

    Raises:
        Unreadable: the table is damaged.
    """
    wanted = dict.fromkeys((chosen.text, chosen.label, chosen.split, chosen.group, *chosen.aside))
    names = [name for name in wanted if name is not None and name in table.columns]
    word = _word_of(table)
    for block in table.blocks(names, first):
        empty: list[object] = [None] * len(block.numbers)
        labels = block.columns.get(chosen.label or "", empty)
        groups = block.columns.get(chosen.group or "", empty)
        splits = block.columns.get(chosen.split or "", empty)
        for at, value in enumerate(block.columns[chosen.text]):
            key = f"{table.name}:{block.numbers[at]}"
            missing = value is None or value != value  # NaN, where a column of strings came through pandas
            raw = value if isinstance(value, str | bytes) else "" if missing else str(value)
            label = label_name(labels[at], key)
            aside = {name: _string(block.columns[name][at]) for name in chosen.aside if name in block.columns}
            told = json.dumps(aside, ensure_ascii=False) if aside else ""
            yield Row(key, raw, label, None, _string(groups[at]) or None, told), _own_word(splits[at]) or word


def _word_of(table: Table) -> str | None:
    """The split that the name of a table speaks of."""
    folders = [name.lower() for name in table.name.split("/")[:-1]]
    return split_word(table.stem) or next((SPLIT_WORDS[name] for name in folders if name in SPLIT_WORDS), None)


def _own_word(value: object) -> str | None:
    return SPLIT_WORDS.get(_string(value).lower()) if value is not None else None


def label_name(value: object, key: str) -> str | None:
    """A label as text: whole numbers without a fraction, lists as JSON, None for an empty cell.

    Raises:
        DataError: the cell holds an object, or a list of lists.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, list | dict) for part in value)):
        raise DataError(
            f"{key}: the label is neither a value nor a list of values.",
            found=str(value)[:80],
            cause="The column holds objects.",
            fix="Name a column with labels by --label.",
        )
    if isinstance(value, list):
        return json.dumps([name for part in value if (name := label_name(part, key)) is not None], ensure_ascii=False)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = _string(value)
    if text.lower() == "nan":
        return None
    whole = _WHOLE.fullmatch(text)
    return (whole[1] if whole else text) or None


def _string(value: object) -> str:
    if value is None:
        return ""
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()


def choose(
    tables: Sequence[Table], settings: Settings, understood: list[str], content: tuple[str, str] | None = None
) -> Chosen:
    """The columns to use, named by the user or found; see `rows_of_tables`.

    Args:
        content: what rows are about and its column, such as ("image", "img"), where that is known and not text.
    """
    known = list(dict.fromkeys(column for table in tables for column in table.columns))
    sample = {name: [v for table in tables for v in table.sample.get(name, [])] for name in known}
    if any(not table.header for table in tables):
        understood.append("the first row holds data, not names: the columns are called " + listed(known))
    label = _named(known, settings.label, "label", tables)
    group = _named(known, settings.data.group, "data.group", tables)
    what, text = content or ("text", _named(known, settings.data.text, "data.text", tables))
    split = _split_column(sample, {label, group, text})
    lists = {name for table in tables for name in table.columns if name not in table.sample}
    found_label = label or _label_column(
        [name for name in known if sample[name] or name in lists], {group, text, split}
    )
    text = text or _text_column(sample, {found_label, group, split}, tables, understood)
    aside = tuple(str(_named(known, name, "prove.slices", tables)) for name in settings.prove.columns)
    used = [name for name in (text, found_label, split, group, *aside) if name is not None]
    unused = [name for name in known if name not in used]
    told = [f'{what}: column "{text}"']
    told += [f'label: column "{found_label}"' + ("" if label else ", by its name")] if found_label else []
    told += [f'split: column "{split}"'] if split else []
    told += [f'groups: column "{group}"'] if group else []
    told += [f"kept aside: {listed(aside)}"] if aside else []
    understood.append("; ".join(told) + (f"; not used: {listed(unused)}" if unused else ""))
    if found_label is None:
        understood.append(_no_label(sample, {text, split, group}))
    return Chosen(text, found_label, split, group, aside)


def _named(known: list[str], name: str | None, option: str, tables: Sequence[Table]) -> str | None:
    if name is None or name in known:
        return name
    where = tables[0].name if len(tables) == 1 else f"{tables[0].name} and {number(len(tables) - 1, 'other table')}"
    closest = nearest(name, known)
    best = closest.removeprefix('Did you mean "').removesuffix('"?') or "COLUMN"
    flag = {"label": f"--label {best}", "prove.slices": f"--slice {best}"}.get(option, f"--set {option}={best}")
    raise DataError(
        f'There is no column "{name}" in {where}.',
        found=f"columns: {listed(known, 20)}",
        cause=closest,
        fix=f"Use {flag}",
    )


def _split_column(sample: dict[str, list[object]], taken: set[str | None]) -> str | None:
    for name, values in sample.items():
        if name.lower() == "split" and name not in taken:
            words = {_string(value).lower() for value in values if value is not None} - {""}
            return name if words and words <= SPLIT_WORDS.keys() else None
    return None


def _label_column(filled: list[str], taken: set[str | None]) -> str | None:
    found = [name for name in filled if name.lower() in LABEL_NAMES and name not in taken]
    return found[0] if len(found) == 1 else None


def _text_column(
    sample: dict[str, list[object]], taken: set[str | None], tables: Sequence[Table], understood: list[str]
) -> str:
    lengths: dict[str, float] = {}
    for name, values in sample.items():
        strings = [_string(value) for value in values if isinstance(value, str | bytes)]
        if name not in taken and strings:
            lengths[name] = sum(map(len, strings)) / len(strings)
    for name in TEXT_NAMES:
        for column in lengths:
            if column.lower() == name:
                return column
    long = {name: mean for name, mean in lengths.items() if _like_text(mean, sample[name])}
    ranked = sorted(long, key=lambda name: -long[name])
    if len(ranked) == 1 or (len(ranked) > 1 and long[ranked[0]] >= 3 * long[ranked[1]]):
        if len(ranked) > 1:
            understood.append(f'"{ranked[0]}" is by far the longest of the columns {listed(ranked)}: it is the text')
        return ranked[0]
    names = listed(sample, 20)
    what = "Several columns could be the text" if ranked else "No column looks like text"
    raise DataError(
        f"{what} in {tables[0].name}.",
        found=f"candidates: {listed(ranked)}; columns: {names}" if ranked else f"columns: {names}",
        cause="" if ranked else "Tables of numbers and categories cannot be read yet; text or images can.",
        fix=f"Name it: --set data.text={ranked[0] if ranked else 'COLUMN'}",
    )


def _like_text(mean: float, values: list[object]) -> bool:
    strings = [_string(value) for value in values if value is not None]
    spaced = sum(" " in string or not string.isascii() for string in strings)
    numeric = sum(string.replace(".", "").replace("-", "").isdigit() for string in strings)
    long_enough = mean >= MIN_TEXT_CHARS or (spaced == len(strings) and mean >= MIN_TEXT_CHARS / 4)
    return long_enough and 2 * spaced >= len(strings) and 2 * len(set(strings)) >= len(strings) > numeric


def _no_label(sample: dict[str, list[object]], taken: set[str | None]) -> str:
    candidates = []
    for name, values in sample.items():
        distinct = {_string(value) for value in values if value is not None} - {""}
        if name not in taken and 2 <= len(distinct) <= min(FEW_CLASSES, max(2, len(values) // 2)):
            candidates.append(f'"{name}" ({len(distinct)} values)')
    told = "no label column was named or found, so every row is unlabelled"
    return told + (f"; candidates for --label: {', '.join(candidates[:8])}" if candidates else "")


def _say_labels(tables: Sequence[Table], chosen: Chosen, understood: list[str]) -> None:
    if chosen.label is None:
        return
    without = [table.name for table in tables if chosen.label not in table.columns]
    if without:
        understood.append(f'no column "{chosen.label}" in {", ".join(without)}: these rows are unlabelled')
