"""How trials become full runs: which ones, how often, and over which stages. Light: no torch."""

from typing import Any, Literal

from pydantic import Field, model_validator

from models.config import Config, Fraction

Overrides = dict[str, Any]
"""Dotted paths of a `TrialConfig` and their new values."""
Rule = Literal["top_k", "pareto", "knee", "within_noise_cheapest"]
"""Of robust accuracy and cost; see `search/promotion/rules.py`."""


class StageConfig(Config):
    """A cheaper training of all finalists before their full runs."""

    overrides: Overrides
    """What it changes in the trial's config; those of the full run do not hold here."""
    keep: int = Field(ge=1)
    """How many go on, the most robust by the last early check on the select split."""


class PromotionConfig(Config):
    """From trials to full runs."""

    rule: Rule = "top_k"
    top_k: int = Field(ge=1)
    """Trials that are promoted at most."""
    seeds: int = Field(default=1, ge=1)
    """Full runs of each finalist and of the default; run i trains with the seed of its config + i.
    One leaves the noise of training out of the verdict."""
    min_clean_accuracy: Fraction
    """Trials below it are not promoted."""
    automatic: bool = True
    """Whether a search promotes at its end; `rampart promote` does so at any time."""
    before: tuple[StageConfig, ...] = ()
    """Stages before the full run, cheapest first."""
    overrides: Overrides
    """What a full run changes in the trial's config, such as `epochs`."""

    @model_validator(mode="after")
    def _every_stage_chooses(self) -> "PromotionConfig":
        entered = self.top_k
        for place, stage in enumerate(self.before):
            if stage.keep >= entered:
                raise ValueError(
                    f"before.{place}.keep ({stage.keep}) must be less than the "
                    f"{entered} that enter the stage; raise top_k or leave the stage out"
                )
            entered = stage.keep
        return self
