"""The report's charts, each with the table it was drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from seedbed.evaluate.scoring import Metric
from seedbed.report.read import Arm, Curve, Difference
from seedbed.report.svg import COLOURS, drawing, svg_of

WIDTH = 7.6
ROW = 0.32
MAX_POINTS = 400


@dataclass(frozen=True)
class Chart:
    """One drawing with its words and its figures.

    Attributes:
        key: names the chart in ids.
        svg: safe to put into a page as it is.
        columns, rows: the table behind it.
    """

    key: str
    title: str
    caption: str
    svg: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def differences(found: Sequence[Difference], confidence: float, metric: Metric) -> Chart:
    """Forest plot: how much better the best pretrained arm is than the best other one at each label count."""
    per = metric.per
    with drawing():
        names = [f"{item.n_labels:,} labels" for item in found]
        figure, axes = _forest(names)
        axes.axvline(0, color=COLOURS["ink"], linewidth=1)
        for y, item in enumerate(found):
            colour = COLOURS["good" if item.low > 0 else "bad" if item.high <= 0 else "unsure"]
            _whisker(axes, y, per * item.value, per * item.low, per * item.high, colour)
            axes.annotate(
                metric.amount(item.value, "+"), (per * item.value, y), (0, 7), textcoords="offset points", ha="center",
                color=colour, fontweight="bold",
            )  # fmt: skip
        reach = max(0.01 * per * metric.unit, *(per * max(abs(item.low), abs(item.high)) for item in found))
        axes.set_xlim(-1.15 * reach, 1.15 * reach)
        counted = f"{metric.noun} of {metric.name}" if metric.noun else metric.name
        axes.set_xlabel(f"{counted}:  other arm better  ←   0   →  pretrained better")
        svg = svg_of(figure, "differences")
    return Chart(
        "differences",
        "Best pretrained arm against best other arm",
        f"Difference in {metric.name} with its {confidence:.0%} interval, over label draws and test items together.",
        svg,
        ("labels", "pretrained arm", "other arm", "difference", "low", "high", "draws", "items", "verdict"),
        [
            (f"{d.n_labels:,}", d.best_pretrained, d.best_other,
             *(metric.amount(value, "+") for value in (d.value, d.low, d.high)),
             f"{d.num_draws:,}", f"{d.num_items:,}", d.outcome)
            for d in found
        ],
    )  # fmt: skip


def arm_means(arms: Sequence[Arm], n_labels: int, confidence: float, metric: Metric) -> Chart:
    """Mean score of every arm at one label count, the best on top; small dots are the draws."""
    turn = 1 if metric.falling else -1
    shown = sorted((arm for arm in arms if n_labels in arm.scores), key=lambda arm: turn * arm.scores[n_labels].mean)
    colours = arm_colours(arms)
    with drawing():
        figure, axes = _forest([arm.name for arm in shown])
        for y, arm in enumerate(shown):
            score = arm.scores[n_labels]
            colour = COLOURS[colours[arm.name]]
            axes.plot(score.draws, [y] * len(score.draws), "o", color=colour, alpha=0.35, markersize=3.5, mew=0)
            _whisker(axes, y, score.mean, score.low, score.high, colour)
            axes.annotate(
                figure_of(score.mean), (score.mean, y), (0, 7), textcoords="offset points", ha="center", color=colour,
                fontweight="bold",
            )  # fmt: skip
        for label, arm in zip(axes.get_yticklabels(), shown, strict=True):
            label.set(
                color=COLOURS["ink" if arm.pretrained else "muted"], weight="bold" if arm.pretrained else "normal"
            )
        axes.set_xlabel(metric.name + (": less is better" if metric.falling else ""))
        svg = svg_of(figure, "arms")
    return Chart(
        "arms",
        f"Every arm at {n_labels:,} labels",
        f"{_capital(metric.name)} with its {confidence:.0%} interval; dots are single draws. In bold: pretrained arms.",
        svg,
        ("arm", "kind", "pretrained", metric.name, "low", "high", "on training labels"),
        [
            (a.name, a.kind, "yes" if a.pretrained else "no", *_score_cells(a, n_labels), _selection(a, n_labels))
            for a in shown
        ],
    )  # fmt: skip


def label_curve(arms: Sequence[Arm], labels: Sequence[int], confidence: float, metric: Metric) -> Chart:
    """Score against the number of labels, one line an arm, named at its end."""
    colours = arm_colours(arms)
    with drawing():
        figure = Figure(figsize=(WIDTH, 3.6))
        axes = figure.add_axes((0.07, 0.13, 0.91 - _room([arm.name for arm in arms]), 0.83))
        ends = []
        for index, arm in enumerate(arms):
            counts = [n for n in labels if n in arm.scores]
            if not counts:
                continue
            # A little aside, so that intervals at the same count can be told apart.
            places = [n * (1 + 0.022 * (index - len(arms) / 2)) for n in counts]
            means = [arm.scores[n].mean for n in counts]
            lows = [arm.scores[n].mean - arm.scores[n].low for n in counts]
            highs = [arm.scores[n].high - arm.scores[n].mean for n in counts]
            colour = COLOURS[colours[arm.name]]
            axes.errorbar(
                places, means, yerr=(lows, highs), color=colour, linewidth=2.2 if arm.pretrained else 1.3,
                linestyle="-" if arm.pretrained else (0, (4, 2)), marker="o", markersize=5 if arm.pretrained else 4,
                elinewidth=1,
            )  # fmt: skip
            ends.append((means[-1], arm.name, colour, arm.pretrained))
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(list(labels), [f"{n:,}" for n in labels])
        axes.set_xlabel("labels used")
        axes.set_ylabel(metric.name)
        axes.grid(axis="y")
        _name_ends(axes, ends)
        svg = svg_of(figure, "labels")
    return Chart(
        "labels",
        "What a label is worth",
        f"{_capital(metric.name)} by number of labels, {confidence:.0%} intervals. Solid lines are pretrained arms.",
        svg,
        ("arm", *(f"{n:,} labels" for n in labels)),
        [(arm.name, *(_interval_cell(arm, n) for n in labels)) for arm in arms],
    )


def learning_curve(curve: Curve) -> Chart:
    """Loss of a stage: training, validation and chance."""
    with drawing():
        figure = Figure(figsize=(WIDTH, 3.0))
        axes = figure.add_axes((0.08, 0.16, 0.74, 0.8))
        ends = []
        names = ("s1", "s2", "s3", "s4")
        for index, (name, points) in enumerate(curve.train.items()):
            colour = COLOURS[names[index % len(names)]]
            axes.plot(*_thin(points), color=colour, linewidth=1.1)
            ends.append((points[-1][1], name if len(curve.train) > 1 else "training", colour, False))
        if curve.validation:
            axes.plot(*_thin(curve.validation), color=COLOURS["p1"], linewidth=2, marker="o", markersize=4)
            ends.append((curve.validation[-1][1], "validation", COLOURS["p1"], True))
        if curve.chance is not None:
            axes.axhline(curve.chance, color=COLOURS["chance"], linewidth=1.2, linestyle=(0, (5, 3)))
            ends.append((curve.chance, "chance", COLOURS["chance"], False))
        axes.set_ylabel("loss")
        axes.grid(axis="y")
        _steps(axes, 6)
        axes.set_xlim(left=0)
        _name_ends(axes, ends)
        svg = svg_of(figure, f"curve-{curve.stage}")
    chance = "; the dashed line is chance: the best that ignores its input" if curve.chance is not None else ""
    rows = [(f"{step:,}", f"{loss:.4f}") for step, loss in curve.validation or _thinned(curve.first_train(), 20)]
    return Chart(
        f"curve-{curve.stage}",
        "Loss",
        f"Mean loss per step{chance}.",
        svg,
        ("step", "validation loss" if curve.validation else "training loss"),
        rows,
    )


def watched(curve: Curve) -> Chart | None:
    """What was watched beside the loss: the probe against its untrained floor, spread and rank of the features."""
    names = {
        "probe": "accuracy of neighbours",
        "feature_std": "spread of features",
        "effective_rank": "rank of features",
    }
    panels = [(name, curve.watched[name]) for name in names if len(curve.watched.get(name, ())) > 1]
    if not panels:
        return None
    with drawing():
        figure = Figure(figsize=(WIDTH, 2.1))
        for index, (name, points) in enumerate(panels):
            axes = figure.add_axes((0.06 + index * 0.325, 0.2, 0.27, 0.66))
            axes.plot(*_thin(points), color=COLOURS["p1"], linewidth=1.8, marker="o", markersize=3)
            floor = curve.floor if name == "probe" and curve.floor is not None else points[0][1]
            axes.axhline(floor, color=COLOURS["chance"], linewidth=1.1, linestyle=(0, (5, 3)))
            axes.set_title(names[name], fontsize=8.5, color=COLOURS["ink"], loc="left")
            _steps(axes, 3)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.grid(axis="y")
        svg = svg_of(figure, f"watched-{curve.stage}")
    steps = sorted({step for _, points in panels for step, _ in points})
    looked = {name: dict(points) for name, points in panels}
    return Chart(
        f"watched-{curve.stage}",
        "Beside the loss",
        "Features of the encoder while it learns; dashed: the same network untrained.",
        svg,
        ("step", *(names[name] for name, _ in panels)),
        [(f"{step:,}", *(f"{looked[n][step]:.4f}" if step in looked[n] else "" for n, _ in panels)) for step in steps],
    )


def arm_colours(arms: Sequence[Arm]) -> dict[str, str]:
    """A colour variable for each arm: one family for pretrained arms, another for the rest."""
    counts = {True: 0, False: 0}
    names: dict[str, str] = {}
    for arm in arms:
        family = "p" if arm.pretrained else "s"
        names[arm.name] = f"{family}{counts[arm.pretrained] % 4 + 1}"
        counts[arm.pretrained] += 1
    return names


def _steps(axes: Axes, num_ticks: int) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(num_ticks, integer=True))


def _forest(names: Sequence[str]) -> tuple[Figure, Axes]:
    """One row a name, the first on top, with room for the longest name."""
    height = ROW * len(names) + 0.62
    left = _room(names)
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((left, 0.46 / height, 0.98 - left, 1 - 0.54 / height))
    axes.set_ylim(len(names) - 0.4, -0.75)
    axes.set_yticks(range(len(names)), names)
    axes.grid(axis="x")
    return figure, axes


def _room(names: Sequence[str]) -> float:
    """Share of the width that the longest name takes; the reader's font may be wider than the drawing's."""
    return min(max(0.03 + 0.0082 * max(map(len, names), default=0), 0.1), 0.42)


def _whisker(axes: Axes, y: float, value: float, low: float, high: float, colour: str) -> None:
    axes.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="round")
    axes.plot([value], [y], "D", color=colour, markersize=6, markeredgecolor=COLOURS["card"], markeredgewidth=1)


def _name_ends(axes: Axes, ends: Sequence[tuple[float, str, str, bool]]) -> None:
    """Write each line's name right of its end, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    span = (high - low) or 1.0
    gap = 0.135 / (axes.get_position().height * axes.get_figure().get_figheight())  # type: ignore[union-attr]
    wanted = sorted((((value - low) / span, name, colour, bold) for value, name, colour, bold in ends), reverse=True)
    places: list[float] = []
    for place, *_ in wanted:
        places.append(min(place, places[-1] - gap) if places else min(place, 1.0))
    overshoot = max(0.0, -places[-1]) if places else 0.0
    for place, (_, name, colour, bold) in zip(places, wanted, strict=True):
        axes.text(
            1.02, place + overshoot, name, transform=axes.transAxes, va="center", color=colour, clip_on=False,
            fontweight="bold" if bold else "normal",
        )  # fmt: skip


