"""The report of a run: one page that needs nothing else, the same as JSON for programs and as Markdown for a commit."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from seedbed.core.runs import write_atomic
from seedbed.report import charts
from seedbed.report.charts import Chart
from seedbed.report.read import Files, Proof, read_files
from seedbed.report.story import clock, diagnose, headline, limits, main_figures, stage_title

MAX_CLASSES = 12
MAX_LABELS = 30
MAX_WORST = 12
MAX_PREVIEW = 400
MAX_IMAGE = 40_000
PICTURE = re.compile(r'<img [^<>]*src="(data:image/png;base64,[A-Za-z0-9+/=]+)"[^<>]*>')


def write_report(run_folder: Path) -> Path:
    """Write report.html, report.json and report.md from what a run folder holds.

    Returns: the path of the page.

    Raises:
        DataError: a file of the run is damaged, or there is nothing to report.
        MachineError: the report cannot be written.
    """
    files = read_files(run_folder)
    content, drawn = contents(files), drawings(files)
    tables = [{"title": c.title, "columns": list(c.columns), "rows": [list(row) for row in c.rows]} for c in drawn]
    as_json = json.dumps(_finite({**content, "tables": tables}), ensure_ascii=False, indent=1, allow_nan=False)
    page = _template("page.html.j2", autoescape=True).render(**content, charts=_by_section(drawn), picture=picture)
    brief = _template("page.md.j2", autoescape=False).render(**content, charts=_by_section(drawn))
    write_atomic(run_folder / "report.json", as_json.encode())
    write_atomic(run_folder / "report.md", brief.encode())
    write_atomic(run_folder / "report.html", page.encode())
    return run_folder / "report.html"


def contents(files: Files) -> dict[str, Any]:
    """Everything the report says, as plain values."""
    proof = files.proof
    return {
        "name": files.folder.resolve().name,
        "verb": str(files.run.get("verb", "")),
        "status": str(files.run.get("status", "unfinished")),
        "started": str(files.run.get("started", "")),
        "headline": dataclasses.asdict(headline(files)),
        "n_labels": proof.verdict.get("n_labels") if proof else None,
        "stages": [
            {
                "stage": c.stage,
                "title": stage_title(c.stage),
                "said": diagnose(c),
                "chance": c.chance,
                "seconds": c.seconds,
                "metrics": dict(c.metrics),
            }
            for c in files.curves
        ],
        "diagnosis": _diagnosis(files.diagnosis),
        "data": _data(files.data),
        "confusion": _confusion(proof.detail.get("confusion") or {}) if proof else {},
        "names": [dict(row) for row in proof.detail.get("names") or []] if proof else [],
        "measures": _measures(proof) if proof else {},
        "slices": _slices(proof) if proof else {},
        "worst": [dict(item) for item in proof.worst[:MAX_WORST]] if proof else [],
        "spent": _spent(files),
        "figures": main_figures(files),
        "reasons": [str(reason) for reason in files.plan.get("reasons") or []],
        "reproduce": _reproduce(files),
        "limits": limits(files),
    }


def drawings(files: Files) -> list[Chart]:
    """All charts there are figures for."""
    found: list[Chart] = []
    proof = files.proof
    if proof is not None:
        if proof.differences:
            found.append(charts.differences(proof.differences, proof.confidence, proof.metric))
        n_labels = int(proof.verdict.get("n_labels") or (proof.labels[-1] if proof.labels else 0))
        if any(n_labels in arm.scores for arm in proof.arms):
            found.append(charts.arm_means(proof.arms, n_labels, proof.confidence, proof.metric))
        if len(proof.labels) > 1:
            found.append(charts.label_curve(proof.arms, proof.labels, proof.confidence, proof.metric))
        residuals = proof.detail.get("residuals")
        if residuals:
            found.append(charts.residuals(residuals["truth"], residuals["answer"], str(proof.detail["arm"])))
    for curve in files.curves:
        if curve.train or curve.validation:
            found.append(charts.learning_curve(curve))
        watched = charts.watched(curve)
        if watched is not None:
            found.append(watched)
    return found


def picture(preview: str) -> dict[str, str]:
    """A reader's preview taken apart, so that nothing but a PNG's data or escaped text reaches the page.

    Args:
        preview: HTML by a reader: escaped text, or one <img> with a data URI.
    """
    found = PICTURE.fullmatch(preview.strip())
    if found:
        return {"image": found[1]} if len(found[1]) <= MAX_IMAGE else {"text": "(picture too large to show)"}
    text = html.unescape(preview)
    return {"text": text if len(text) <= MAX_PREVIEW else text[:MAX_PREVIEW].rstrip() + " …"}


def _diagnosis(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Findings as they were kept, and what was looked at; empty where nobody has looked."""
    parts = ("kind", "severity", "evidence", "cause", "advice")
    found = [
        {**{part: str(finding[part]) for part in parts}, "keys": [str(key) for key in finding.get("keys") or []]}
        for finding in raw.get("findings") or []
    ]
    return {"looked_at": [str(name) for name in raw.get("looked_at") or []], "findings": found}


