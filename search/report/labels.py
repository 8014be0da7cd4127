"""Names beside points and curves that do not cover one another."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

Labelled = tuple[float, float, str]
"""x and y in the units of the data, and the name."""
OFFSETS = [
    (8, 6), (-8, 6), (8, -6), (-8, -6), (0, 12), (0, -12),
    (14, 18), (-14, 18), (14, -18), (-14, -18), (0, 28), (0, -28), (30, 30), (-30, 30), (30, -30),
]  # fmt: skip
"""Places of a name around its point, in points of 1/72 inch, the preferred ones first."""

LEADER = {"arrowstyle": "-", "color": "#777777", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
"""The line from a name to its point."""


def label_points(
    axes: Axes, points: Sequence[Labelled], *, obstacles: Sequence[tuple[float, float]]
) -> None:
    """Writes each name where it covers the fewest points and earlier names."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # fixes the layout, so that extents in pixels are final
    renderer = FigureCanvasAgg(figure).get_renderer()  # made once: finding it is slow
    centres = [(x, y) for x, y, _ in points] + list(obstacles)
    taken = [_marker_box(axes, x, y) for x, y in centres]
    for x, y, text in points:
        tries = [_annotate(axes, (x, y), text, offset=offset) for offset in OFFSETS]
        boxes = [_text_box(note, renderer) for note in tries]
        costs = [_cost(box, taken, inside=axes.bbox) for box in boxes]
        chosen = costs.index(min(costs))
        taken.append(boxes[chosen])
        for index, note in enumerate(tries):
            if index != chosen:
                note.remove()


def label_ends(axes: Axes, ends: Sequence[Labelled], *, colors: Sequence[str]) -> None:
    """Writes each name right of its curve's end, moved up or down where names would touch."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    points_per_pixel = 72 / figure.dpi
    order = sorted(range(len(ends)), key=lambda index: ends[index][1])
    heights = [axes.transData.transform(ends[i][:2])[1] * points_per_pixel for i in order]
    for index, height, place in zip(order, heights, spread(heights, pitch=13), strict=True):
        x, y, text = ends[index]
        axes.annotate(
            text,
            (x, y),
            xytext=(14, place - height),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colors[index],
            arrowprops={**LEADER, "shrinkB": 3},
            annotation_clip=False,
        )


def spread(heights: Sequence[float], *, pitch: float) -> list[float]:
    """Returns the places nearest to rising `heights`, in squares, that lie `pitch` apart.

    Without the steps of `pitch` it is isotonic regression: neighbours in the wrong order share
    their mean.
    """
    blocks: list[list[float]] = []
    for index, height in enumerate(heights):
        blocks.append([height - index * pitch])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] = blocks[-1] + last
    level = [_mean(block) for block in blocks for _ in block]
    return [value + index * pitch for index, value in enumerate(level)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _annotate(
    axes: Axes, point: tuple[float, float], text: str, *, offset: tuple[float, float]
) -> Annotation:
    across, up = offset
    note = axes.annotate(
        text,
        point,
        xytext=offset,
        textcoords="offset points",
        ha="center" if across == 0 else "left" if across > 0 else "right",
        va="center" if across == 0 else "bottom" if up > 0 else "top",
        fontsize=9,
        arrowprops=LEADER,
    )
    note.set_in_layout(False)
    return note


def _text_box(note: Annotation, renderer: RendererAgg) -> Bbox:
    """Returns the box of the words; an annotation's own extent holds its line too."""
    note.update_positions(renderer)
    return Text.get_window_extent(note, renderer)


def _marker_box(axes: Axes, x: float, y: float) -> Bbox:
    left, low = axes.transData.transform((x, y)) - 7
    return Bbox.from_bounds(left, low, 14, 14)


def _cost(box: Bbox, taken: Sequence[Bbox], *, inside: Bbox) -> int:
    is_outside = not (inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1))
    return 100 * is_outside + box.count_overlaps(taken)
