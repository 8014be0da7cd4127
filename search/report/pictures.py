"""The pictures of a search: a function per picture returns a figure, `save_picture` writes it.

Accuracies of different attacks or splits are never joined by a line or named by one legend entry.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.result import EvaluationResult
from search.books.records import FullRun, TrialRecord
from search.promotion.card import threat_text
from search.report.labels import label_ends, label_points
from search.results.importance import Importance
from search.results.pareto import pareto_front
from search.results.table import rank_trials
from trainers.atomic import replacing
from trainers.metrics import Accuracy

# Okabe and Ito's palette: distinct with every common kind of colour blindness.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8C8C8C"
LOOKS = {
    "completed": (BLUE, "o", BLUE),
    "paused": (GREEN, "^", "white"),
    "stopped": (GREY, "v", "white"),
    "diagnosed": (VERMILION, "v", "white"),
    "running": (ORANGE, "s", "white"),
    "failed": (VERMILION, "X", VERMILION),
}
"""Status -> colour, marker, fill."""
MOST_LABELS = 6
MOST_EXAMPLES = 6


def save_picture(figure: Figure, path: Path) -> None:
    """Replaces the PNG at `path` atomically."""
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=130)


def scatter_figure(
    records: Sequence[TrialRecord], promoted: Sequence[tuple[FullRun, EvaluationResult]]
) -> Figure:
    """Robust against clean accuracy with 95 % intervals: early checks of trials, and full runs."""
    figure = Figure(figsize=(7.4, 6.0), layout="constrained")
    axes = figure.add_subplot()
    checked = [(record, check) for record in records if (check := record.last_check)]
    for kind in sorted({(r.status, c.robust.attack, c.robust.n) for r, c in checked}):
        status, attack, n = kind
        same = [c for r, c in checked if (r.status, c.robust.attack, c.robust.n) == kind]
        points = [(check.clean, check.robust) for check in same]
        label = f"{status}: {attack}, n={n}, select split"
        _draw_points(axes, points, look=LOOKS[status], size=6, label=label)
        if status == "completed":
            _draw_front(axes, points)
    for attack, n, split in sorted({(o.attack, o.robust.n, o.split) for _, o in promoted}):
        points = [(o.clean, o.robust) for _, o in promoted if (o.attack, o.robust.n) == (attack, n)]
        label = f"full run: {attack}, n={n}, {split} split"
        _draw_points(axes, points, look=(GREEN, "D", GREEN), size=9, label=label)
    keys = {run.key for run, _ in promoted}
    texts = {r.key: r.key if r.key in keys else _recipe(r) for r, _ in checked}
    named = [(c.clean, c.robust, texts[r.key]) for r, c in checked if texts[r.key]]
    named += [(o.clean, o.robust, f"{run.key} (full run)") for run, o in promoted]
    _style_accuracy(axes, x="clean accuracy", y="robust accuracy")
    axes.set_title("Trials at the highest rung they reached, and full runs", fontsize=11)
    if checked or promoted:
        figure.legend(loc="outside lower left", frameon=False, fontsize=9)
    obstacles = [(c.clean.value, c.robust.value) for _, c in checked]
    label_points(axes, [(x.value, y.value, text) for x, y, text in named], obstacles=obstacles)
    return figure


def curves_figure(records: Sequence[TrialRecord], rungs: Sequence[int]) -> Figure:
    """Early checks at the rungs above, accuracy under the training attack per epoch below."""
    figure = Figure(figsize=(7.4, 7.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    begun = [record for record in records if record.epochs]
    ranked = rank_trials(begun)
    best = ranked[0].key if ranked else ""
    for record in sorted(begun, key=lambda record: record.key == best):
        _draw_curves(upper, lower, record, is_best=record.key == best)
    for axes in (upper, lower):
        for rung in rungs:
            axes.axvline(rung, color="#BBBBBB", linewidth=0.9, linestyle=":", zorder=0)
        _style_accuracy(axes, x="", y="accuracy")
        axes.set_ylim(bottom=0)
    lower.set_xlabel("epoch (dotted: rungs)")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    attacks = sorted({f"{c.robust.attack}, n={c.robust.n}" for r in begun for _, c in r.checks})
    upper.set_title(f"Early check, select split: {'; '.join(attacks) or 'none yet'}", fontsize=11)
    lower.set_title("Training images, under each trial's own training attack", fontsize=11)
    _label_best(upper, ranked[:MOST_LABELS], best=best)
    lower.plot([], [], color=BLUE, linewidth=2.4, label="best trial")
    lower.plot([], [], color=GREY, linewidth=1, label="other trials")
    lower.plot(
        [], [], color=VERMILION, marker="x", linestyle="", label="stopped, diagnosed or failed"
    )
    figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    return figure


def importance_figure(importance: Importance) -> Figure:
    """The share of each axis in what makes trials good."""
    shares = dict(reversed(importance.shares.items()))
    figure = Figure(figsize=(7.4, 1.4 + 0.34 * len(shares)), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(list(shares), list(shares.values()), color=BLUE, height=0.62)
    axes.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=4, fontsize=9.5)
    axes.set_xlim(0, max(shares.values()) * 1.12)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"share of the importance ({importance.method})")
    asked = {
        "PED-ANOVA": "What tells the best third from all trials",
        "fANOVA": "What explains the order of all trials, each axis alone",
    }[importance.method]
    axes.set_title(f"{asked}: {importance.objective}, n={importance.n}", fontsize=11)
    return figure


def count_examples(path: Path) -> int:
    """Returns how many images `examples.npz` holds; 0 if there is no such file."""
    if not path.exists():
        return 0
    with np.load(path) as arrays:
        return len(arrays["labels"])


def examples_figure(path: Path, *, run: FullRun, attack: str, classes: Sequence[str]) -> Figure:
    """The first images of `examples.npz` (broken ones lead): clean, adversarial, difference."""
    with np.load(path) as arrays:
        columns = min(MOST_EXAMPLES, len(arrays["labels"]))
        data = {name: arrays[name][:columns] for name in arrays.files}
    clean = data["clean"].astype(np.float64) / 255
    delta = data["adversarial"] - clean
    largest = float(np.abs(delta).max())
    gain = max(1, int(0.5 / largest)) if largest > 0 else 1
    rows = (clean, data["adversarial"], 0.5 + gain * delta)
    figure = Figure(figsize=(1.5 * columns + 0.4, 6.0), layout="constrained")
    grid = figure.subplots(3, columns, squeeze=False)
    for axes, image in zip(grid.flat, np.concatenate(rows), strict=True):
        axes.imshow(np.clip(image, 0, 1).transpose(1, 2, 0), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
    names = ("clean", "adversarial", f"difference x {gain}")
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name, fontsize=10)
    for row, kind in enumerate(("clean_prediction", "adversarial_prediction")):
        for axes, said, label in zip(grid[row], data[kind], data["labels"], strict=True):
            _write_prediction(axes, classes[int(said)], is_right=bool(said == label))
    figure.suptitle(
        f"{run.key} under {attack}, {threat_text(run.config.threat)}\n"
        "broken images first; above each image, what the model says",
        fontsize=11,
    )
    return figure


def _draw_points(
    axes: Axes,
    points: Sequence[tuple[Accuracy, Accuracy]],
    *,
    look: tuple[str, str, str],
    size: float,
    label: str,
) -> None:
    color, marker, fill = look
    xs, ys = [x for x, _ in points], [y for _, y in points]
    bars = axes.errorbar(
        [x.value for x in xs],
        [y.value for y in ys],
        xerr=_error_bars(xs),
        yerr=_error_bars(ys),
        fmt=marker,
        color=color,
        markerfacecolor=fill,
        markersize=size,
        elinewidth=0.8,
        label=label,
    )
    for bar in bars.lines[2]:
        bar.set_alpha(0.3)


def _error_bars(accuracies: Sequence[Accuracy]) -> list[list[float]]:
    """Returns the distances to the interval's two ends, as matplotlib wants them."""
    return [
        [a.value - a.interval[0] for a in accuracies],
        [a.interval[1] - a.value for a in accuracies],
    ]


