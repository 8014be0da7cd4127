"""What a resumed search may change of its config, and what would change its meaning."""

from collections.abc import Mapping
from typing import Any

from search.config import ExperimentConfig
from search.errors import UserError
from search.folder import SearchFolder
from search.load import dump_config, with_absolute_paths
from search.overrides import override_or_refuse
from search.strategy.config import LadderConfig
from trainers.atomic import write_atomically

MAY_CHANGE = (
    "budget",
    "ladder.rungs",
    "ladder.grow",
    "resources",
    "checkpoints",
    "promotion",
    "reference",
    "diagnosis",
)
"""What later trials may have otherwise than earlier ones and still be compared with them."""
_WHY = {
    "base": "trials of the old and the new base could not be compared",
    "space": "samples of the old and the new space could not be compared",
    "constraints": "samples were refused by the old bounds",
    "objectives": "trials were chosen by the old objectives",
    "early_check": "accuracies of different checks cannot be compared",
    "sampler": "the seed and the options of the sampler decided the trials so far",
    "warm_start": "warm starts are queued once, at the beginning",
    "ladder": "trials were stopped by the old rules",
    "storage": "the study lies in the old one",
    "name": "the folder is named by it",
    "runs_dir": "move the folder itself; `rampart resume PATH` finds it there",
}


def extended(
    experiment: ExperimentConfig, overrides: Mapping[str, Any], added: Mapping[str, Any]
) -> ExperimentConfig:
    """Returns the experiment with what a resume asks for.

    Args:
        overrides: Dotted paths and new values.
        added: Caps of `budget` and what is added to them.

    Raises:
        UserError: If a value is invalid, or changes what earlier trials mean.
    """
    changed = with_absolute_paths(
        override_or_refuse(
            experiment, {**overrides, **_raised(experiment, added)}, what="the search"
        )
    )
    before, after = experiment.model_dump(mode="json"), changed.model_dump(mode="json")
    for path in _changed_paths(before, after):
        if not any(path == may or path.startswith(f"{may}.") for may in MAY_CHANGE):
            section = path.partition(".")[0]
            warm = f"warm_start=[{{study: {experiment.name}, top: 3}}]"
            raise UserError(
                f"{path} cannot change in a search that has begun: {_WHY[section]}; begin anew "
                f"with name=ANOTHER and {warm}"
            )
    if experiment.ladder.brackets > 1 and changed.ladder.rungs != experiment.ladder.rungs:
        raise UserError(
            f"ladder.rungs cannot change beside ladder.brackets={experiment.ladder.brackets}: the "
            "brackets begin on them; begin anew with name=ANOTHER"
        )
    if experiment.ladder.decide == "pbt" and changed.ladder.rungs != experiment.ladder.rungs:
        raise UserError(
            "ladder.rungs cannot change beside ladder.decide=pbt: copies began on them; begin anew "
            "with name=ANOTHER"
        )
    gone = sorted(set(experiment.ladder.rungs) - set(changed.ladder.rungs))
    if gone:
        raise UserError(
            f"ladder.rungs lacks {gone}, where trials may wait; a search can only add rungs"
        )
    _require_grown_alike(experiment.ladder, changed.ladder)
    return changed


def _require_grown_alike(before: LadderConfig, after: LadderConfig) -> None:
    """Refuses a ladder that grows another field, or otherwise on a rung that trials have seen."""
    for path in sorted(before.grow.keys() | after.grow.keys()):
        old = dict(zip(before.rungs, before.grow.get(path, ()), strict=False))
        new = dict(zip(after.rungs, after.grow.get(path, ()), strict=False))
        if not old or any(new.get(rung) != value for rung, value in old.items()):
            raise UserError(
                f"ladder.grow.{path} can only add values for added rungs: trials have seen {old}, "
                f"and were to see {new}; begin anew with name=ANOTHER"
            )


def require_same_reference(
    folder: SearchFolder, before: ExperimentConfig, after: ExperimentConfig
) -> None:
    """Raises UserError if full runs have results of another reference attack already."""
    results = len(list(folder.promoted.glob("*/result.json")))
    if results and after.reference != before.reference:
        raise UserError(
            f"reference cannot change: {results} full runs were attacked by the old one, and all "
            "must be alike; `rampart evaluate` attacks a full run otherwise"
        )


def write_extended(folder: SearchFolder, before: ExperimentConfig, after: ExperimentConfig) -> None:
    """Replaces the search's config, and keeps the earlier one beside it."""
    if after == before:
        return
    count = len(list(folder.root.glob("config.*.yaml")))
    write_atomically(folder.root / f"config.{count + 1}.yaml", dump_config(before))
    write_atomically(folder.config, dump_config(after))


def _raised(experiment: ExperimentConfig, added: Mapping[str, Any]) -> dict[str, Any]:
    caps = experiment.budget.model_dump(include={"trials", "hours", "device_hours", "spend"})
    raised: dict[str, Any] = {}
    for name, more in added.items():
        if name not in caps:
            raise UserError(f"--add-budget knows {', '.join(caps)}; got {name!r}")
        if caps[name] is None:
            raise UserError(
                f"--add-budget {name}={more}: this search has no cap on {name} to add to; "
                f"budget.{name}=TOTAL sets one"
            )
        if not isinstance(more, int | float) or isinstance(more, bool) or more <= 0:
            raise UserError(f"--add-budget {name} must be a number above 0, got {more!r}")
        raised[f"budget.{name}"] = caps[name] + more
    return raised


def _changed_paths(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Returns the dotted paths of the innermost mappings' entries that differ."""
    found: list[str] = []
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name}.{inner}" for inner in _changed_paths(old, new)]
        elif old != new:
            found.append(name)
    return found