def _data(raw: Mapping[str, Any]) -> dict[str, Any]:
    counts = {str(k): int(v) for k, v in (raw.get("counts") or {}).items() if isinstance(v, int)}
    total = counts.pop("total", sum(counts.values()))
    labels = sorted((raw.get("labels") or {}).items(), key=lambda item: (-item[1], item[0]))
    most = max((count for _, count in labels), default=0)
    return {
        "modality": str(raw.get("modality", "")),
        "dataset_id": str(raw.get("dataset_id", "")),
        "understood": [str(line) for line in raw.get("understood") or []],
        "fates": [{"name": k, "count": v, "share": v / total if total else 0.0} for k, v in counts.items()],
        "total": total,
        "adds_up": sum(counts.values()) == total,
        "splits": {str(k): int(v) for k, v in (raw.get("splits") or {}).items() if v},
        "labels": [{"name": str(k), "count": v, "share": v / most if most else 0.0} for k, v in labels[:MAX_LABELS]],
        "more_labels": max(len(labels) - MAX_LABELS, 0),
        "quarantined": [{"key": str(q["key"]), "reason": str(q["reason"])} for q in raw.get("quarantined") or []],
    }


def _slices(proof: Proof) -> dict[str, Any]:
    """Parts of the items: both arms' scores and their difference, in words."""
    rows = []
    for row in proof.slices.get("rows") or []:
        cells = [
            [charts.figure_of(row[arm][name]) for name in ("mean", "low", "high")] for arm in ("pretrained", "other")
        ]
        gap = [proof.metric.amount(row["difference"][name], "+") for name in ("value", "low", "high")]
        rows.append({"by": str(row["by"]), "value": str(row["value"]), "items": row["items"], "cells": [*cells, gap]})
    if not rows:
        return {}
    said = [str(proof.slices["remark"]), *(f"{text[:1].upper()}{text[1:]}." for text in proof.slices["left_out"])]
    counted = f"difference in {proof.metric.noun}" if proof.metric.noun else "difference"
    return {"columns": [*proof.slices["arms"], counted], "rows": rows, "said": said}


def _measures(proof: Proof) -> dict[str, Any]:
    """Every metric of every arm at the label count of the verdict, with bounds."""
    n_labels = int(proof.verdict.get("n_labels") or 0)
    scored = [(arm.name, arm.scores[n_labels].metrics) for arm in proof.arms if n_labels in arm.scores]
    names = list(dict.fromkeys(name for _, metrics in scored for name in metrics))
    rows = [
        {
            "arm": arm,
            "cells": [[charts.figure_of(value) for value in metrics[n]] if n in metrics else [] for n in names],
        }
        for arm, metrics in scored
    ]
    return {"columns": [name.replace("_", " ") for name in names], "rows": rows} if names else {}


