"""What no file of the package may do. Each rule is a function of one source, tried on a planted fault as well."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.structure.sources import PACKAGE, Function, Source, dotted, imported_modules, sources

NETWORK = {
    "aiohttp", "ftplib", "http", "httpx", "imaplib", "poplib", "requests", "smtplib", "socket", "socketserver",
    "ssl", "telnetlib", "urllib", "urllib3", "websockets", "xmlrpc",
}  # fmt: skip
PICKLING = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNPICKLING = {"torch.load", "torch.save", "numpy.load", "np.load", "pandas.read_pickle"}
DISTRIBUTED = {"src/seedbed/core/device.py", "src/seedbed/train/parallel.py"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
ABSTRACT_DEFAULT = "zero_head_"  # the one method of the contract that a learner without a head leaves out

Rule = Callable[[Source], Iterator[str]]


def place(source: Source, node: ast.AST, what: str) -> str:
    return f"{source.name}:{getattr(node, 'lineno', 0)} {what}"


def is_command_line(source: Source) -> bool:
    return source.name.startswith("src/seedbed/cli/")


def own_imports_inside_functions(source: Source) -> Iterator[str]:
    """Hidden imports hide the layers; the command line and lazy package attributes need them for a fast start."""
    if is_command_line(source) or source.path == PACKAGE / "__init__.py":
        return
    for _, function, _ in source.functions():
        for node in ast.walk(function):
            for name in imported_modules(node):
                if name.split(".")[0] == "seedbed":
                    yield place(source, node, name)


def relative_imports(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield place(source, node, "relative import")


def pickling(source: Source) -> Iterator[str]:
    """Loading a pickle runs what is in it."""
    for node in ast.walk(source.tree):
        for name in imported_modules(node):
            if name.split(".")[0] in PICKLING:
                yield place(source, node, name)
        if isinstance(node, ast.Call) and dotted(node.func) in UNPICKLING:
            safe = any(word.arg == "allow_pickle" and _is_constant(word.value, False) for word in node.keywords)
            if not safe:
                yield place(source, node, dotted(node.func))
        if isinstance(node, ast.Call) and dotted(node.func) in {"eval", "exec"}:
            yield place(source, node, dotted(node.func))


def _is_constant(node: ast.AST, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def printing(source: Source) -> Iterator[str]:
    """Only the command line prints or exits; verbs say events."""
    if is_command_line(source):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and dotted(node.func) in {"print", "input", "exit", "quit", "sys.exit"}:
            yield place(source, node, dotted(node.func))
        for name in imported_modules(node):
            if name.split(".")[0] in {"argparse", "typer", "rich"}:
                yield place(source, node, name)


def distribution(source: Source) -> Iterator[str]:
    if source.name in DISTRIBUTED:
        return
    for node in ast.walk(source.tree):
        names = [*imported_modules(node), dotted(node)]
        if any(name.startswith("torch.distributed") for name in names):
            yield place(source, node, "torch.distributed")


def networking(source: Source) -> Iterator[str]:
    """No telemetry, no downloads: nothing here speaks to another machine."""
    for node in ast.walk(source.tree):
        for name in imported_modules(node):
            if name.split(".")[0] in NETWORK:
                yield place(source, node, name)


def untyped_keywords(source: Source) -> Iterator[str]:
    """`**kwargs` says nothing about what may be given; what is collected has a name and a type."""
    for name, function, _ in source.functions():
        extra = function.args.kwarg
        if extra is not None and (extra.annotation is None or extra.arg == "kwargs"):
            yield place(source, function, name)


def probing(source: Source) -> Iterator[str]:
    """A contract is declared, not guessed: no hasattr, no getattr of a literal name."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        literal = len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
        if dotted(node.func) == "hasattr" or (dotted(node.func) == "getattr" and literal):
            yield place(source, node, dotted(node.func))


