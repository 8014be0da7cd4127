"""Anytime regret as a picture: medians over tasks and seeds, with intervals."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.replay.regret import medians, strategies_of
from benchmarks.replay.runs import BUDGETS, Results

FLOOR = 1e-4
"""Lowest regret drawn."""


def draw_regret(path: Path, panels: Mapping[str, Results], *, ours: str) -> None:
    """Draws a panel for each set of results; ours in black."""
    figure = Figure(figsize=(4.8 * len(panels), 3.8), dpi=72)
    FigureCanvasAgg(figure)
    for column, (title, results) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), column)
        budgets = BUDGETS[: next(iter(next(iter(results.values())).values())).shape[1]]
        by_budget = {b: medians(results, budget=b) for b in budgets}
        for name in strategies_of(results):
            line = [max(by_budget[b][name].value, FLOOR) for b in budgets]
            low = [max(by_budget[b][name].low, FLOOR) for b in budgets]
            high = [max(by_budget[b][name].high, FLOOR) for b in budgets]
            (drawn,) = axes.plot(budgets, line, label=name)
            if name == ours:
                drawn.set(color="black", linewidth=2.5, zorder=5)
            axes.fill_between(budgets, low, high, alpha=0.08, color=drawn.get_color())
        axes.set(xscale="log", yscale="log", title=title, xlabel="budget, full trainings")
        axes.set_ylabel("median normalised regret")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
