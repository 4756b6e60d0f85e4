"""Every verb, argument and flag. A flag's name is its name in Python and in a configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from seedbed.verbs.accepts import ANSWERING, ENCODING, TRAINED

DATA_HELP = "A file, folder, zip or tar: Parquet, CSV, TSV, JSON, .txt, class folders of images, IDX, NumPy."
RUN_HELP = "A run folder, or the --out folder of the run: the only run that fits, else the newest finished one."

Argument = Any


def _flag(kind: Any, text: str, *names: str, panel: str = "What", metavar: str | None = None) -> Argument:
    option = typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, metavar=metavar)
    return Annotated[kind, option]


def _argument(kind: Any, text: str, metavar: str) -> Argument:
    return Annotated[kind, typer.Argument(help=text, metavar=metavar, show_default=False)]


ARGUMENTS: dict[str, Argument] = {
    "data": _argument(str, DATA_HELP, "DATA"),
    "run": _argument(str, RUN_HELP, "RUN"),
    "runs_action": _argument(str, "list, show RUN, diff RUN RUN, or gc (clear what nothing needs).", "[ACTION]"),
    "config_action": _argument(str, "show, init (a file to begin with), or schema.", "[ACTION]"),
    "places": _argument(list[str], "Run folders.", "[RUN]..."),
    "inputs": _argument(list[str], "Files, folders or texts; - for the lines of standard input.", "INPUT..."),
}

HOW = "How"
FLAGS: dict[str, Argument] = {
    "out": _flag(str | None, "Folder for runs and prepared data. Default: runs.", "--out", metavar="FOLDER"),
    "label": _flag(str | None, "Column that holds the label.", "--label", metavar="COLUMN"),
    "task": _flag(
        str | None,
        "How labels are learnt: classify, multilabel, regress. Default: by the labels.",
        "--task",
        metavar="NAME",
    ),
    "minutes": _flag(float | None, "Wall-clock bound of the whole command.", "--minutes"),
    "steps": _flag(int | None, "Exact number of pretraining steps, instead of minutes.", "--steps"),
    "objective": _flag(
        str | None, "Pretext task: skip_gram, masked_lm, causal_lm, contrastive, ...", "--objective", metavar="NAME"
    ),
    "trunk": _flag(str | None, "Backbone: transformer, bag, mlp, ...", "--trunk", metavar="NAME"),
    "size": _flag(str | None, "Size of the model: nano, micro, ...", "--size", metavar="NAME"),
    "seed": _flag(int | None, "Seed of all randomness. Default: 0.", "--seed"),
    "threads": _flag(int | None, "Processor threads. Default: all cores.", "--threads"),
    "memory": _flag(float | None, "Memory to plan for, in GiB. Default: all there is.", "--memory"),
    "device": _flag(str | None, "cpu, cuda or mps. Default: cuda where it is there.", "--device", metavar="NAME"),
    "labels": _flag(str | None, "Label counts to compare at, such as 50,200,1000.", "--labels", metavar="N,N,..."),
    "slices": _flag(
        list[str] | None,
        "Score parts by themselves: label, length, group or a column; repeatable.",
        "--slice",
        metavar="PART",
    ),
    "remove": _flag(
        list[str] | None,
        "Take a row out for good: its key (FILE:ROW), a file of the data, or a text file of keys; may be repeated.",
        "--remove",
        metavar="KEY",
    ),
    "encoder": _flag(str | None, "Reuse the encoder of this run instead of pretraining.", "--from", metavar="RUN"),
    "freeze": _flag(
        list[str] | None,
        "Parameters that do not train, by part of their names: encoder.",
        "--freeze",
        metavar="NAME",
    ),
    "public": _flag(
        list[str] | None,
        "Weights of others to compare with: a checkpoint folder or a Keras file; may be repeated.",
        "--public",
        metavar="PATH",
    ),
    "allow_download": _flag(bool, "Fetch a checkpoint named hf:OWNER/NAME.", "--allow-download"),
    "to_file": _flag(str | None, "Write the answers to a .csv, .jsonl or .parquet file.", "--to", metavar="FILE"),
    "to_rows": _flag(str | None, "Write the rows to a .csv, .jsonl or .parquet file.", "--to", "--out", metavar="FILE"),
    "count": _flag(int | None, "How many rows. Default: 50.", "--count"),
    "abstain": _flag(
        float | None, "Give no label where the confidence is below this probability.", "--abstain", metavar="P"
    ),
    "to_format": _flag(
        str,
        "What to write: hf (Hugging Face), onnx, safetensors, or tensorboard (the log).",
        "--to",
        metavar="FORMAT",
    ),
    "to_text": _flag(str | None, "File to write instead of printing.", "--to", metavar="FILE"),
    "out_folder": _flag(str, "Folder to write the export to.", "--out", metavar="FOLDER"),
    "config": _flag(str | None, "TOML file with any option.", "--config", panel=HOW, metavar="FILE"),
    "set": _flag(
        list[str] | None,
        "Any option by its dotted key, such as pretrain.lr=3e-4; may be repeated.",
        "--set",
        panel=HOW,
        metavar="KEY=VALUE",
    ),
    "dry_run": _flag(bool, "Print the plan and stop.", "--dry-run", panel=HOW),
    "json": _flag(bool, "One JSON object as the last line of stdout; all else to stderr.", "--json", panel=HOW),
    "verbose": _flag(bool, "Tell every checkpoint; show a traceback on a bug.", "--verbose", panel=HOW),
}
DEFAULTS: dict[str, object] = {
    "allow_download": False,
    "dry_run": False,
    "json": False,
    "verbose": False,
    "to_format": "hf",
}
REQUIRED = ("out_folder",)

PLACE = ("out", "seed", "threads", "memory", "device", "config", "set", "dry_run")
JOB = ("minutes", "steps", "objective", "trunk", "size", *PLACE)
TALK = ("json", "verbose")


@dataclass(frozen=True)
class Verb:
    """One verb: its help, its arguments and flags, and which runs its RUN may be.

    Attributes:
        arguments: names in ARGUMENTS, positional in this order.
        optional: the arguments among them that may be left out.
        flags: names in FLAGS.
        runs: verbs whose runs fit its RUN argument; empty: all.
        foreign: whether its RUN may be a checkpoint of another library.
    """

    name: str
    help: str
    arguments: tuple[str, ...]
    flags: tuple[str, ...]
    runs: tuple[str, ...] = ()
    foreign: bool = False
    optional: tuple[str, ...] = ()


VERBS = (
    Verb(
        "run",
        "All of it: understand, clean, plan, pretrain, fine-tune, prove, report.",
        ("data",),
        ("label", "labels", "task", "slices", "public", "allow_download", *JOB, *TALK),
    ),
    Verb("demo", "The whole path on scikit-learn's digits, in under two minutes.", (), (*JOB, *TALK)),
    Verb(
        "check",
        "What is there: rows, labels, duplicates, what cannot be used and why.",
        ("data",),
        ("label", "task", *JOB, *TALK),
    ),
    Verb(
        "prepare",
        "Clean, split and encode the data once, for all runs that follow.",
        ("data",),
        ("label", "task", "remove", *JOB, *TALK),
    ),
    Verb("plan", "What would be trained, how long and why.", ("data",), ("label", "task", *JOB, *TALK)),
    Verb("pretrain", "Train an encoder without labels.", ("data",), ("label", "task", *JOB, *TALK)),
    Verb(
        "finetune",
        "Train the encoder of a run, or of a checkpoint of transformers, with labels.",
        ("run", "data"),
        ("label", "minutes", "freeze", "allow_download", *PLACE, *TALK),
        ENCODING,
        foreign=True,
    ),
    Verb(
        "evaluate",
        "Score the model of a run, with intervals.",
        ("run", "data"),
        ("label", "task", *JOB, *TALK),
        ANSWERING,
        optional=("data",),
    ),
    Verb(
        "prove",
        "Did pretraining pay? Compare with honest baselines and say so with intervals.",
        ("data",),
        ("label", "labels", "task", "slices", "encoder", "public", "allow_download", *JOB, *TALK),
    ),
    Verb(
        "predict",
        "Answer for new files or texts.",
        ("run", "inputs"),
        ("to_file", "abstain", "threads", "config", "set", *TALK),
        ANSWERING,
    ),
    Verb(
        "suggest",
        "Which rows to label next: the most telling ones, each with its reason.",
        ("run", "data"),
        ("count", "to_rows", "label", "seed", "threads", "config", "set", *TALK),
        ENCODING,
    ),
    Verb(
        "embed",
        "Vectors of new files or texts, from the pretrained encoder.",
        ("run", "inputs"),
        ("to_file", "threads", "config", "set", *TALK),
        TRAINED,
    ),
    Verb("report", "Write the report of a run again.", ("run",), TALK),
    Verb("export", "Write the encoder for use elsewhere.", ("run",), ("to_format", "out_folder", *TALK), TRAINED),
    Verb(
        "runs",
        "List, show, compare and clear runs.",
        ("runs_action", "places"),
        ("out", "dry_run", *TALK),
        optional=("runs_action", "places"),
    ),
    Verb(
        "config",
        "Every option: as it resolves, as a file to begin with, as a JSON schema.",
        ("config_action",),
        ("to_text", "label", "task", *(flag for flag in JOB if flag not in ("out", "dry_run")), *TALK),
        optional=("config_action",),
    ),
    Verb("doctor", "What machine and installation can do, and what is wrong with them.", (), ("out", *TALK)),
)
