"""The published recipes, scaled to any task: complete, with a source for every value."""

from search.errors import UserError, did_you_mean
from search.recipes.ares import ARES
from search.recipes.baselines import BAI_RESNET
from search.recipes.debenedetti import CANONICAL, LIGHT
from search.recipes.finetuning import CIFAR_TRADES, LIGHT_FINETUNING, NANO_FINETUNING
from search.recipes.quick_norms import QUICK_NORMS
from search.recipes.recipe import TASK_PATHS, Recipe, overrides_for
from search.recipes.revisiting import REVISITING

__all__ = ["RECIPES", "TASK_PATHS", "Recipe", "find_recipe", "overrides_for"]

RECIPES: dict[str, Recipe] = {
    "canonical": CANONICAL,
    "light": LIGHT,
    "revisiting": REVISITING,
    "ares": ARES,
    "bai_resnet": BAI_RESNET,
    "cifar_trades": CIFAR_TRADES,
    "light_finetuning": LIGHT_FINETUNING,
    "nano_finetuning": NANO_FINETUNING,
    "quick_norms": QUICK_NORMS,
}


def find_recipe(name: str) -> Recipe:
    """Returns the recipe of this name.

    Raises:
        UserError: If there is none.
    """
    if name not in RECIPES:
        hint = did_you_mean(name, list(RECIPES))
        raise UserError(f"no recipe {name!r} (there are {', '.join(RECIPES)}){hint}")
    return RECIPES[name]