def _thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most about `most` points, the last among them: means of neighbours, as a curve of losses is noisy."""
    if len(points) <= most:
        return list(points)
    size = -(-len(points) // most)
    groups = [points[low : low + size] for low in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _thin(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    few = _thinned(points, MAX_POINTS)
    return [step for step, _ in few], [value for _, value in few]


def residuals(truth: Sequence[float], answer: Sequence[float], arm: str) -> Chart:
    """Answer against truth, one dot an item; on the diagonal answers are right."""
    with drawing():
        figure = Figure(figsize=(WIDTH, 4.2))
        axes = figure.add_axes((0.11, 0.12, 0.6, 0.85))
        ends = (min(*truth, *answer), max(*truth, *answer))
        axes.plot(ends, ends, color=COLOURS["chance"], linewidth=1.2, linestyle=(0, (5, 3)))
        axes.plot(truth, answer, "o", color=COLOURS["p1"], alpha=0.45, markersize=3.5, mew=0)
        axes.set_xlabel("truth")
        axes.set_ylabel("answer")
        axes.grid()
        svg = svg_of(figure, "residuals")
    order = sorted(range(len(truth)), key=lambda at: truth[at])
    rows = [(figure_of(truth[at]), figure_of(answer[at]), figure_of(answer[at] - truth[at])) for at in order]
    return Chart(
        "residuals",
        f"What {arm} answers",
        "One dot an item of the first draw, evenly thinned; the dashed line is where answers are right.",
        svg,
        ("truth", "answer", "error"),
        rows[:: max(len(rows) // 40, 1)],
    )


def figure_of(value: float) -> str:
    """A score in a few characters: shares with three decimals, other numbers with four digits."""
    return f"{value:.3f}" if 0 <= value <= 1 else f"{value:.4g}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _selection(arm: Arm, n_labels: int) -> str:
    value = arm.scores[n_labels].selection
    return "" if value is None else figure_of(value)


def _score_cells(arm: Arm, n_labels: int) -> tuple[str, str, str]:
    score = arm.scores[n_labels]
    return figure_of(score.mean), figure_of(score.low), figure_of(score.high)


def _interval_cell(arm: Arm, n_labels: int) -> str:
    if n_labels not in arm.scores:
        return ""
    mean, low, high = _score_cells(arm, n_labels)
    return f"{mean} [{low}, {high}]"
