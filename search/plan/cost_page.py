"""What `rampart cost` prints: what the models of a space cost, before anything is trained."""

import random
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.config import ExperimentConfig
from search.errors import UserError
from search.space.candidate import build_trial
from search.space.constraints import Constraints, excess, measure
from search.space.space import Sample, corner, ends, leaf_axes
from trainers.config import TrialConfig

CORNERS = 50
"""Random corners that are measured; those that every experiment is checked at come first."""
PATHS = ("model", "data.resolution", "attack", "attack.name", "attack.steps", "attack.fraction")
"""Paths that change the cost, beside all inside `model`."""
COLUMNS = {
    "params_m": "params\nM",
    "gmacs": "forward\nGMACs",
    "activation_mb": "training\nMB",
    "attack_activation_mb": "attack\nMB",
    "train_gmacs": "training\nGMACs",
}


def cost_page(experiment: ExperimentConfig) -> RenderableType:
    """Returns a row for the base, for each end of each axis that matters, and for the extremes.

    Raises:
        UserError: If a model cannot be built for the data.
    """
    trials = [("base", experiment.base), *costly_ends(experiment)]
    rows = [(what, _measure(what, trial)) for what, trial in trials]
    notes: list[str] = []
    if len(trials) > 1:
        for name, sample, values in _extremes(experiment):
            rows.append((f"{name} of {CORNERS} corners", values))
            notes.append(f"{name.capitalize()}: {_words(sample)}")
    else:
        notes.append("No axis of the space changes the cost.")
    return Group(
        Text(_rules(experiment.constraints)),
        _table(rows, experiment.constraints),
        Text(
            "\nFor one image in fp32. MB: what a forward pass keeps for its backward pass, in "
            "training and in the attack. Training GMACs: of a step, the attack included."
        ),
        *map(Text, notes),
    )


def costly_ends(experiment: ExperimentConfig) -> list[tuple[str, TrialConfig]]:
    """Returns each end of each axis that changes the cost, in words, and the trial there."""
    names = _names(experiment)
    return [
        (
            f"{name} = {_text(value)}",
            build_trial(experiment.base, experiment.space, sample, recipe=None),
        )
        for sample in ends(experiment.space)
        for name, value in [list(sample.items())[-1]]
        if name in names
    ]


def _extremes(
    experiment: ExperimentConfig,
) -> list[tuple[str, Sample, dict[str, float]]]:
    """Returns the cheapest and the dearest of random corners, by the multiply-adds of training."""
    names, draw = _names(experiment), random.Random(0)
    found: list[tuple[Sample, dict[str, float]]] = []
    for _ in range(CORNERS):
        sample = corner(experiment.space, draw)
        trial = build_trial(experiment.base, experiment.space, sample, recipe=None)
        shown = {name: value for name, value in sample.items() if name in names}
        found.append((shown, _measure(_words(shown), trial)))
    found.sort(key=lambda one: one[1]["train_gmacs"])
    return [("cheapest", *found[0]), ("dearest", *found[-1])]


def _names(experiment: ExperimentConfig) -> set[str]:
    """Returns the names, in samples, of the axes that change the cost."""
    space = experiment.space
    paths = {path: path for path in space}
    paths |= {name: path for name, path, _, _ in leaf_axes(space)}
    return {n for n, path in paths.items() if path in PATHS or path.startswith("model.")}


def _measure(what: str, trial: TrialConfig) -> dict[str, float]:
    try:
        return measure(trial)
    except ValueError as error:
        raise UserError(f"{what}: {error}") from error


def _table(rows: list[tuple[str, dict[str, float]]], constraints: Constraints) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", overflow="fold")
    for name in COLUMNS.values():
        table.add_column(name, justify="right", no_wrap=True)
    if constraints:
        table.add_column("allowed", overflow="fold")
    for what, values in rows:
        cells = [f"{values[name]:.4g}" for name in COLUMNS]
        verdict = [_verdict(constraints, values)] if constraints else []
        table.add_row(*map(Text, [what, *cells, *verdict]))
    return table


def _verdict(constraints: Constraints, values: dict[str, float]) -> str:
    broken = [name for name, far in excess(constraints, values).items() if far > 0]
    return f"no: {', '.join(broken)}" if broken else "yes"


def _rules(constraints: Constraints) -> str:
    if not constraints:
        return "constraints: none"
    bounds = (
        f"{name} {b.min:g} or more" if b.max is None else f"{name} {b.min:g} to {b.max:g}"
        for name, b in constraints.items()
    )
    return f"constraints: {', '.join(bounds)}"


def _words(sample: Sample) -> str:
    return ", ".join(f"{name} = {_text(value)}" for name, value in sample.items())


def _text(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)
