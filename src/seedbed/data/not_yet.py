"""Data of tasks that are not there yet: known by their form, so that they are refused by name and never misread."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from seedbed.core.errors import DataError
from seedbed.core.settings import Settings
from seedbed.data.files import Found, lines
from seedbed.data.rows import Unreadable, listed, number
from seedbed.data.tables import Table

AUDIO = frozenset({".wav", ".flac", ".ogg", ".oga", ".mp3", ".opus", ".m4a", ".aac", ".aif", ".aiff"})
VIDEO = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
_TAGGED = frozenset({".conll", ".conllu", ".iob", ".bio"})
_TAG = re.compile(rb"\S+[\t ](\S+[\t ])*(O|[BIES]-\S+)")
_LINES = 200
# Columns that only occur together in one kind of data, and what this kind is called.
_FORMS = (
    ({"messages"}, "conversations"),
    ({"conversations"}, "conversations"),
    ({"prompt", "completion"}, "prompts and completions"),
    ({"instruction", "output"}, "prompts and completions"),
    ({"translation"}, "pairs of a text and its translation"),
    ({"source", "target"}, "pairs of a source and a target text"),
    ({"tokens", "tags"}, "words with tags"),
    ({"tokens", "ner_tags"}, "words with tags"),
    ({"tokens", "labels"}, "words with tags"),
)  # fmt: skip
_DONE = "Pretraining on texts and images, and their classification, are there; this is not yet."


def refuse_files(files: Sequence[Found], where: str) -> None:
    """Refuse sound, film, and words with tags.

    Raises:
        DataError: most files are such.
    """
    for suffixes, what in ((AUDIO, "audio"), (VIDEO, "film"), (_TAGGED, "words with tags (CoNLL)")):
        own = [file for file in files if file.suffix in suffixes]
        if own and 2 * len(own) >= len(files):
            raise DataError(
                f"{where} holds {what}.",
                found=f"{number(len(own), 'file')}: {listed((file.name for file in own), 3)}",
                cause=_DONE,
                fix="Give texts or images.",
            )


def refuse_tagged(file: Found) -> None:
    """Refuse a text file of one word and its tag on a line.

    Raises:
        DataError: it is one.
    """
    try:
        head = [line.data.rstrip() for line in islice(lines(file.path), _LINES)]
    except Unreadable:
        return
    words = [line for line in head if line]
    if len(words) >= 2 and len(words) < len(head) and all(map(_TAG.fullmatch, words)):
        raise DataError(
            f"{file.name}: words with tags (CoNLL).",
            found=f"such as {words[0].decode('utf-8', 'replace')!r}",
            cause=_DONE,
            fix="Write each sentence on a line of a text file to pretrain on it.",
        )


def refuse_tables(tables: Sequence[Table], settings: Settings) -> None:
    """Refuse conversations, pairs of texts to translate, and words with tags, unless a column of text is named.

    Raises:
        DataError: a table is such.
    """
    if settings.data.text is not None:
        return
    for table in tables:
        columns = {column.lower() for column in table.columns}
        for form, what in _FORMS:
            if form <= columns and "text" not in columns:
                raise DataError(
                    f"{table.name}: {what}.",
                    found=f"columns: {listed(table.columns, 20)}",
                    cause=_DONE,
                    fix="Write what is to be read into one column of text, and name it: --set data.text=COLUMN",
                )
