"""Axes of the pictures of analyses: accuracies as curves and as bars, with their intervals."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from trainers.metrics import Accuracy


def draw_curve(
    axes: Axes,
    x: Sequence[float],
    accuracies: Sequence[Accuracy],
    *,
    color: str,
    label: str,
    style: str = "-",
) -> None:
    """Draws accuracies against `x`."""
    axes.errorbar(
        x,
        [accuracy.value for accuracy in accuracies],
        yerr=_error_bars(accuracies),
        color=color,
        linestyle=style,
        marker="o",
        markersize=5,
        elinewidth=1,
        capsize=2,
        label=label,
    )


def draw_bars(axes: Axes, bars: Sequence[tuple[str, Accuracy, str]]) -> None:
    """Draws a bar for each name, accuracy and colour, the first on top."""
    names, accuracies, colors = zip(*reversed(bars), strict=True)
    axes.barh(
        names,
        [accuracy.value for accuracy in accuracies],
        xerr=_error_bars(accuracies),
        color=colors,
        height=0.62,
        ecolor="#333333",
        capsize=3,
    )
    for row, accuracy in enumerate(accuracies):
        text = f"{accuracy.value:.1%}".replace("%", " %")
        axes.text(accuracy.interval[1] + 0.015, row, text, va="center", fontsize=9.5)
    axes.set_xlim(0, min(1.12, 1.15 * max(a.interval[1] for a in accuracies)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("accuracy, 95 % interval")


def style_axes(axes: Axes, *, y: str, is_share: bool) -> None:
    """Names what is drawn, a share in percent, and draws a grid below it."""
    axes.set_ylabel(y)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    if is_share:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.grid(color="#EEEEEE", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _error_bars(accuracies: Sequence[Accuracy]) -> list[list[float]]:
    """Returns the distances to the interval's two ends, as matplotlib wants them."""
    return [
        [accuracy.value - accuracy.interval[0] for accuracy in accuracies],
        [accuracy.interval[1] - accuracy.value for accuracy in accuracies],
    ]
