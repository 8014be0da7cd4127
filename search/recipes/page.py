"""What `rampart recipe` prints."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.errors import field_paths
from search.recipes import RECIPES, find_recipe
from search.recipes.recipe import Decisions, Value
from trainers.config import TrialConfig


def recipe_page(name: str | None) -> RenderableType:
    """Returns all of a recipe: every value with its source, and what the config cannot say.

    Without a name, returns a line for each recipe.

    Raises:
        UserError: If there is no recipe of this name.
    """
    if name is None:
        return _list()
    recipe = find_recipe(name)
    return Group(
        Text.assemble((name, "bold"), f": {recipe.title}"),
        Text(recipe.paper),
        Text(recipe.code),
        _heading(f"What a search sets, with warm_start: [{name}]"),
        _decisions(recipe.applied),
        _heading("What belongs to the task: printed here, never set by a recipe"),
        _decisions(recipe.task),
        _heading("Where ours differs"),
        *(_row("-", text) for text in recipe.deviations),
    )


def _list() -> Table:
    table = _table()
    for name, recipe in RECIPES.items():
        table.add_row(Text(name, style="bold"), Text(recipe.title))
    return table


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _decisions(decisions: Decisions) -> Table:
    table = _table()
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for path in sorted(decisions, key=_place):
        value, source = decisions[path]
        table.add_row(Text(path), Text(_text(value), style="bold"), Text(source, style="dim"))
    return table


def _row(*cells: str) -> Table:
    table = _table()
    table.add_row(*map(Text, cells))
    return table


def _table() -> Table:
    return Table(box=None, show_header=False, padding=(0, 1, 0, 0))


def _place(path: str) -> int:
    """The place of a field in a `TrialConfig`; what is none, such as initial weights, is last."""
    order = list(field_paths(TrialConfig))
    return order.index(path) if path in order else len(order)


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
