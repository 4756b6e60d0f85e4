"""Configuration: layers of values become one `Settings`; each value has an origin, all problems are told at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, get_origin

import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from seedbed.core.errors import UsageError, nearest
from seedbed.core.settings import Section, Settings

DEFAULT = "default"
PLANNER = "planner"

Place = tuple[str, ...]
Layer = tuple[str, Mapping[str, Any]]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Resolved:
    """Settings with the origin of each value.

    Attributes:
        settings: the merged and validated values.
        origins: dotted key -> "default", "file run.toml", "flag", "planner: reason".
    """

    settings: Settings
    origins: dict[str, str]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the configuration: what is wrong, what is allowed or known, the nearest match."""

    what: str
    found: str = ""
    cause: str = ""


def load_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: the file is missing, unreadable, not UTF-8, or not TOML (with its line and column).
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        folder = path.parent
        beside = sorted(p.name for p in folder.glob("*.toml")) if folder.is_dir() else []
        raise UsageError(
            f"{path}: there is no such configuration file.",
            found=f"TOML files in that folder: {', '.join(beside) or 'none'}.",
            cause=nearest(path.name, beside),
            fix="Give an existing file to --config.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: the configuration cannot be read.",
            found=str(error),
            fix="Give a readable TOML file in UTF-8 to --config.",
        ) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        where = f"{path}:{place[1]}:{place[2]}" if place else f"{path} (at its end)"
        raise UsageError(
            f"{where}: this is not TOML.",
            found=re.sub(r" \(at .*\)$", ".", str(error)),
            cause='Text must stand in quotes (size = "nano"); a number must not.',
            fix="Correct the line and give the same command again.",
        ) from None


