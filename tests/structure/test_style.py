"""The style budget: numbers that keep files small enough to read, printed as a table and enforced."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from statistics import median

from tests.structure.sources import PACKAGE, ROOT, Function, Source, sources

MAX_FILE, MAX_FUNCTION, MAX_PARAMETERS, MAX_LOOP = 400, 60, 7, 250
# The package as a whole: raised from 16,000 when trunks, objectives and readers beyond the first path came in.
MAX_PACKAGE = 30_000


@dataclass(frozen=True)
class Measured:
    place: str
    lines: int
    parameters: int
    public: bool
    documented: bool
    annotated: bool


def length(node: Function) -> int:
    first = min([node.lineno] + [decorator.lineno for decorator in node.decorator_list])
    return (node.end_lineno or first) - first + 1


def parameters(node: Function) -> list[ast.arg]:
    """What a caller gives: without self, cls and the collecting ones."""
    every = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
    return [argument for argument in every if argument.arg not in {"self", "cls"}]


def measure(source: Source) -> list[Measured]:
    return [
        Measured(
            place=f"{source.name}:{node.lineno} {name}",
            lines=length(node),
            parameters=len(parameters(node)),
            public=public,
            documented=ast.get_docstring(node) is not None,
            annotated=node.returns is not None and all(argument.annotation for argument in parameters(node)),
        )
        for name, node, public in source.functions()
    ]


def is_override(place: str) -> bool:
    """Methods whose meaning the contract in core/types.py or torch states once for all."""
    contract = {
        "forward",
        "backward",
        "parameters_of",
        "after_step",
        "zero_head_",
        "at_zero",
        "chance",
        "predict",
        "answers",
        "extra_repr",
    }
    return place.rsplit(".", 1)[-1] in contract and not place.startswith("src/seedbed/core/types.py")


def test_style_budget() -> None:
    files = sources()
    functions = [measured for source in files for measured in measure(source)]
    assert len(files) >= 40 and len(functions) >= 200
    lines = {source.name: len(source.text.splitlines()) for source in files}
    tests = sum(len(source.text.splitlines()) for source in sources(ROOT / "tests"))
    spans = sorted(measured.lines for measured in functions)
    public = [measured for measured in functions if measured.public]
    undocumented = [
        measured.place for measured in public if not measured.documented and not is_override(measured.place)
    ]
    unannotated = [measured.place for measured in functions if not measured.annotated]
    filled = [count for count in lines.values() if count]
    table = {
        "files": len(files),
        "lines of the package": sum(filled),
        "lines a file, median / max": f"{median(filled):.0f} / {max(filled)}",
        "lines a function, median / p90 / max": f"{median(spans):.0f} / {spans[len(spans) * 9 // 10]} / {spans[-1]}",
        "most parameters": max(measured.parameters for measured in functions),
        "public functions documented": f"{1 - len(undocumented) / len(public):.1%} of {len(public)}",
        "functions annotated": f"{1 - len(unannotated) / len(functions):.1%} of {len(functions)}",
        "test lines per line": f"{tests / sum(filled):.2f}",
    }
    print("\n" + "\n".join(f"{name:40} {value}" for name, value in table.items()))

    assert [name for name, count in lines.items() if count > MAX_FILE] == []
    assert [measured.place for measured in functions if measured.lines > MAX_FUNCTION] == []
    assert [measured.place for measured in functions if measured.parameters > MAX_PARAMETERS] == []
    assert undocumented == []
    assert unannotated == []
    assert lines["src/seedbed/train/loop.py"] <= MAX_LOOP
    assert sum(filled) <= MAX_PACKAGE
    assert median(spans) <= 15


def test_public_classes_and_modules_are_documented() -> None:
    bare = []
    count = 0
    for source in sources():
        if source.text.strip() and ast.get_docstring(source.tree) is None:
            bare.append(source.name)
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                count += 1
                if ast.get_docstring(node) is None:
                    bare.append(f"{source.name}:{node.lineno} {node.name}")
    assert count >= 40
    assert bare == []


def test_the_measure_finds_planted_faults() -> None:
    long = "def long(a, b, c, d, e, f, g, h):\n" + "    x = 1\n" * 60
    measured = measure(Source(PACKAGE / "planted.py", long))[0]
    assert measured.lines > MAX_FUNCTION and measured.parameters > MAX_PARAMETERS
    assert not measured.documented and not measured.annotated
