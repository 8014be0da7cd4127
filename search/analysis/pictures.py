"""The pictures of analyses: curves, bars and a matrix here, images in `analysis_images.py`."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.analyses.analyse import Arrays
from evaluation.analyses.convergence import ConvergenceResult
from evaluation.analyses.effectiveness import EffectivenessResult, ModelEffectiveness
from evaluation.analyses.eps_curve import EpsCurveResult
from evaluation.analyses.features import FeaturesResult
from evaluation.analyses.gradients import GradientsResult
from evaluation.analyses.masking import MaskingFindings, MaskingResult
from evaluation.analyses.norms import NormsResult
from evaluation.analyses.outcome import AnalysisResult
from evaluation.analyses.semantics import SemanticsResult
from evaluation.analyses.transfer import TransferResult
from search.analysis.axes import draw_bars, draw_curve, style_axes
from search.analysis.images import features_figure, gradients_figure, semantics_figure
from search.promotion.card import threat_text
from search.report.pictures import BLUE, GREEN, GREY, ORANGE, VERMILION
from trainers.metrics import Accuracy

COLORS = (BLUE, VERMILION, GREEN, ORANGE, "#CC79A7", "#56B4E9")
"""Of Okabe and Ito's palette, in the order of their use; beyond them line styles change."""
STYLES = ("-", "--", ":", "-.")


def analysis_figure(result: AnalysisResult, arrays: Arrays, *, classes: Sequence[str]) -> Figure:
    """Draws the picture of any analysis.

    Args:
        arrays: Its evidence.
        classes: Names of the classes of the model.
    """
    match result:
        case EpsCurveResult():
            return eps_curve_figure(result)
        case EffectivenessResult():
            return effectiveness_figure(result)
        case ConvergenceResult():
            return convergence_figure(result)
        case TransferResult():
            return transfer_figure(result)
        case NormsResult():
            return norms_figure(result)
        case MaskingResult():
            return masking_figure(result)
        case SemanticsResult():
            return semantics_figure(result, arrays, classes=classes)
        case GradientsResult():
            return gradients_figure(result, arrays, classes=classes)
        case FeaturesResult():
            return features_figure(result, arrays, classes=classes)
        case _:
            raise AssertionError(result.kind)


def eps_curve_figure(result: EpsCurveResult) -> Figure:
    """Accuracy against eps with 95 % intervals; a dotted line marks the eps of training."""
    figure, axes = _figure(height=4.8)
    found, config = result.findings, result.config
    scale, eps_label = _eps_axis(config.norm)
    eps = [0.0, *(scale * point.eps for point in found.points)]
    robust = [found.clean, *(point.robust for point in found.points)]
    attack = robust[-1].attack if found.points else "no attack"
    draw_curve(axes, eps, robust, color=BLUE, label=f"{attack}, n={found.clean.n}")
    if missed := [point for point in found.points if point.missed]:
        x = [scale * point.eps for point in missed]
        label = "by the attack at this eps alone, which misses images that fell at a smaller one"
        axes.plot(x, [p.alone.value for p in missed], "x", color=VERMILION, label=label)
    trained = result.models[0].threat
    if trained is not None and trained.norm == config.norm:
        label = f"trained at {threat_text(trained)}"
        axes.axvline(scale * trained.eps, color=GREY, linestyle=":", label=label)
    axes.set_ylim(-0.02, max(0.05, 1.08 * found.clean.interval[1]))
    style_axes(axes, y="accuracy", is_share=True)
    axes.set_xlabel(eps_label)
    end = "reaches 0" if found.reaches_zero else "does not reach 0"
    axes.set_title(f"{_subject(result)}: accuracy against eps, {end}", fontsize=11)
    figure.legend(loc="outside lower left", frameon=False, fontsize=9)
    return figure


