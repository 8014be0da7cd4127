"""Pictures of what happened at rungs, and of what the budget went into."""

from collections import defaultdict
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from search.report.pictures import BLUE, GREEN, GREY, ORANGE, VERMILION
from search.results.budget_spent import Expense
from search.results.trust import FATES, MIN_PAIRS, Agreement, Passage

SKY, PURPLE = "#56B4E9", "#CC79A7"  # of Okabe and Ito's palette, too
FATE_COLORS = {
    "went on": BLUE,
    "completed": SKY,
    "running": ORANGE,
    "paused": GREEN,
    "stopped": GREY,
    "diagnosed": PURPLE,
    "failed": VERMILION,
}
ORIGIN_COLORS = (BLUE, ORANGE, GREEN, GREY, PURPLE, SKY)


def rungs_figure(passages: Sequence[Passage], agreements: Sequence[Agreement]) -> Figure:
    """What became of the trials at each rung above, how far fidelities agree on the order below."""
    heights = (1.0 + 0.42 * len(passages), 1.0 + 0.36 * len(agreements))
    figure = Figure(figsize=(7.4, 0.6 + sum(heights)), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=heights)
    _draw_passages(upper, passages)
    _draw_agreements(lower, agreements)
    return figure


def expenses_figure(expenses: Sequence[Expense], *, device: str) -> Figure:
    """Device-hours by what they went into, coloured by the origin of the runs.

    Args:
        device: `GPU` or `CPU`.
    """
    whats = list(dict.fromkeys(one.what for one in expenses))
    of_origin: defaultdict[str, float] = defaultdict(float)
    for one in expenses:
        of_origin[one.origin] += one.device_hours
    origins = sorted(of_origin, key=lambda origin: -of_origin[origin])
    figure = Figure(figsize=(7.4, 1.6 + 0.36 * len(whats)), layout="constrained")
    axes = figure.add_subplot()
    ends = dict.fromkeys(whats, 0.0)
    for index, origin in enumerate(origins):
        hours = {one.what: one.device_hours for one in expenses if one.origin == origin}
        widths = [hours.get(what, 0.0) for what in whats]
        color = ORIGIN_COLORS[index % len(ORIGIN_COLORS)]
        left = list(ends.values())
        axes.barh(whats, widths, left=left, color=color, height=0.62, label=origin)
        ends = {what: end + width for (what, end), width in zip(ends.items(), widths, strict=True)}
    total = sum(ends.values())
    for what, end in ends.items():
        note = f"{end:.3g} h, {end / total:.0%}"
        axes.annotate(note, (end, what), (4, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, max(ends.values()) * 1.22)
    axes.invert_yaxis()
    axes.set_xlabel(f"{device}-hours")
    axes.set_title(f"What {total:.3g} {device}-hours went into", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="runs from", frameon=False, fontsize=9, loc="lower right")
    return figure


def _draw_passages(axes: Axes, passages: Sequence[Passage]) -> None:
    names = [f"epoch {one.epoch}" if one.epoch else "began" for one in passages]
    ends = [0] * len(passages)
    for fate in FATES:
        counts = [one.fates.get(fate, 0) for one in passages]
        if not any(counts):
            continue
        color = FATE_COLORS[fate]
        bars = axes.barh(
            names, counts, left=ends, color=color, edgecolor="white", height=0.66, label=fate
        )
        texts = [str(count) if count else "" for count in counts]
        axes.bar_label(bars, texts, label_type="center", fontsize=9, color="white", weight="bold")
        ends = [end + count for end, count in zip(ends, counts, strict=True)]
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trials that were checked there")
    axes.set_title("What became of the trials at each rung", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))


def _draw_agreements(axes: Axes, agreements: Sequence[Agreement]) -> None:
    names = [f"{one.lower} and {one.upper}" for one in agreements]
    for row, one in enumerate(agreements):
        if one.tau is not None and one.interval is not None:
            low, high = one.interval
            axes.plot([low, high], [row, row], color=BLUE, linewidth=2)
            axes.plot(one.tau, row, "o", color=BLUE, markersize=7)
        why = "" if one.interval else ": a tie" if one.n >= MIN_PAIRS else ": too few to tell"
        across = axes.get_yaxis_transform()
        axes.text(1.02, row, f"n={one.n}{why}", transform=across, va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-1.03, 1.03)
    axes.axvline(0, color=GREY, linewidth=0.9, linestyle=":")
    axes.set_xlabel("Kendall tau-b of robust accuracy, 95 % interval (1: same order)")
    axes.set_title("Do they order the same trials alike? Survivors only", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
