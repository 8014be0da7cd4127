"""The published recipes against a table of what was published, in the units of the publication.

`recipe_facts.csv` was written from inventories of facts (`seeds`, `robustness`, with the section)
and from published code (repository and commit), not from `search/recipes`.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from base_trial import TIMM, base_trial
from repository import DEMO

from search.errors import UserError
from search.load import load_experiment
from search.overrides import value_at, with_overrides
from search.recipes import RECIPES, TASK_PATHS, find_recipe, overrides_for
from trainers.config import TrialConfig
from trainers.schedules import lr_at, peak_lr, share_at

FACTS = Path(__file__).with_name("recipe_facts.csv")
IMAGENET_IMAGES = 1_281_167


@dataclass(frozen=True, kw_only=True)
class Case:
    """A recipe as a trial, and the facts that other facts are counted in."""

    trial: TrialConfig
    task: Mapping[str, Any]
    sources: Mapping[str, str]
    epochs: float
    """All that were run, cool-down included."""
    batch: float
    """Of the steps that the EMA counts."""

    def at(self, path: str) -> Any:
        return value_at(self.trial, path)


Published = Callable[[Case], Any]


def path(name: str) -> Published:
    """A fact that we state in its own unit."""
    return lambda case: case.at(name)


def epochs(name: str) -> Published:
    """A fact in epochs, which we state as a fraction of training."""
    return lambda case: case.at(name) * case.epochs


def share_of_lr(name: str) -> Published:
    return lambda case: case.at(name) * case.at("optim.lr")


def ema_decay(case: Case) -> float:
    horizon = case.at("ema_horizon") * case.epochs * IMAGENET_IMAGES / case.batch
    return 1 - 1 / horizon if horizon else 0


def eps_255(case: Case) -> float:
    return 255 * with_overrides(case.trial, {"threat.eps": case.task["threat.eps"]}).threat.eps


def step_over_eps(case: Case) -> float:
    return case.at("attack.reach") / case.at("attack.steps")


def lr_at_epoch(epoch: int) -> Published:
    return lambda c: lr_at(
        epoch / c.epochs, c.trial.optim, batch_size=c.trial.optim.reference_batch
    )


def eps_255_at_epoch(epoch: int) -> Published:
    return lambda case: eps_255(case) * share_at(epoch / case.epochs, case.trial.eps_schedule)


def lr_at_batch_1024(case: Case) -> float:
    """For the reference batch of the papers; ours is each task's own."""
    optim = case.trial.optim.model_copy(update={"reference_batch": 512})
    return peak_lr(optim, batch_size=1024)


CONVERSIONS: dict[str, Published] = {
    "adv_training": path("objective.name"),
    "beta": path("objective.beta"),
    "attack": path("attack.name"),
    "attack_steps": path("attack.steps"),
    "attack_loss": path("attack.loss"),
    "attack_eps_255": eps_255,
    "step_over_eps": step_over_eps,
    "random_start_over_eps": path("attack.noise"),
    "projects": path("attack.project"),
    "target": path("attack.target"),
    "attacked_share": path("attack.fraction"),
    "eps_warmup_epochs": epochs("eps_schedule.ramp"),
    "opt": path("optim.name"),
    "sched": path("optim.schedule"),
    "lr": path("optim.lr"),
    "min_lr": share_of_lr("optim.final_lr"),
    "warmup_lr": share_of_lr("optim.warmup_lr"),
    "lr_at_batch_1024": lr_at_batch_1024,
    "epochs": lambda c: c.task["epochs"] * (1 - c.at("optim.cooldown")),
    "cooldown_epochs": epochs("optim.cooldown"),
    "unused_cooldown_epochs": lambda c: (
        (c.at("optim.cooldown") == 0)
        * int(re.findall(r"cooldown_epochs (\d+)", c.sources["optim.cooldown"])[0])
    ),
    "warmup_epochs": epochs("optim.warmup"),
    "decay_epochs": epochs("optim.step_every"),
    "weight_decay": path("optim.weight_decay"),
    "beta1": lambda c: c.trial.optim.betas[0],
    "beta2": lambda c: c.trial.optim.betas[1],
    "clip_grad": path("optim.clip_norm"),
    "layer_decay": path("optim.layer_decay"),
    "smoothing": path("label_smoothing"),
    "ema_decay": ema_decay,
    "drop_path": path("model.drop_path"),
    "normalize": path("model.normalize"),
    "stem": path("model.stem"),
    "crop_scale_min": path("augment.crop_scale"),
    "crop_padding_px_of_32": lambda c: c.at("augment.pad_crop") * 32,
    "hflip": path("augment.flip"),
    "rotation_degrees": path("augment.rotation"),
    "color_jitter": path("augment.color_jitter"),
    "randaugment_m": path("augment.randaugment"),
    "reprob": path("augment.erasing"),
    "mixup": path("augment.mixup"),
    "cutmix": path("augment.cutmix"),
    "norm": lambda c: c.task["threat.norm"],
    "resolution": lambda c: c.task["data.resolution"],
    "global_batch": lambda c: c.task["batch_size"],
    "gpu_batch": lambda c: int(c.task["batch_size"].removesuffix(" per GPU")),
    "lr_batch": lambda c: c.task["optim.reference_batch"],
    "model": lambda c: c.task["model"].replace(",", ";"),
    "patch": lambda c: c.task["model.patch_size"],
    "pretrained": lambda c: c.task["initial weights"],
    "may_differ": lambda c: c.task["weights.allow"].replace(",", ";"),
    "dataset": lambda c: c.task["data.source"],
    "l1_eps": lambda c: float(c.task["attack.also"].removeprefix("l1, eps ")),
    "union": lambda c: c.task["attack.union"],
    "amp": lambda c: c.task["compute.precision"],
    **{f"lr_at_epoch_{epoch}": lr_at_epoch(epoch) for epoch in range(301)},
    **{f"eps_255_at_epoch_{epoch}": eps_255_at_epoch(epoch) for epoch in range(11)},
}