def effectiveness_figure(result: EffectivenessResult) -> Figure:
    """The gap of PGD-k to the oracle on the left, accuracies under both on the right."""
    figure = Figure(figsize=(9.4, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    config = result.config
    counts = [*config.steps, config.oracle_steps]
    for number, model in enumerate(result.findings.models):
        color, style = _look(number)
        aside = 0.06 * (number - (len(result.findings.models) - 1) / 2)
        places = [k + aside for k in range(len(counts))]
        gaps = np.array([(at.gap, at.gap_low, at.gap_high) for at in model.curve])
        left.errorbar(
            places[:-1],
            gaps[:, 0],
            yerr=np.abs(gaps[:, 1:] - gaps[:, :1]).T,
            color=color,
            linestyle=style,
            marker="o",
            markersize=5,
            capsize=2,
            label=model.model,
        )
        robust = _under_each(model)
        draw_curve(right, places, robust, color=color, label="", style=style)
    for axes, steps in ((left, counts[:-1]), (right, counts)):
        axes.set_xticks(range(len(steps)), [str(k) for k in steps])
        axes.set_xlabel("steps k of PGD")
    right.set_xlabel("steps of PGD, the last is the oracle")
    style_axes(left, y=f"loss missing to PGD-{config.oracle_steps} (%)", is_share=False)
    style_axes(right, y="accuracy", is_share=True)
    left.set_ylim(bottom=0)
    n = result.findings.models[0].oracle.n
    title = f"{threat_text(config.threat)}, step {config.reach:g} x eps / k, n={n}"
    figure.suptitle(f"Effectiveness of PGD-k: {title}", fontsize=11)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return figure


def convergence_figure(result: ConvergenceResult) -> Figure:
    """Loss of every point above, its spread over random starts below, against steps."""
    figure = Figure(figsize=(7.4, 6.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    config, steps = result.config, result.findings.steps
    x = range(len(steps))
    points = np.array([at.points for at in steps])
    spreads = np.array([at.spreads for at in steps])
    for axes, values in ((upper, points), (lower, spreads)):
        axes.plot(x, values, color=GREY, linewidth=0.8, alpha=0.7)
        axes.plot([], [], color=GREY, linewidth=0.8, label="a point")
        axes.plot(x, values.mean(axis=1), color=BLUE, linewidth=2.4, label="mean of the points")
        axes.legend(frameon=False, fontsize=9)
        axes.set_ylim(bottom=0)
    style_axes(upper, y="cross-entropy (nats)", is_share=False)
    style_axes(lower, y="largest - smallest over starts", is_share=False)
    lower.set_xticks(x, [str(at.steps) for at in steps])
    lower.set_xlabel("steps of PGD")
    upper.set_title(
        f"{_subject(result)}: {config.points} points right without attack, {config.starts} random "
        f"starts each\n{threat_text(config.threat)}, step {config.step:g} eps",
        fontsize=11,
    )
    return figure


def transfer_figure(result: TransferResult) -> Figure:
    """Accuracies as a matrix: a row for the images of each model, a column for each model."""
    found = result.findings
    names = list(found.clean)
    rows = [found.clean, *(row.targets for row in found.rows)]
    values = np.array([[row[name].value for name in names] for row in rows])
    size = 1.5 * len(names) + 2.6
    figure = Figure(figsize=(max(size, 6.6), 0.8 * len(rows) + 2.4), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        is_own = row == column + 1
        axes.text(
            column,
            row,
            f"{value:.1%}".replace("%", " %"),
            ha="center",
            va="center",
            color="white" if value > 0.55 else "black",
            fontweight="bold" if is_own else "normal",
        )
    broken = [name.replace("/", "/\n") if len(name) > 14 else name for name in names]
    axes.set_xticks(range(len(names)), broken, fontsize=9)
    axes.set_yticks(range(len(rows)), ["clean", *broken], fontsize=9)
    axes.set_xlabel("accuracy of")
    axes.set_ylabel("images of")
    axes.spines[:].set_visible(False)
    axes.axhline(0.5, color="white", linewidth=4)
    any_ = next(iter(found.rows[0].targets.values()))
    axes.set_title(
        f"Transfer: {any_.attack}, best iterate, {threat_text(result.config.threat)}, n={any_.n}\n"
        "bold: a model on its own images",
        fontsize=11,
    )
    return figure


def norms_figure(result: NormsResult) -> Figure:
    """Accuracy in every threat model, in all together and without attack."""
    found, trained = result.findings, result.models[0].threat
    bars = [("clean", found.clean, GREY)]
    for row in found.rows:
        is_trained = row.threat == trained
        name = threat_text(row.threat) + (" (trained)" if is_trained else "")
        bars.append((name, row.robust, BLUE if is_trained else ORANGE))
    bars.append(("all of them", found.union, VERMILION))
    figure, axes = _figure(height=1.6 + 0.5 * len(bars))
    draw_bars(axes, bars)
    axes.set_title(f"{_subject(result)}: {found.union.attack}, n={found.union.n}", fontsize=11)
    return figure


def masking_figure(result: MaskingResult) -> Figure:
    """Accuracy under each attack on the left, against eps on the right; below them the signs."""
    found, config = result.findings, result.config
    verdict = "\n".join(fill(line, 118, subsequent_indent="    ") for line in found.verdict)
    figure = Figure(figsize=(9.4, 4.4 + 0.19 * verdict.count("\n")), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_bars(left, _masking_bars(found))
    scale, eps_label = _eps_axis(config.threat.norm)
    eps = [0.0, *(scale * point.eps for point in found.sweep)]
    robust = [found.clean, *(point.robust for point in found.sweep)]
    draw_curve(right, eps, robust, color=BLUE, label="")
    label = f"threat model: {threat_text(config.threat)}"
    right.axvline(scale * config.threat.eps, color=GREY, linestyle=":", label=label)
    right.set_ylim(-0.02, max(0.05, 1.08 * max(one.interval[1] for one in robust)))
    style_axes(right, y=f"accuracy under {robust[-1].attack}", is_share=True)
    right.set_xlabel(eps_label)
    right.legend(frameon=False, fontsize=9)
    what = f"{threat_text(config.threat)}, n={found.clean.n}"
    count = len(found.signs) or "none"
    figure.suptitle(f"{_subject(result)}: {what}; signs of masking: {count}", fontsize=11)
    figure.supxlabel(verdict, x=0.01, ha="left", fontsize=9)
    return figure


def _masking_bars(found: MaskingFindings) -> list[tuple[str, Accuracy, str]]:
    bars = [("clean", found.clean, GREY)]
    for accuracy in found.attacks:
        first, *more = accuracy.attack.split("+")
        name = f"both, then {more[1]}" if more[1:] else "both APGD" if more else first
        bars.append((name, accuracy, ORANGE if more[1:] else BLUE))
    return bars


def _eps_axis(norm: str) -> tuple[int, str]:
    """Returns the factor with which eps is shown, and what is written below the axis."""
    return (255, "eps x 255 (linf)") if norm == "linf" else (1, f"eps ({norm})")


def _under_each(model: ModelEffectiveness) -> list[Accuracy]:
    return [*(at.robust for at in model.curve), model.oracle]


def _figure(*, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.4, height), layout="constrained")
    return figure, figure.add_subplot()


def _subject(result: AnalysisResult) -> str:
    return result.models[0].name


def _look(number: int) -> tuple[str, str]:
    return COLORS[number % len(COLORS)], STYLES[number // len(COLORS) % len(STYLES)]