def unfinished(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if UNFINISHED.search(line):
            yield f"{source.name}:{number} {line.strip()}"
    for name, function, _ in source.functions():
        raises = [node for node in ast.walk(function) if dotted(node) == "NotImplementedError"]
        if raises and not name.endswith(ABSTRACT_DEFAULT):
            yield place(source, function, name)


def blanket_excepts(source: Source) -> Iterator[str]:
    """A catch-all that goes on hides our own mistakes; only the command line turns them into one line."""
    if is_command_line(source):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and (
            node.type is None or dotted(node.type) in {"Exception", "BaseException"}
        ):
            if not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                yield place(source, node, "except Exception")


def errors_without_a_way_out(source: Source) -> Iterator[str]:
    """Every error a user can meet says what to do."""
    ours = {"UsageError", "DataError", "MachineError", "OutOfMemoryError", "BudgetError", "TrainingError"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and dotted(node.func) in ours and not isinstance(node, ast.ClassDef):
            words = {word.arg for word in node.keywords}
            if "fix" not in words and None not in words:
                yield place(source, node, dotted(node.func))


RULES: dict[Rule, str] = {
    own_imports_inside_functions: "def f():\n    from seedbed.core import types\n",
    relative_imports: "from .core import types\n",
    pickling: "import torch\nw = torch.load('x')\n",
    printing: "print('x')\n",
    distribution: "import torch\ntorch.distributed.barrier()\n",
    networking: "from urllib.request import urlopen\n",
    untyped_keywords: "def f(**options): ...\n",
    probing: "hasattr(object(), 'x')\n",
    unfinished: "x = 1  # TODO\n",
    blanket_excepts: "try:\n    pass\nexcept Exception:\n    pass\n",
    errors_without_a_way_out: "raise DataError('broken')\n",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds_everywhere(rule: Rule) -> None:
    files = sources()
    assert len(files) >= 40
    assert [breach for source in files for breach in rule(source)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_finds_its_planted_fault(rule: Rule) -> None:
    assert list(rule(Source(PACKAGE / "models" / "planted.py", RULES[rule])))


def legend() -> set[str]:
    """The letters that core/types.py gives a meaning to."""
    text = (PACKAGE / "core" / "types.py").read_text(encoding="utf-8")
    block = text[text.index("Axis legend") : text.index("`keep` is True")]
    return set(re.findall(r"(?:^|\s{2,})([A-Z])  ", block, re.MULTILINE))


AXES = re.compile(r"_?[a-z][A-Za-z0-9_]*?_([0-9]?[A-Z][0-9A-Z]*)$")


def axis_suffixes(source: Source) -> Iterator[tuple[str, str]]:
    for node in ast.walk(source.tree):
        name = node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else ""
        found = AXES.match(name)
        if found:
            yield name, found.group(1)


def test_axis_suffixes_follow_the_legend() -> None:
    letters = legend()
    assert letters == set("BNDHKVCPYXSIMF")
    seen = {pair for source in sources() for pair in axis_suffixes(source)}
    assert len(seen) >= 50
    strange = [name for name, axes in seen if not set(re.sub(r"[0-9]", "", axes)) <= letters]
    assert strange == []


def test_axis_check_finds_its_planted_fault() -> None:
    planted = Source(PACKAGE / "models" / "planted.py", "logits_BQ = 1\n")
    assert list(axis_suffixes(planted)) == [("logits_BQ", "BQ")]
    assert "Q" not in legend()


def class_bases() -> dict[str, list[str]]:
    return {
        node.name: [dotted(base).rsplit(".", 1)[-1] for base in node.bases]
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
    }


def test_learners_are_abstract_or_final() -> None:
    bases = class_bases()
    learners = {name for name, of in bases.items() if set(of) & {"Learner", "Task"}}
    assert len(learners - {"Task"}) >= 7
    deeper = [name for name, of in bases.items() if set(of) & (learners - {"Task"})]
    assert deeper == []


def learner_files() -> list[Path]:
    folders = [PACKAGE / "objectives", PACKAGE / "tasks"]
    return [path for folder in folders for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]


def test_a_learner_file_holds_setup_config_views_and_one_learner() -> None:
    files = learner_files()
    assert len(files) >= 7
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
        functions = [node.name for node in tree.body if isinstance(node, Function) and node.name[0] != "_"]
        assert len(classes) == 2 and "Config" in classes, f"{path.name} holds the classes {classes}"
        assert functions == ["views"], f"{path.name} holds the functions {functions}"
        assert re.search(r"^SETUP\b", path.read_text(encoding="utf-8"), re.MULTILINE), path.name
