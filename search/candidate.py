"""From a sample of the space, and the recipe it may come from, to the config of a trial."""

from search.overrides import value_at, with_overrides
from search.recipes import Recipe, overrides_for
from search.space import Sample, Space, first_branches, leaf_axes, leaves, sections
from trainers.config import TrialConfig


def build_trial(
    base: TrialConfig, space: Space, sample: Sample, *, recipe: Recipe | None
) -> TrialConfig:
    """Returns `base` with the sections of `sample`, then the recipe, then the rest of `sample`.

    Raises:
        KeyError: If a path does not exist.
        pydantic.ValidationError: If a value breaks the schema.
    """
    start = with_overrides(base, sections(space, sample))
    fixed = overrides_for(recipe, start.model) if recipe else {}
    return with_overrides(start, {**fixed, **leaves(space, sample)})


def recipe_sample(base: TrialConfig, space: Space, recipe: Recipe) -> Sample:
    """Returns the point of `space` where `recipe` lies; branch axes take their first branch.

    Raises:
        KeyError: If a path does not exist.
        pydantic.ValidationError: If the recipe breaks the schema.
    """
    sample = first_branches(space)
    config = build_trial(base, space, sample, recipe=recipe)
    return sample | {
        name: value_at(config, path)
        for name, path, _, where in leaf_axes(space)
        if where.items() <= sample.items()
    }
