"""Words of the command line to calls of verbs, errors to exit codes."""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from seedbed.cli.flags import ARGUMENTS, DEFAULTS, FLAGS, REQUIRED, VERBS, Verb
from seedbed.cli.screen import Screen
from seedbed.core.errors import Interrupted, MachineError, OutOfMemoryError, SeedbedError, UsageError, nearest

# How the system and torch word what is no MemoryError: of the processor, of a card, of libraries that are loaded.
NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Cannot allocate memory",
    "failed to map segment",
)
NOT_REPEATABLE = "does not have a deterministic implementation"
HELP = "Pretrain on the data you have, fine-tune on the labels you have got, and be told whether it paid."


def main(words: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    # A polite request to stop is answered like Ctrl-C: what is kept is kept, and the exit code says "resumable".
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(execute(list(sys.argv[1:] if words is None else words)))


def execute(words: list[str]) -> int:
    """Run one command; the exit code: 0 ok, 1 bug, 2 usage, 3 data, 4 machine, 5 memory, 6 budget, 130 resumable."""
    screen = Screen(json_mode="--json" in words, verbose="--verbose" in words)
    try:
        if words and not words[0].startswith("-"):
            _known_verb(words[0])
        code = _app()(args=words, prog_name="seedbed", standalone_mode=False, obj=screen)
        return code if isinstance(code, int) else 0
    except BaseException as error:
        return _leave(error, screen, words)


def _app() -> typer.Typer:
    app = typer.Typer(help=HELP, add_completion=False, invoke_without_command=True, rich_markup_mode="rich")
    app.callback(invoke_without_command=True)(_no_verb)
    for verb in VERBS:
        app.command(verb.name, help=verb.help)(_command(verb))
    return app


def _no_verb(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", show_default=False)] = False,
) -> int:
    if version:
        screen: Screen = context.obj
        screen.line(f"seedbed {importlib.import_module('importlib.metadata').version('seedbed')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit
    return 0


def _command(verb: Verb) -> Callable[..., int]:
    """A function with the verb's own signature, for the parser to read."""

    def command(context: typer.Context, **given: Any) -> int:
        screen: Screen = context.obj
        try:
            _call(verb, given, screen)
        except KeyboardInterrupt:
            fix = "The same command continues from the last checkpoint, if there is one."
            raise Interrupted("Interrupted.", fix=fix) from None
        return 0

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for name in (*verb.arguments, *verb.flags):
        annotation = ARGUMENTS[name] if name in verb.arguments else FLAGS[name]
        needed = name in REQUIRED or (name in verb.arguments and name not in verb.optional)
        default = inspect.Parameter.empty if needed else DEFAULTS.get(name)
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=annotation))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _call(verb: Verb, given: dict[str, Any], screen: Screen) -> None:
    """Call `seedbed.verbs.<verb>.<verb>` with what was given and nothing else."""
    from seedbed.core.config import merge, parse_set
    from seedbed.core.locate import is_foreign, locate_run
    from seedbed.verbs.accepts import ENCODING

    # Zero is a value: `--seed 0` must override a file.
    values = {name: value for name, value in given.items() if value is not None and value is not False and value != []}
    for silent in ("json", "verbose"):
        values.pop(silent, None)
    positional = [values.pop(name) for name in verb.arguments if name in values]
    if "run" in verb.arguments and not (verb.foreign and is_foreign(positional[0])):
        positional[0] = locate_run(positional[0], verb.runs)
    tables = parse_set(values.pop("set", []))
    if "slices" in values:
        tables = merge(tables, {"prove": {"slices": values.pop("slices")}})
    if "labels" in values:
        tables = merge(tables, {"prove": {"labels": _label_counts(values.pop("labels"))}})
    for flag, section in (("freeze", "finetune"), ("public", "prove")):
        if flag in values:
            tables = merge(tables, {section: {flag: values.pop(flag)}})
    if "encoder" in values:
        values["encoder"] = locate_run(values["encoder"], ENCODING)
    for flag, name in (
        ("to_file", "to"),
        ("to_rows", "to"),
        ("to_format", "to"),
        ("to_text", "to"),
        ("out_folder", "out"),
    ):
        if flag in values:
            values[name] = values.pop(flag)
    function = getattr(importlib.import_module(f"seedbed.verbs.{verb.name}"), verb.name)
    with screen:
        result = function(*positional, say=screen, **merge(tables, values))
    screen.finish(verb.name, result)


def _label_counts(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f'--labels "{text}" is not a list of numbers.',
            cause="It takes label counts; the column that holds the labels is --label.",
            fix="Write counts with commas: --labels 50,200,1000.",
        ) from None


def _known_verb(word: str) -> None:
    names = [verb.name for verb in VERBS]
    if word not in names:
        raise UsageError(
            f'There is no verb "{word}".',
            found=f"Verbs: {', '.join(names)}.",
            cause=nearest(word, names),
            fix="seedbed --help",
        )


def _leave(error: BaseException, screen: Screen, words: list[str]) -> int:
    """Say what happened in the form of an error, and choose the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError):
        # Whoever read our output is gone; without this the interpreter complains once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, TyperException):
        error = _misused(error, words)
    error = _of_the_machine(error)
    if isinstance(error, SeedbedError):
        screen.error(error, error.exit_code)
        return error.exit_code
    log = _log_of_bug(words)
    told = SeedbedError(
        f"{type(error).__name__}: {error}".splitlines()[0],
        cause=f"This is a bug in seedbed. Its traceback is in {log}",
        fix="Please report it with that file.",
    )
    screen.error(told, 1, details=traceback.format_exc())
    return 1


def _of_the_machine(error: BaseException) -> BaseException:
    """What the machine refused, by whatever name Python or torch calls that; other errors as they are."""
    told = str(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError | ImportError) and any(sign in told for sign in NO_MEMORY)
    ):
        found = textwrap.shorten(told, 160, placeholder=" ...")
        fix = "Give it more memory or less data; in training, a smaller --size or --set pretrain.micro_batch=8."
        return OutOfMemoryError("Memory ran out.", found=found, fix=fix)
    if isinstance(error, RuntimeError) and NOT_REPEATABLE in told:
        return MachineError(
            "A step of this model cannot be repeated bit by bit on this device.",
            found=told.splitlines()[0],
            cause="The graphics card has no such form of one of its operations.",
            fix="--device cpu",
        )
    return error


def _misused(error: TyperException, words: list[str]) -> UsageError:
    """The parser's complaint in our form, with the flag that was probably meant."""
    verb = next((verb for verb in VERBS if words and verb.name == words[0]), None)
    known = [f"--{name.replace('_', '-')}" for name in (verb.flags if verb else ())] + ["--from", "--to", "--help"]
    unknown = [word.partition("=")[0] for word in words if word.startswith("--")]
    guesses = [nearest(word, known) for word in unknown if word.partition("=")[0] not in known]
    is_option = "option" in error.format_message()
    return UsageError(
        error.format_message().replace("\n\t", " "),
        cause=next((guess for guess in guesses if guess), "") if is_option else "",
        fix=f"seedbed {verb.name} --help" if verb else "seedbed --help",
    )


def _log_of_bug(words: list[str]) -> Path:
    with tempfile.NamedTemporaryFile("w", prefix="seedbed-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(f"seedbed {' '.join(words)}\npython {sys.version}\n\n{traceback.format_exc()}")
    return Path(log.name)