def _confusion(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The matrix of the classes most often confused, and the pairs by how often."""
    if not raw:
        return {}
    names, counts = [str(name) for name in raw["classes"]], raw["counts"]
    size = len(names)
    wrong = [sum(counts[i]) + sum(row[i] for row in counts) - 2 * counts[i][i] for i in range(size)]
    kept = sorted(sorted(range(size), key=lambda i: -wrong[i])[:MAX_CLASSES])
    pairs = sorted(
        ((counts[i][j], i, j) for i in range(size) for j in range(size) if i != j and counts[i][j]), reverse=True
    )
    rows = []
    for i in kept:
        total = sum(counts[i])
        cells = [{"count": counts[i][j], "share": counts[i][j] / total if total else 0.0, "hit": i == j} for j in kept]
        rows.append({"name": names[i], "cells": cells, "total": total})
    return {
        "classes": [names[i] for i in kept],
        "rows": rows,
        "left_out": size - len(kept),
        "pairs": [{"truth": names[i], "predicted": names[j], "count": n} for n, i, j in pairs[:8]] if size > 2 else [],
    }


def _spent(files: Files) -> list[dict[str, Any]]:
    rows = [(f"training: {curve.stage}", curve.seconds) for curve in files.curves if curve.seconds]
    rows += [(f"arm: {name}", seconds) for name, seconds in (files.proof.seconds if files.proof else {}).items()]
    total = float(files.run.get("seconds") or 0.0)
    longest = max([total, *(float(seconds) for _, seconds in rows)], default=0.0)
    if total:
        rows.append(("whole command", total))
    return [{"name": n, "time": clock(float(s)), "share": float(s) / longest if longest else 0.0} for n, s in rows]


def _reproduce(files: Files) -> dict[str, Any]:
    verb = str(files.run.get("verb") or "run")
    environment = files.run.get("environment") or {}
    return {
        "command": str(files.run.get("command") or _command(verb, files.config)),
        "again": f"seedbed {verb} DATA --config {shlex.quote(files.folder.name + '/config.toml')}",
        "seed": files.run.get("seed"),
        "dataset_id": str(files.run.get("dataset_id") or files.data.get("dataset_id") or ""),
        "environment": {name: str(value) for name, value in _flat(environment)},
        "config": files.config,
    }


def _command(verb: str, config: str) -> str:
    """The command that was given, read back from the origins in the configuration; DATA stands for its paths."""
    words, table = ["seedbed", verb, "DATA"], ""
    for line in config.splitlines():
        if line.startswith("["):
            table = line.strip("[]") + "."
        found = re.fullmatch(r"(\S+) = (.*)  # (flag|file (.+))", line)
        if found and found[4] and "--config" not in words:
            words += ["--config", shlex.quote(found[4])]
        elif found and not found[4]:
            value = tomllib.loads(f"value = {found[2]}")["value"]
            if table:
                bare = isinstance(value, str) and re.fullmatch(r"[a-z_]+", value)
                words += ["--set", shlex.quote(f"{table}{found[1]}={value if bare else found[2]}")]
            else:
                words += [f"--{found[1]}", shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))]
    return " ".join(words)


def _flat(table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Single values of nested tables by their own names."""
    rows: list[tuple[str, Any]] = []
    for name, value in table.items():
        rows += _flat(value) if isinstance(value, Mapping) else [(name, value)]
    return rows


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _by_section(drawn: Sequence[Chart]) -> dict[str, list[dict[str, Any]]]:
    """Charts by the part of the page they stand in; their SVG is ours and safe."""
    sections: dict[str, list[dict[str, Any]]] = {"proof": [], "curves": []}
    for chart in drawn:
        shown = {**{f.name: getattr(chart, f.name) for f in dataclasses.fields(chart)}, "svg": Markup(chart.svg)}
        sections["curves" if chart.key.startswith(("curve-", "watched-")) else "proof"].append(shown)
    return sections


@cache
def _template(name: str, autoescape: bool) -> Any:
    environment = Environment(
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["thousands"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    environment.filters["share"] = lambda value: "< 0.1%" if 0 < value < 0.001 else f"{value:.1%}"
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    return environment.from_string((resources.files("seedbed.report") / name).read_text(encoding="utf-8"))