def _draw_front(axes: Axes, points: Sequence[tuple[Accuracy, Accuracy]]) -> None:
    values = [(x.value, y.value) for x, y in points]
    front = [values[index] for index in pareto_front(values)]
    xs, ys = [x for x, _ in front], [y for _, y in front]
    if len(front) > 1:
        # From right to left: what a point dominates ends at its own height, up to its neighbour.
        label = "Pareto front of the completed trials"
        axes.step(xs, ys, where="post", color=BLUE, linewidth=1.6, label=label)


def _draw_curves(upper: Axes, lower: Axes, record: TrialRecord, *, is_best: bool) -> None:
    color, width = (BLUE, 2.4) if is_best else (GREY, 0.9)
    trained = [
        [(before + e.epoch, e.train_accuracy) for e in progress.history]
        for before, progress in record.trainings
    ]
    checked = [(epoch, check.robust.value) for epoch, check in record.checks]
    is_cut = record.status in ("stopped", "diagnosed", "failed")
    lines = [(upper, checked, "o"), *((lower, points, "") for points in trained)]
    for axes, points, marker in lines:
        axes.plot(*_columns(points), color=color, linewidth=width, marker=marker, markersize=4.5)
    for axes, points in ((upper, checked), (lower, trained[-1])):
        if is_cut:
            last = _columns(points[-1:])
            axes.plot(*last, color=VERMILION, marker="x", markersize=7, mew=1.8)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _label_best(axes: Axes, ranked: Sequence[TrialRecord], *, best: str) -> None:
    completed = [record for record in ranked if record.status == "completed"]
    ends = [
        (float(epoch), check.robust.value, f"{record.key} {_recipe(record)}".strip())
        for record in completed
        for epoch, check in record.checks[-1:]
    ]
    colors = [BLUE if record.key == best else "#555555" for record in completed]
    label_ends(axes, ends, colors=colors)


def _write_prediction(axes: Axes, name: str, *, is_right: bool) -> None:
    # The mark helps where the colour does not.
    text = name.replace("_", " ") if is_right else f"x {name.replace('_', ' ')}"
    axes.set_title(text, fontsize=7.5, color="#333333" if is_right else VERMILION, pad=3)


def _style_accuracy(axes: Axes, *, x: str, y: str) -> None:
    for axis, label in ((axes.xaxis, x), (axes.yaxis, y)):
        axis.set_label_text(label)
        if label:
            # PercentFormatter would write 2.5 % as 2 %, or every tick with a decimal.
            axis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.grid(color="#EEEEEE", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _recipe(record: TrialRecord) -> str:
    return record.origin.removeprefix("recipe:") if record.origin.startswith("recipe:") else ""
