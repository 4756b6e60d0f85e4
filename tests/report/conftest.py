"""A run folder of exactly the shape that verbs write, with invented figures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seedbed.core.config import dump_toml, resolve
from seedbed.core.runs import write_json

LABELS = (50, 200, 1000)
ARMS = (
    ("majority", "majority", False, (0.5, 0.5, 0.5)),
    ("tf-idf + logistic regression", "classic", False, (0.66, 0.743, 0.831)),
    ("lsa + logistic regression", "classic", False, (0.69, 0.721, 0.80)),
    ("from scratch", "scratch", False, (0.56, 0.61, 0.74)),
    ("frozen + probe", "frozen", True, (0.733, 0.796, 0.849)),
    ("fine-tuned", "finetuned", True, (0.70, 0.79, 0.858)),
)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \"'&amp; 坏样本"


def _picture() -> str:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    held = io.BytesIO()
    Image.fromarray(pixels).resize((64, 64)).save(held, "PNG")
    return (
        f'<img alt="" width="64" height="64" src="data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}">'
    )


def _proof(outcome: str, n_items: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    arms = []
    for name, kind, pretrained, means in ARMS:
        scores = {}
        for n, mean in zip(LABELS, means, strict=True):
            spread = 0.0 if kind == "majority" else 0.25 / np.sqrt(n)
            draws = np.clip(mean + spread * rng.standard_normal(5), 0, 1)
            half = 2.2 * spread / np.sqrt(5) + 0.004
            scores[str(n)] = {
                "mean": float(draws.mean()), "low": float(draws.mean() - half), "high": float(draws.mean() + half),
                "draws": draws.tolist(), "selection": float(draws.mean() - 0.01),
            }  # fmt: skip
        arms.append({"name": name, "kind": kind, "pretrained": pretrained, "scores": scores})
    shift = {"paid": (0.043, 0.053, 0.018), "did not pay": (-0.03, -0.02, -0.01), "cannot tell": (0.01, 0.006, 0.002)}
    differences = {
        str(n): {
            "best_pretrained": "fine-tuned" if n == 1000 else "frozen + probe",
            "best_other": "lsa + logistic regression" if n == 50 else "tf-idf + logistic regression",
            "value": value, "low": value - 0.25 / n**0.5, "high": value + 0.25 / n**0.5, "num_draws": 5,
            "num_items": n_items, "draw_sd": 0.02, "item_sd": 0.004,
        }
        for n, value in zip(LABELS, shift[outcome], strict=True)
    }  # fmt: skip
    sentence = {
        "paid": "Pretraining paid: at 200 labels, frozen + probe was right on 5.3 points more of the test rows than "
        "tf-idf + logistic regression (95 % interval +3.5 to +7.1; 5 draws, 25,000 items).",
        "did not pay": "Pretraining did not pay: at 200 labels, tf-idf + logistic regression was as good or better.",
        "cannot tell": "Cannot tell: at 200 labels the difference of +0.6 points may be chance; about 900 labels more "
        "would tell.",
    }
    return {
        "confidence": 0.95, "labels": list(LABELS), "arms": arms, "differences": differences,
        "verdict": {"outcome": outcome, "sentence": sentence[outcome], "n_labels": 200, "labels_to_tell": 900},
        "detail": {"confusion": {"classes": ["negative", "positive <b>"], "counts": [[9871, 2629], [2471, 10029]]}},
        "worst": [
            {"key": "test.parquet:17", "truth": "negative", "predicted": "positive <b>", "confidence": 0.993,
             "preview": HOSTILE},
            {"key": "test.parquet:90210", "truth": "positive <b>", "predicted": "negative", "confidence": 0.987,
             "preview": "I wanted to hate this film &amp; could not. &lt;br /&gt; The acting is dreadful, the plot "
             "is thin, and I have seen it four times. " * 3},
            {"key": "digits/7/12.png", "truth": "negative", "predicted": "positive <b>", "confidence": 0.97,
             "preview": _picture()},
        ],
        "seconds": {"majority": 0.1, "tf-idf + logistic regression": 74.0, "lsa + logistic regression": 41.0,
                    "from scratch": 610.0, "frozen + probe": 35.0, "fine-tuned": 702.0},
    }  # fmt: skip


def _events(stage: str, steps: int, chance: float, end: float, *, rising: bool = False) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    lines: list[dict[str, Any]] = []
    for step in range(0, steps + 1, max(steps // 400, 1)):
        loss = end + (chance - end) * float(np.exp(-4 * step / steps))
        if step:
            lines.append(
                {"stage": stage, "event": "step", "step": step, "loss": loss + 0.04 * float(rng.standard_normal()),
                 "lr": 1e-3, "rate": 51_000.0, "skipped": 0}
            )  # fmt: skip
        if step % max(steps // 10, 1) == 0:
            over = 0.25 * (step / steps) ** 2 if rising else 0.03
            lines.append(
                {"stage": stage, "event": "evaluation", "step": step, "loss": loss + over, "chance": chance,
                 "metrics": {"accuracy": 0.5 + 0.3 * step / steps} if stage == "finetune" else {},
                 "seconds": step / 10, "untrained_floor": 0.53, "probe": 0.53 + 0.22 * (step / steps) ** 0.5,
                 "feature_std": 0.9 - 0.3 * step / steps, "effective_rank": 90 + 20 * step / steps}
            )  # fmt: skip
    return lines


def write_run(out: Path, outcome: str, *, proof: bool, name: str) -> Path:
    folder = out / name
    (folder / "eval").mkdir(parents=True)
    flags = {"label": "label", "minutes": 60, "seed": 7}
    layers: list[tuple[str, dict[str, Any]]] = [
        ("flag", flags),
        ("planner: 51,000 tokens/s measured", {"objective": "skip_gram", "trunk": "bag"}),
    ]
    (folder / "config.toml").write_text(dump_toml(resolve(layers)), encoding="utf-8")
    events = _events("pretrain", 4000, 7.1, 4.2) + (_events("finetune", 400, 0.693, 0.2, rising=True) if proof else [])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
    write_json(
        folder / "plan.json",
        {"objective": "skip_gram", "trunk": "bag", "size": "micro", "steps": 4000, "batch_size": 256,
         "precision": "bfloat16", "threads": 2, "seq_len": 64,
         "reasons": ["Word vectors were the best for little time on film reviews.", "Minutes allow 4,000 steps."]},
    )  # fmt: skip
    write_json(
        folder / "data.json",
        {"dataset_id": "6f0c5a3d9e", "folder": "6f0c5a3d9e", "modality": "text",
         "understood": ["A folder of three tables: train, test, unsup.", 'Column "text" is the text.'],
         "counts": {"used": 99_572, "duplicate": 414, "quarantined": 9, "excluded": 5, "total": 100_000},
         "splits": {"train": 70_800, "validation": 3_772, "test": 25_000, "held": 0},
         "labels": {"negative": 24_900, "positive <b>": 24_672},
         "quarantined": [{"key": "unsup.parquet:12", "reason": "holds <NUL> bytes"},
                         {"key": "train.parquet:9", "reason": "conflicting labels: negative, positive"}]},
    )  # fmt: skip
    write_json(
        folder / "run.json",
        {"status": "finished", "verb": "run" if proof else "pretrain",
         "command": "seedbed run imdb --label label --minutes 60 --seed 7", "seed": 7, "dataset_id": "6f0c5a3d9e",
         "started": "2026-11-22T04:00:00+0000", "seconds": 2874.0,
         "environment": {"python": "3.11.7", "torch": "2.13.0", "platform": "Linux"},
         "summary": {"objective": "skip_gram", "steps": 4000, "peak_rss_bytes": 1_900_000_000}},
    )  # fmt: skip
    if proof:
        write_json(folder / "eval" / "proof.json", _proof(outcome, 25_000))
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    def make(outcome: str = "paid", *, proof: bool = True, name: str = "run-imdb-0a1b2c3d") -> Path:
        return write_run(tmp_path, outcome, proof=proof, name=name)

    return make