def read_facts() -> list[tuple[str, str, str]]:
    with FACTS.open() as file:
        return [(row["recipe"], row["fact"], row["value"]) for row in csv.DictReader(file)]


@cache
def case(name: str) -> Case:
    facts = {fact: value for recipe, fact, value in read_facts() if recipe == name}
    recipe = RECIPES[name]
    return Case(
        trial=trial(name),
        task={key: value for key, (value, _) in recipe.task.items()},
        sources={key: source for key, (_, source) in recipe.applied.items()},
        epochs=float(facts["epochs"]) + float(facts.get("cooldown_epochs", 0)),
        batch=float(facts.get("global_batch") or 8 * float(facts["gpu_batch"])),
    )


def trial(name: str) -> TrialConfig:
    base = TrialConfig.model_validate(base_trial())
    return with_overrides(base, overrides_for(RECIPES[name], base.model))


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


@pytest.mark.parametrize(("recipe", "fact", "value"), read_facts())
def test_a_recipe_says_what_was_published(recipe: str, fact: str, value: str) -> None:
    ours = CONVERSIONS[fact](case(recipe))

    if isinstance(ours, str):
        assert ours == value
    elif isinstance(ours, bool):
        assert str(ours).lower() == value
    else:
        assert ours == pytest.approx(float(value), rel=5e-4, abs=1e-12)


@pytest.mark.parametrize("recipe", ["revisiting", "ares"])
def test_an_ema_decay_is_exact_to_its_fourth_digit(recipe: str) -> None:
    """0.9999 and 0.9998 differ by less than the tolerance of the other facts."""
    facts = {fact: value for name, fact, value in read_facts() if name == recipe}

    assert ema_decay(case(recipe)) == pytest.approx(float(facts["ema_decay"]), abs=1e-7)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_decides_every_field_but_those_of_the_task(name: str) -> None:
    all_fields = set(leaves(TrialConfig.model_validate(base_trial()).model_dump()))
    is_tasks = {f for f in all_fields if any(f == t or f.startswith(f"{t}.") for t in TASK_PATHS)}
    stem = set[str]() if name == "revisiting" else {"model.stem"}
    left = all_fields & set(RECIPES[name].task)

    assert set(RECIPES[name].applied) == all_fields - is_tasks - stem - left
    assert left <= is_tasks | {"model.normalize"}


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_has_a_source_and_every_recipe_its_task_and_deviations(name: str) -> None:
    recipe = RECIPES[name]

    decisions = {**recipe.applied, **recipe.task}
    assert [key for key, (_, source) in decisions.items() if not source.strip()] == []
    assert set(recipe.task) >= {
        "data.resolution",
        "threat.norm",
        "threat.eps",
        "epochs",
        "batch_size",
        "optim.reference_batch",
        "model",
        "initial weights",
        "compute.precision",
    }
    assert not set(recipe.task) & set(recipe.applied)
    assert recipe.deviations


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_what_no_paper_varies_switched_off(name: str) -> None:
    config = trial(name)

    assert share_at(0.0, config.steps_schedule) == 1
    assert share_at(0.0, config.resolution_schedule) == 1
    assert config.eps_schedule.delay == 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_warm_start_of_a_space_that_holds_it(name: str) -> None:
    space = {
        "model.stem": {"choice": ["patch", "conv"]},
        "attack.steps": {"int": [1, 10]},
        "eps_schedule.shape": {"choice": ["linear", "cosine"]},
        "eps_schedule.ramp": {"uniform": [0.0, 0.6]},
        "optim.lr": {"log_uniform": [1e-5, 4.0]},
    }

    experiment = load_experiment(DEMO, {"space": space, "warm_start": [name]})

    assert experiment.warm_start == (name,)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_a_model_without_our_stem(name: str) -> None:
    base = TrialConfig.model_validate({**base_trial(), "model": TIMM})

    config = with_overrides(base, overrides_for(RECIPES[name], base.model))

    assert value_at(config, "model.drop_path") == RECIPES[name].applied["model.drop_path"][0]


def test_the_stem_of_a_recipe_reaches_a_convnext() -> None:
    base = TrialConfig.model_validate(base_trial())
    patch = with_overrides(base, {"model.stem": "patch"})

    changed = overrides_for(RECIPES["revisiting"], patch.model)

    assert changed["model.stem"] == "conv"
    assert "model.stem" not in overrides_for(RECIPES["light"], patch.model)


def test_an_unknown_recipe_names_the_nearest_and_all() -> None:
    words = r"no recipe 'lihgt' \(there are canonical, light, .*\); did you mean 'light'\?"
    with pytest.raises(UserError, match=words):
        find_recipe("lihgt")
