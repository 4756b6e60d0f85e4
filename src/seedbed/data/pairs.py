"""Tables with two texts a row, such as a premise and a hypothesis: read as one text after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from seedbed.core.settings import Settings
from seedbed.data.tables import Block, Table

_NAMES = (
    ("text_a", "text_b"), ("text1", "text2"), ("sentence1", "sentence2"), ("question1", "question2"),
    ("premise", "hypothesis"),
)  # fmt: skip
BETWEEN = "\n\n"


def joined(tables: Sequence[Table], settings: Settings, understood: list[str]) -> Sequence[Table]:
    """Tables with the two columns of a known pair as one, "first + second"; others as they are.

    Args:
        tables: that belong together.
        settings: a named text column overrules.
        understood: receives which columns were joined.
    """
    known = {column.lower() for table in tables for column in table.columns}
    pair = next((pair for pair in _NAMES if known.issuperset(pair)), None)
    if pair is None or settings.data.text is not None or "text" in known:
        return tables
    understood.append(f'pairs: "{pair[0]}" and "{pair[1]}" are read as one text, an empty line between them')
    return [_joined(table, pair) for table in tables]


def _joined(table: Table, pair: tuple[str, str]) -> Table:
    lower = {column.lower(): column for column in table.columns}
    if not lower.keys() >= set(pair):
        return table
    first, second = lower[pair[0]], lower[pair[1]]
    name = f"{first} + {second}"

    def blocks(names: list[str], at: int) -> Iterator[Block]:
        wanted = [column for column in names if column != name]
        more = [first, second] if name in names else []
        for block in table.blocks(list(dict.fromkeys([*wanted, *more])), at):
            own = {column: block.columns[column] for column in wanted}
            if more:
                own[name] = _both(block.columns[first], block.columns[second])
            yield block._replace(columns=own)

    columns = [name, *(column for column in table.columns if column not in (first, second))]
    sample = {column: values for column, values in table.sample.items() if column in columns}
    sample[name] = _both(table.sample.get(first, []), table.sample.get(second, []))
    return replace(table, columns=columns, sample=sample, blocks=blocks)


def _both(first: Sequence[object], second: Sequence[object]) -> list[object]:
    return [f"{_text(one)}{BETWEEN}{_text(other)}" for one, other in zip(first, second, strict=True)]


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return "" if value is None else str(value)