def parse_set(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn `["pretrain.lr=3e-4", "size=nano"]` into nested tables; values are TOML, bare words are strings.

    Raises:
        UsageError: an assignment is not KEY=VALUE, or two of them contradict each other; all are told at once.
    """
    tables: dict[str, Any] = {}
    problems = []
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        place = tuple(part.strip() for part in key.split("."))
        if not equals or not all(place):
            problems.append(Problem(f'--set "{assignment}" is not KEY=VALUE.', cause="Example: --set pretrain.lr=3e-4"))
        elif not _put(tables, place, _toml_value(value.strip())):
            problems.append(Problem(f'--set "{assignment}" contradicts another --set: a key is a table or a value.'))
    _refuse(problems, "Write --set KEY=VALUE, once for each key.")
    return tables


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables with the values of `high` over those of `low`; None means not given."""
    merged = dict(low)
    for key, value in high.items():
        if isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        elif value is not None:
            merged[key] = value
    return merged


def resolve(layers: Sequence[Layer]) -> Resolved:
    """Merge layers of values, the later over the earlier, on top of the defaults.

    A layer whose origin starts with "planner" fills only what the user left open: what is "auto" or has its default.
    None means not given.

    Args:
        layers: (origin, nested tables), such as ("file run.toml", {...}), ("flag", {...}), ("planner: fits", {...}).

    Raises:
        UsageError: unknown keys and bad values, all at once, each with its origin.
    """
    values = Settings().model_dump()
    origins = {_dotted(path): DEFAULT for path, _ in leaves(values)}
    for origin, table in layers:
        for path, value in leaves(table):
            key = _dotted(path)
            chosen = origins.get(key, DEFAULT) != DEFAULT and _get(values, path) != "auto"
            if value is None or (origin.startswith(PLANNER) and chosen):
                continue
            _put(values, path, value)
            origins[key] = origin
    problems = _booleans(values, origins)
    settings = Settings()
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        named = {_dotted(item["loc"]) for item in error.errors()}
        problems = [p for p in problems if not any(f'"{key}"' in p.what for key in named)]
        problems += _explain(error, Settings, origins, prefix="")
    _refuse(problems, "Correct the configuration and give the same command again.")
    return Resolved(settings, {key: origins[key] for key in map(_dotted, dict(leaves(settings.model_dump())))})


def validate_options(model_class: type[Model], options: Mapping[str, Any], where: str) -> Model:
    """Build a learner's Config from its table of options.

    Args:
        where: the table they stand in, for messages, such as "objective_options".

    Raises:
        UsageError: unknown keys and bad values, all at once.
    """
    try:
        return model_class.model_validate(dict(options))
    except ValidationError as error:
        problems = list(_explain(error, model_class, {}, prefix=f"{where}."))
    _refuse(problems, f"Correct [{where}] in the configuration, or the --set that wrote it.")
    raise AssertionError("a validation error without problems")


def dump_toml(resolved: Resolved) -> str:
    """Write settings as TOML, each value with its origin as a comment; what is not set is a comment only."""
    tables: dict[str, list[str]] = {"": ["# Each value with its origin. This file is itself valid for --config."]}
    for section in resolved.settings.model_dump():
        if isinstance(getattr(resolved.settings, section), Section | dict):
            tables[section] = ["", f"[{section}]"]
    for path, value in leaves(resolved.settings.model_dump()):
        table = path[0] if path[0] in tables else ""
        name = ".".join(_toml_key(part) for part in path[bool(table) :])
        origin = re.sub(r"[\x00-\x1f\x7f]+", " ", resolved.origins[_dotted(path)])
        tables[table].append(
            f"# {name} is not set ({origin})" if value is None else f"{name} = {_literal(value)}  # {origin}"
        )
    return "\n".join(line for lines in tables.values() for line in lines) + "\n"


def commented_toml(model: type[Section], options: Mapping[str, type[BaseModel]]) -> str:
    """A file of every option, commented out with its default, under what it means.

    Args:
        model: the whole configuration.
        options: table of `model` that is open -> the Config whose fields it takes.
    """
    lines = ["# Every option with its default. Take the # away from what you change; --config reads this file."]
    fields = model.model_fields
    lines += _commented({name: field for name, field in fields.items() if not _is_table(field.annotation)})
    for name, field in fields.items():
        if _is_table(field.annotation):
            table = field.annotation if _is_section(field.annotation) else options.get(name)
            lines += ["", *([f"# {field.description}"] if field.description else []), f"[{name}]"]
            lines += _commented(table.model_fields) if table else []
    return "\n".join(lines) + "\n"


def _commented(fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    for name, field in fields.items():
        yield ""
        if field.description:
            yield f"# {field.description}"
        default = "  (not set)" if field.default is None else _literal(field.get_default(call_default_factory=True))
        yield f"# {name} = {default}".rstrip()


def _is_section(annotation: object) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _is_table(annotation: object) -> bool:
    return _is_section(annotation) or get_origin(annotation) is dict


def leaves(table: Mapping[str, Any], above: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Each value of nested tables under the names that lead to it; an empty table has none."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _get(table: Any, path: Place) -> Any:
    for part in path:
        table = table.get(part) if isinstance(table, Mapping) else None
    return table


def _put(table: dict[str, Any], path: Place, value: Any) -> bool:
    """Set a nested value; False if a value stood in the way of a table, or a table in the way of a value."""
    free = True
    for part in path[:-1]:
        below = table.setdefault(part, {})
        if not isinstance(below, dict):
            free, below = False, {}
            table[part] = below
        table = below
    free = free and not isinstance(table.get(path[-1]), dict)
    table[path[-1]] = value
    return free


def _toml_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if list(parsed) == ["value"] else text


def _toml_key(part: str) -> str:
    return part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else _literal(part)


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(k)} = {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").rstrip("\n")


def _booleans(values: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """True is 1 to pydantic; to a user `steps = true` is a mistake."""
    defaults = dict(leaves(Settings().model_dump()))
    return [
        Problem(f'"{_dotted(path)}" is {str(value).lower()} ({origins[_dotted(path)]}).', "Allowed: not true or false.")
        for path, value in leaves(values)
        if isinstance(value, bool) and path in defaults and not isinstance(defaults[path], bool)
    ]


def _dotted(place: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in place if isinstance(part, str))


def _explain(
    error: ValidationError, model: type[BaseModel], origins: Mapping[str, str], prefix: str
) -> Iterator[Problem]:
    """One problem for each validation error, in the words of a configuration."""
    for item in error.errors(include_url=False):
        key = _dotted(item["loc"])
        origin = origins.get(key) or next((o for k, o in origins.items() if k.startswith(f"{key}.")), "")
        where = f" ({origin})" if origin else ""
        if item["type"] == "extra_forbidden":
            siblings = _siblings(model, key)
            yield Problem(
                f'"{prefix}{key}" is not a known key{where}.',
                f"Known there: {', '.join(siblings) or 'nothing'}.",
                _suggest(prefix, key, siblings),
            )
        elif item["type"] == "missing":
            yield Problem(f'"{prefix}{key}" must be given{where}.')
        else:
            allowed = re.sub(r"^(Input|String|Value) should (be|have) ", "", item["msg"]).removeprefix("Value error, ")
            yield Problem(f'"{prefix}{key}" is {_shown(item["input"])}{where}.', f"Allowed: {allowed}.")


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _siblings(model: type[BaseModel], key: str) -> list[str]:
    for part in key.split(".")[:-1]:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return list(model.model_fields)


def _suggest(prefix: str, key: str, siblings: list[str]) -> str:
    """The nearest sibling; else, in the settings, where else in the tree that name stands."""
    head, _, last = key.rpartition(".")
    near = nearest(last, siblings)
    known = [] if prefix else [_dotted(path) for path, _ in leaves(Settings().model_dump())]
    elsewhere = [k for k in known if k.rpartition(".")[2] == last]
    if elsewhere:
        return f"Did you mean {' or '.join(chr(34) + k + chr(34) for k in elsewhere)}?"
    if near:
        return near.replace('"', f'"{prefix}{head}.' if head else f'"{prefix}', 1)
    return nearest(key, known)


def _refuse(problems: Sequence[Problem], fix: str) -> None:
    """Raise one error for all problems, if there are any."""
    if len(problems) == 1:
        raise UsageError(problems[0].what, found=problems[0].found, cause=problems[0].cause, fix=fix)
    if problems:
        lines = [" ".join(part for part in (p.what, p.found, p.cause) if part) for p in problems]
        raise UsageError(
            f"The configuration has {len(problems)} problems.", found="\n".join(f"- {line}" for line in lines), fix=fix
        )
