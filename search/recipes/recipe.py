"""What a published recipe is: each field it decides, with our value and where it is from.

Values are in our units: epochs became fractions of training, an EMA's decay its horizon as a
fraction of all steps, and the learning rate is stated for the task's `optim.reference_batch`, which
stands for the recipe's own. A source that ends in "not read" is a field that the recipe's other
choices switch off; one that begins with "not stated" is our choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models.config import FAMILIES, ModelConfig

Value = bool | int | float | str | list[float]
Decisions = Mapping[str, tuple[Value, str]]
"""For each dotted path a value in our units, and its source."""

TASK_PATHS = (
    "data",
    "threat",
    "attack.also",
    "attack.union",
    "optim.reference_batch",
    "epochs",
    "batch_size",
    "non_finite",
    "compute",
    "seed",
    *(
        f"model.{name}"
        for name in sorted({name for kind in FAMILIES.values() for name in kind.model_fields})
        if name not in ("stem", "drop_path", "normalize")
    ),
    "weights",
    "freeze",
)
"""What no recipe changes in a trial: the task's. `model.stem` is a recipe's only if it says so."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One published recipe."""

    title: str
    """What sets it apart, in one line."""
    paper: str
    code: str
    """What its sources mean by "config" and "code"."""
    applied: Decisions
    """What a search that warm-starts from it sets."""
    task: Decisions
    """What it was published with, but a task decides: printed, never applied."""
    deviations: tuple[str, ...]
    """Where ours differs from the published training, because the config cannot say it."""


def overrides_for(recipe: Recipe, model: ModelConfig) -> dict[str, Value]:
    """Returns what `recipe` sets in a trial of this model, as dotted paths.

    The stem is left out for models of timm, many of which have none that could be replaced: there
    the recipe is everything else.
    """
    fields = {f"model.{name}" for name in type(model).model_fields}
    if model.family == "timm":
        fields.remove("model.stem")
    return {
        path: value
        for path, (value, _) in recipe.applied.items()
        if not path.startswith("model.") or path in fields
    }
