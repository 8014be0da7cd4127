"""What a model may cost, as the experiment file says it. Light: torch comes with `measure`."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Literal, cast

from pydantic import Field, TypeAdapter, model_validator

from models.config import AnyModelConfig, Config, ModelConfig
from trainers.attacks.config import AttackConfig
from trainers.config import TrialConfig

Measure = Literal["params_m", "gmacs", "activation_mb", "train_gmacs", "train_cost"]
"""`params_m`, `gmacs`, `activation_mb`: as in `ModelCost`, at the data's resolution and number of
classes. `train_gmacs`, `train_cost`: `training_gmacs` and `training_cost` of the trial."""


class Bounds(Config):
    """The ends of what is allowed, both included: `[20, 35]`, `{min: 20}` or `{max: 35}`."""

    min: float = Field(default=0, ge=0)
    """0 allows everything, for costs are positive."""
    max: float | None = Field(default=None, gt=0)
    """None allows everything."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_pair_or_names_ends(cls, data: Any) -> Any:
        if isinstance(data, list | tuple) and len(cast(list[Any], data)) == 2:
            return dict(zip(("min", "max"), cast(list[Any], data), strict=True))
        if isinstance(data, dict | Bounds):
            return cast(object, data)
        raise ValueError("bounds are [low, high], {min: low} or {max: high}")

    @model_validator(mode="after")
    def _is_a_range(self) -> "Bounds":
        if self.max is None and not self.min:
            raise ValueError("bounds need an end above 0: [low, high], {min: low} or {max: high}")
        if self.max is not None and self.min >= self.max:
            raise ValueError(f"low must be less than high, got [{self.min:g}, {self.max:g}]")
        return self


Constraints = dict[Measure, Bounds]
_MODELS: TypeAdapter[AnyModelConfig] = TypeAdapter(ModelConfig)


def violations(constraints: Constraints, values: Mapping[str, float]) -> tuple[str, ...]:
    """Returns a sentence for each constraint that `values`, as of `measure`, break."""
    found: list[str] = []
    for name, bounds in constraints.items():
        value = values[name]
        if value < bounds.min:
            found.append(f"{name} is {value:.6g}, below the least allowed {bounds.min:g}")
        elif bounds.max is not None and value > bounds.max:
            found.append(f"{name} is {value:.6g}, above the largest allowed {bounds.max:g}")
    return tuple(found)


def excess(constraints: Constraints, values: Mapping[str, float]) -> dict[str, float]:
    """Returns how far each value is beyond its bounds, in units of the bound; 0 or less is inside.

    Inside, it is the (negative) distance to the nearer end.
    """
    return {name: _excess(bounds, values[name]) for name, bounds in constraints.items()}


def measure(trial: TrialConfig) -> dict[str, float]:
    """Returns what the model and a training step of `trial` cost, by the names of constraints.

    `attack_activation_mb` comes with them; `train_cost` is missing where the number of images is
    not said, which `check_countable` refuses. What was counted once is remembered, for a sampler
    asks about the same model again and again.

    Raises:
        ValueError: If the model cannot be built for the data.
    """
    data = trial.data
    values = _counted(
        trial.model.model_dump_json(), num_classes=data.num_classes, resolution=data.resolution
    )
    train_gmacs = training_gmacs(values["gmacs"], trial.attack)
    train_cost = training_cost(train_gmacs, trial)
    known = {} if train_cost is None else {"train_cost": train_cost}
    return {**values, "train_gmacs": train_gmacs, **known}


def check_countable(constraints: Constraints, trial: TrialConfig) -> None:
    """Raises ValueError if a constraint is on what nobody knows of `trial` before its images."""
    if "train_cost" in constraints and trial.data.train_images == "all":
        raise ValueError(
            "constraints.train_cost counts the images of a training, but data.train_images is "
            "'all'; give their number, or bound train_gmacs, the cost of one image, instead"
        )


def training_gmacs(gmacs: float, attack: AttackConfig) -> float:
    """Estimates the multiply-adds of a training step for one image, in 1e9.

    The step is `at` against one threat, at full steps and resolution, with no weight frozen.

    Args:
        gmacs: Of a forward pass.
    """
    from models.cost import TRAINING_PASSES, apgd_gmacs

    training = TRAINING_PASSES * gmacs
    attacking = apgd_gmacs(gmacs, steps=attack.steps) - training
    if attack.name != "apgd":
        attacking -= gmacs  # the last forward, which finds the best iterate
    return training + attack.fraction * attacking


def training_cost(train_gmacs: float, trial: TrialConfig) -> float | None:
    """Estimates the multiply-adds of all steps of `trial`, in 1e15; None if its images are "all".

    A clean training before it and its checks are not counted.

    Args:
        train_gmacs: Of a step, for one image, as `training_gmacs`.
    """
    from trainers.plan import steps_per_epoch

    images = trial.data.train_images
    if images == "all":
        return None
    steps = trial.epochs * steps_per_epoch(trial, images)
    return train_gmacs * steps * trial.batch_size / 1e6


def _excess(bounds: Bounds, value: float) -> float:
    below = 1 - value / bounds.min if bounds.min else -1.0
    above = value / bounds.max - 1 if bounds.max is not None else -1.0
    return max(below, above)


@lru_cache(maxsize=4096)
def _counted(model: str, *, num_classes: int, resolution: int) -> Mapping[str, float]:
    """Takes the model's config as JSON, which a cache can tell apart."""
    from models.cost import cost

    config = _MODELS.validate_json(model)
    return asdict(cost(config, num_classes=num_classes, resolution=resolution))
