"""How a search spends: its objectives, its ladder of fidelities, its budget. Light."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from evaluation.config import RaceConfig
from models.config import Config

Objective = Literal["robust", "clean", "unseen", "params_m", "gmacs", "train_gmacs", "seconds"]
"""`robust`, `clean`, `unseen`: accuracies of an early check, higher is better; `unseen` is the mean
over `early_check.unseen`. `params_m`, `gmacs`, `train_gmacs`: as constraints know them, and
`seconds`: training to the last epoch at the trial's own pace; lower is better."""
LOWER_IS_BETTER: frozenset[str] = frozenset({"params_m", "gmacs", "train_gmacs", "seconds"})


class StudyStart(Config):
    """Trials of an earlier search, of this task or another, to be tried first."""

    study: str
    """Its folder."""
    top: int = Field(ge=1)
    """How many of its best; those outside this space are left out."""


class LadderConfig(Config):
    """Fidelities, and who climbs them. Every trial begins on the lowest rung of its bracket."""

    kind: Literal["asha", "ladder"] = "asha"
    """`asha`: one schedule, cut at rungs. `ladder`: each rung is a complete, shorter schedule whose
    learning rate is annealed, which ranks by what a full training would be, not by a beginning."""
    rungs: tuple[Annotated[int, Field(ge=1)], ...]
    """Epochs at which a trial is checked and judged, rising; the last epoch is added."""
    decide: Literal["promote", "stop", "median", "pbt", "none"] = "promote"
    """`promote`: a trial pauses at its rung and goes on once it is among the best 1 / reduction
    there (ASHA, Li et al. 2020, arXiv:1810.05934, algorithm 2). `stop`: it goes on unless it is
    not, and never comes back (ASHA as in Ray Tune). `median`: it ends below the median of its rung
    (Golovin et al. 2017, Vizier). `pbt`: the worst 1 / reduction give way to changed copies of the
    best (`search/strategy/population.py`); `budget.trials` is the population. `none`: all train to
    the end."""
    reduction: int = Field(ge=2)
    growth: bool = False
    """The highest rung in use rises only while two rungs disagree on the order of their trials
    (PASHA, Bohdal et al. 2023, arXiv:2207.06940). With `promote` only."""
    tolerance: float = Field(default=0.0, ge=0)
    """Of `growth`: scores that differ by no more are ties."""
    brackets: int = Field(default=1, ge=1)
    """Hyperband (Li et al. 2018, arXiv:1603.06560): the trials of bracket b, from 0, begin at rung
    b, in Hyperband's proportions, and are compared among themselves."""
    bracket_by: str = ""
    """A branch axis, such as `model`: trials are compared within their branch, because families
    learn at their own pace and cross late."""
    grow: dict[str, tuple[Any, ...]] = Field(default={})
    """`ladder` only: dotted path of a trial, such as `data.train_images`, `data.resolution` or
    `attack.steps`, and its value at each rung; at the last epoch it is the trial's own."""
    survivors: Literal["anew", "continue"] = "anew"
    """`ladder` only: a rung begins like any training, or from the weights of the rung below, for
    the epochs that it has more."""
    race: RaceConfig
    """When a check at a rung ends early; not at the last epoch, whose score promotes. A trial that
    loses a race is over. Only where `decide` is promote or stop, and `objectives` is [robust]."""

    @property
    def top(self) -> int:
        """The level of the last epoch."""
        return len(self.rungs)

    def epoch_of(self, level: int, *, epochs: int) -> int:
        """Returns the epoch that ends at a level, of a trial of so many epochs."""
        return self.rungs[level] if level < self.top else epochs

    def level_of(self, epoch: int, *, epochs: int) -> int | None:
        """Returns the level of an epoch; None where no rung is there."""
        if epoch == epochs:
            return self.top
        return self.rungs.index(epoch) if epoch in self.rungs else None

    @model_validator(mode="after")
    def _rungs_rise(self) -> "LadderConfig":
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs {list(self.rungs)} must rise")
        return self

    @model_validator(mode="after")
    def _fields_are_read(self) -> "LadderConfig":
        if self.kind == "asha" and (self.grow or self.survivors != "anew"):
            field = "grow" if self.grow else "survivors"
            raise ValueError(
                f"{field} needs kind=ladder: with kind=asha a trial is one training; there, "
                "resolution_schedule and steps_schedule let it grow"
            )
        if self.growth and self.decide != "promote":
            raise ValueError(f"growth needs decide=promote, got decide={self.decide}")
        if self.tolerance and not self.growth:
            raise ValueError("tolerance is read only with growth=true; leave it out")
        if self.bracket_by and self.decide == "none":
            raise ValueError("bracket_by needs rungs that decide; set decide=promote or stop")
        if self.kind == "ladder" and self.decide in ("none", "median"):
            raise ValueError(
                f"decide={self.decide} needs kind=asha: the rungs of kind=ladder are trainings of "
                "their own, and are there to choose; take decide=promote or stop"
            )
        is_population = self.kind == "ladder" and self.survivors == "continue"
        if self.decide == "pbt" and (not is_population or self.brackets > 1):
            raise ValueError(
                "decide=pbt needs kind=ladder, survivors=continue and brackets=1: copies begin a "
                "rung from the weights of another trial"
            )
        if self.decide == "none" and self.brackets > 1:
            raise ValueError("brackets needs rungs that decide; set decide=promote or stop")
        return self

    @model_validator(mode="after")
    def _brackets_begin_on_rungs(self) -> "LadderConfig":
        if self.brackets > len(self.rungs) + 1:
            raise ValueError(
                f"brackets ({self.brackets}) must be at most the rungs and the last epoch "
                f"({len(self.rungs) + 1}), for each begins on its own"
            )
        for path, values in self.grow.items():
            if len(values) != len(self.rungs):
                raise ValueError(
                    f"grow.{path} needs a value for each of the {len(self.rungs)} rungs, got "
                    f"{list(values)}; at the last epoch it is the trial's own"
                )
        return self


class BudgetConfig(Config):
    """What a search may spend before it promotes; the first cap that is met ends it, and
    `rampart resume NAME --add-budget` goes on."""

    trials: int | None = Field(default=None, ge=1)
    """Trials in all: the warm starts, then the sampler's."""
    hours: float | None = Field(default=None, gt=0)
    """Wall time of its processes, start-up included."""
    device_hours: float | None = Field(default=None, gt=0)
    """Of GPUs, or of CPU cores where trials have no GPU, while trials hold them."""
    spend: float | None = Field(default=None, gt=0)
    """In the currency of `prices`: the nodes of the cluster, while the search runs. Each driver
    that joins counts the nodes of its own cluster."""
    prices: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    """Node type -> price of an hour. The type is the node's label `rampart/node-type` or
    `ray.io/node-group`; `default` stands for any other."""
    trial_hours: float | None = Field(default=None, gt=0)
    """Training and checks of one trial; one that needs more is stopped."""

    @model_validator(mode="after")
    def _has_an_end(self) -> "BudgetConfig":
        caps = (self.trials, self.hours, self.device_hours, self.spend)
        if all(cap is None for cap in caps):
            raise ValueError("a search needs an end: trials, hours, device_hours or spend")
        if (self.spend is None) != (not self.prices):
            raise ValueError(
                "spend and prices belong together: a cap, and what an hour of each node type costs"
            )
        return self
