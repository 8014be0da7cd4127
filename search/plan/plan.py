"""What a search would take: trials, seconds and device-hours, each as a span."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.config import EarlyCheckConfig
from search.books.spending import HOUR_S
from search.config import ExperimentConfig
from search.overrides import with_overrides
from search.plan.climb import Climb
from search.space.constraints import measure
from trainers.config import TrialConfig, shares


@dataclass(frozen=True, kw_only=True)
class Span:
    """A value if all trials were as the cheapest, as the base, and as the dearest."""

    low: float
    base: float
    high: float

    @property
    def values(self) -> tuple[float, float, float]:
        """The three, in this order."""
        return self.low, self.base, self.high

    def times(self, factor: float) -> "Span":
        return Span(low=factor * self.low, base=factor * self.base, high=factor * self.high)

    def by(self, other: "Span") -> "Span":
        return Span(
            low=self.low * other.low, base=self.base * other.base, high=self.high * other.high
        )

    def plus(self, other: "Span") -> "Span":
        return Span(
            low=self.low + other.low, base=self.base + other.base, high=self.high + other.high
        )


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of the parts of a trial, with all of its workers."""

    epoch: Span
    check: Span
    startup: Span
    """Zero where nobody knows."""

    def of(self, climb: Climb) -> Span:
        """Returns the seconds of a trial that takes so much."""
        train = self.epoch.times(climb.epochs).plus(self.check.times(climb.checks))
        return train.plus(self.startup.times(climb.sessions))


def pace_of(
    trials: Sequence[TrialConfig],
    step_seconds: Sequence[Sequence[float]],
    startup_s: Sequence[float],
    experiment: ExperimentConfig,
) -> Pace:
    """Returns the parts of the cheapest trial, of the base and of the dearest, in this order.

    Args:
        trials: The number of their images is known.
        step_seconds: Of each of the three, several.
        startup_s: Of any trials; may be empty.
    """
    epochs: list[Span] = []
    checks: list[Span] = []
    for trial, seconds in zip(trials, step_seconds, strict=True):
        step = span_of(seconds)
        epochs.append(step.times(_steps(trial)))
        fewest, most = check_passes(experiment.early_check)
        one_pass = _pass_seconds(trial, step, experiment)
        twice = 2 if trial.ema_horizon else 1  # averaged and raw weights
        images = twice * experiment.early_check.images
        checks.append(
            Span(
                low=images * fewest * one_pass.low,
                base=images * (fewest + most) / 2 * one_pass.base,
                high=images * most * one_pass.high,
            )
        )
    return Pace(
        epoch=_across(epochs),
        check=_across(checks),
        startup=span_of(startup_s or (0.0,)),
    )


def span_of(values: Sequence[float]) -> Span:
    """Returns the least, the median and the most of values that were measured."""
    ordered = sorted(values)
    return Span(low=ordered[0], base=ordered[len(ordered) // 2], high=ordered[-1])


def check_passes(config: EarlyCheckConfig) -> tuple[float, float]:
    """Returns the forward passes of an early check for one image that breaks at once, and for one
    that withstands all; a gradient of the input counts as one.

    The clean pass, APGD's 2 steps + 1, and the probe's 24 for PGD-1 and PGD-10.
    """
    first = 2 * config.ce_steps + 1
    targeted = config.targets * (2 * config.t_steps + 1)
    unseen = len(config.unseen)
    return 25 + (1 + unseen) * first, 25 + (1 + unseen) * (first + targeted)


def trials_within(experiment: ExperimentConfig, trial_s: Span) -> Span:
    """Returns how many trials of so many seconds the budget buys.

    A cap on spending is taken for hours of one node of the dearest type.
    """
    return Span(
        low=_bought(experiment, trial_s.low),
        base=_bought(experiment, trial_s.base),
        high=_bought(experiment, trial_s.high),
    )


def full_run_epochs(experiment: ExperimentConfig, base: TrialConfig) -> float:
    """Returns the training of all stages and full runs, in epochs of the base by multiply-adds.

    The default is among the full runs. Reference attacks are not counted.

    Args:
        base: The experiment's, with a number of images.
    """
    promotion = experiment.promotion
    entered, total = promotion.top_k, 0.0
    for stage in promotion.before:
        total += entered * _relative_cost(base, with_overrides(base, stage.overrides))
        entered = stage.keep
    runs = (entered + 1) * promotion.seeds
    return total + runs * _relative_cost(base, with_overrides(base, promotion.overrides))


def full_runs(experiment: ExperimentConfig) -> int:
    """Returns the number of full runs, the default's among them."""
    promotion = experiment.promotion
    finalists = promotion.before[-1].keep if promotion.before else promotion.top_k
    return (finalists + 1) * promotion.seeds


def _relative_cost(base: TrialConfig, run: TrialConfig) -> float:
    """Returns a training in epochs of the base; where its images are unknown, it has the base's."""
    own, there = measure(base), measure(run)
    if "train_cost" in own and "train_cost" in there:
        return base.epochs * there["train_cost"] / own["train_cost"]
    return run.epochs * there["train_gmacs"] / own["train_gmacs"]


def _bought(experiment: ExperimentConfig, trial_s: float) -> float:
    budget, resources = experiment.budget, experiment.resources
    trial_hours = trial_s / HOUR_S
    caps = [float(budget.trials)] if budget.trials is not None else []
    hours = [] if budget.hours is None else [budget.hours]
    if budget.spend is not None and (price := max(budget.prices.values())):
        hours.append(budget.spend / price)
    caps += [float(cap * resources.concurrent_trials / trial_hours // 1) for cap in hours]
    if budget.device_hours is not None:
        caps.append(float(budget.device_hours / (trial_hours * resources.devices) // 1))
    return min(caps, default=float("inf"))


def _steps(trial: TrialConfig) -> int:
    from trainers.plan import steps_per_epoch

    images = trial.data.train_images
    assert images != "all", "the caller counts them"
    return steps_per_epoch(trial, images)


def _pass_seconds(trial: TrialConfig, step: Span, experiment: ExperimentConfig) -> Span:
    """Returns the seconds of a forward pass of one image on one worker."""
    values = measure(trial)
    passes = values["train_gmacs"] / values["gmacs"]
    share = shares(trial, experiment.resources.workers)[0]
    return step.times(1 / (share * passes))


def _across(spans: Sequence[Span]) -> Span:
    """Returns the span of all; the base is the second of three."""
    return Span(
        low=min(span.low for span in spans),
        base=spans[1].base,
        high=max(span.high for span in spans),
    )
