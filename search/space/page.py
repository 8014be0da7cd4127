"""A space in words: a table of its axes, and its size."""

from typing import Any

from rich.table import Table
from rich.text import Text

from search.space.axes import (
    KINDS,
    AnyAxis,
    AnyLeafAxis,
    BranchAxis,
    ChoiceAxis,
    FixedAxis,
    axis_ends,
)
from search.space.size import space_size
from search.space.space import Space, leaf_axes


def space_table(space: Space) -> Table:
    """Returns a row for each axis: its ends or choices, and when it exists."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("axis", "kind", "values", "exists when"):
        table.add_column(name, overflow="fold")
    for path, axis in space.items():
        if isinstance(axis, BranchAxis):
            table.add_row(*map(Text, [path, "branch", _values(axis), ""]))
    for leaf in leaf_axes(space):
        cells = [leaf.name, KINDS[type(leaf.axis)], _values(leaf.axis), _condition(leaf.axis)]
        table.add_row(*map(Text, cells))
    return table


def size_text(space: Space) -> str:
    """Returns how large the space is, as a sentence."""
    size = space_size(space)
    counted = f"{size.combinations:,} combination{'' if size.combinations == 1 else 's'}"
    if not size.real_axes:
        return f"Size: {counted}."
    return f"Size: {counted}; axes of real numbers in each: at most {size.real_axes}."


def _values(axis: AnyAxis) -> str:
    is_range = not isinstance(axis, (BranchAxis, ChoiceAxis, FixedAxis))
    return (" to " if is_range else ", ").join(map(_text, axis_ends(axis)))


def _condition(axis: AnyLeafAxis) -> str:
    """Says when an axis exists, but for its branch, which is in its name."""
    words = ", ".join(
        f"{name} = {' or '.join(map(_text, values))}" for name, values in axis.when.items()
    )
    return words if axis.otherwise is None else f"{words}; otherwise {_text(axis.otherwise)}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
