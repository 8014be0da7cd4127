"""Signs of gradient masking, decided from measured numbers alone. Light: no torch.

Each sign is one rule about `Measurements`. Where one cause explains what a second rule sees, the
second is silent, so that a sign names what to repair.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Literal

from pydantic import Field, model_validator

from evaluation.masking_config import MaskingConfig
from evaluation.paired import PairedComparison, compare_paired
from models.config import Config
from trainers.metrics import Accuracy, wilson_interval


class Outcome(Config):
    """What one attack left right; images that are wrong without attack stay wrong."""

    attack: str
    """Such as `apgd_ce20`; `clean` for none."""
    eps: float = Field(ge=0)
    is_right: tuple[bool, ...]
    """Per image, in the order of the split."""

    @property
    def accuracy(self) -> Accuracy:
        """The share of images that are right."""
        return Accuracy(attack=self.attack, n=len(self.is_right), correct=sum(self.is_right))


class GradientCounts(Config):
    """Input gradients of one loss at the clean images that are classified correctly."""

    loss: Literal["ce", "dlr"]
    n: int = Field(ge=0)
    zero: int = Field(ge=0)
    """Images whose gradient is zero in every pixel."""
    non_finite: int = Field(ge=0)
    """Images whose gradient is not finite in some pixel."""


class Outputs(Config):
    """What the model says of the clean images, and how its gradients look there."""

    changed_predictions: int = Field(ge=0)
    """Clean images whose prediction differs between passes."""
    logit_change: float = Field(ge=0)
    """Largest l2 distance between an image's logits of two passes, each divided by its norm."""
    lowest_output: float
    highest_output: float
    row_sum_error: float = Field(ge=0)
    """Largest difference of the sum of an image's outputs from 1."""
    ce_gradients: GradientCounts
    dlr_gradients: GradientCounts


class Measurements(Outputs):
    """All that the signs of masking are told from."""

    clean: Outcome
    sweep: tuple[Outcome, ...] = Field(min_length=2)
    """APGD-CE by rising eps, that of the threat model among them."""
    apgd_ce: Outcome
    apgd_dlr: Outcome
    pgd_few: Outcome
    pgd_many: Outcome
    square: Outcome
    """Of the images that both APGD left right."""
    noise: Outcome
    """Of the same images: right under every draw."""

    @model_validator(mode="after")
    def _outcomes_are_of_the_same_images(self) -> "Measurements":
        found = {len(one.is_right) for one in self.outcomes}
        if len(found) > 1:
            raise ValueError(f"all outcomes must be of the same images, got {sorted(found)} images")
        return self

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Each attack once, the clean images first."""
        rest = (self.apgd_dlr, self.pgd_few, self.pgd_many, self.square, self.noise)
        return (self.clean, *self.sweep, *rest)


class Sign(Config):
    """One sign of masking, and the numbers that it was told from."""

    name: str
    reason: str


class MaskingReport(Config):
    """All that was measured of one model, and what of it is a sign of masking.

    The absence of signs is no proof: a network may mislead all of these attacks.
    """

    model_hash: str
    measured: Measurements
    signs: tuple[Sign, ...]
    """Causes first, then what they do to attacks."""


def signs_of(measured: Measurements, config: MaskingConfig) -> tuple[Sign, ...]:
    """Returns all signs of masking in `measured`.

    Attacks on a model that answers at random are not compared with each other: it may be luck.
    """
    comparisons = () if _is_random(measured, config) else COMPARISONS
    found = [sign(measured, config) for sign in (*CAUSES, unbroken_at_large_eps, *comparisons)]
    return tuple(filter(None, found))


def right_under_both(a: Outcome, b: Outcome) -> tuple[bool, ...]:
    """Returns for each image whether neither attack broke it."""
    return tuple(x and y for x, y in zip(a.is_right, b.is_right, strict=True))


def randomised_output(measured: Measurements, config: MaskingConfig) -> Sign | None:
    """Tells a model that gives the same image different logits."""
    if not _is_random(measured, config):
        return None
    return Sign(
        name="randomised output",
        reason=f"in {config.passes} passes {measured.changed_predictions} of "
        f"{len(measured.clean.is_right)} predictions change and normalised logits move by up to "
        f"{measured.logit_change:.2g} (rounding: {config.logit_change:.2g}); gradients must be "
        "averaged over many passes, and attacks are not compared here",
    )


def probability_output(measured: Measurements, config: MaskingConfig) -> Sign | None:
    """Tells a model that ends with a softmax, under which every loss is flattened twice."""
    if not _is_probability(measured, config):
        return None
    return Sign(
        name="probability output",
        reason=f"outputs lie in [{measured.lowest_output:.3g}, {measured.highest_output:.3g}] and "
        f"sum to 1 within {measured.row_sum_error:.1g}; attacks need the logits",
    )


def non_finite_gradients(measured: Measurements, config: MaskingConfig) -> Sign | None:
    """Tells images at which no step can be taken because the gradient is not a number."""
    counts = max(measured.ce_gradients, measured.dlr_gradients, key=lambda one: one.non_finite)
    if counts.non_finite <= config.zero_gradients * counts.n:
        return None
    return Sign(
        name="non-finite gradients",
        reason=f"the gradient of {counts.loss} is not finite at {counts.non_finite} of {counts.n} "
        "correct images",
    )


def non_differentiable_input(measured: Measurements, config: MaskingConfig) -> Sign | None:
    """Tells images without a gradient even of DLR, which only a softmax inside can saturate."""
    ce, dlr = measured.ce_gradients, measured.dlr_gradients
    if dlr.zero <= config.zero_gradients * dlr.n:
        return None
    is_saturated = _is_probability(measured, config)
    why = (
        "probabilities have saturated; look again with the logits"
        if is_saturated
        else "something before the logits passes no gradient, such as a rounded input"
    )
    return Sign(
        name="saturated probabilities" if is_saturated else "non-differentiable input",
        reason=f"the gradient is zero at {dlr.zero} of {dlr.n} correct images under dlr and at "
        f"{ce.zero} under ce: {why}",
    )


def saturated_logits(measured: Measurements, config: MaskingConfig) -> Sign | None:
    """Tells images at which cross-entropy alone has no gradient: their logits are too far apart."""
    if not _is_saturated(measured, config):
        return None
    ce, dlr = measured.ce_gradients, measured.dlr_gradients
    return Sign(
        name="saturated logits",
        reason=f"the gradient of ce is zero at {ce.zero} of {ce.n} correct images, that of dlr, "
        f"which no scale of the logits changes, at {dlr.zero}: the softmax of ce underflows",
    )


def unbroken_at_large_eps(measured: Measurements, config: MaskingConfig) -> Sign | None:
    """Tells a model that keeps some accuracy where any image can be made into any other."""
    largest = measured.sweep[-1]
    low, _ = largest.accuracy.interval
    if low <= config.unbroken:
        return None
    return Sign(
        name="unbroken at large eps",
        reason=f"{_told(largest)} at eps={largest.eps:.3g}, surely more than {config.unbroken:.1%}",
    )


def rises_with_eps(measured: Measurements, config: MaskingConfig) -> Sign | None:
    """Tells a model against which a larger eps, which allows all that a smaller one does, fails."""
    pairs = combinations(measured.sweep, 2)
    smaller, larger = max(pairs, key=lambda pair: _gain(pair[1], over=pair[0]).low)
    if _gain(larger, over=smaller).low <= 0:
        return None
    return Sign(
        name="accuracy rises with eps",
        reason=f"{_told(smaller)} at eps={smaller.eps:.3g}, but {_told(larger)} at "
        f"eps={larger.eps:.3g}{_gain_told(larger, over=smaller)}",
    )


def more_steps_help(measured: Measurements, config: MaskingConfig) -> Sign | None:
    """Tells a model against which a longer attack finds less."""
    few, many = measured.pgd_few, measured.pgd_many
    if _gain(many, over=few).low <= 0:
        return None
    return Sign(
        name="more steps help the defence",
        reason=f"{_told(few)}, but {_told(many)}{_gain_told(many, over=few)}",
    )


def black_box_wins(measured: Measurements, config: MaskingConfig) -> Sign | None:
    """Tells a model whose gradients mislead: without them more images are broken."""
    square, noise = measured.square, measured.noise
    left = right_under_both(measured.apgd_ce, measured.apgd_dlr)
    still = right_under_both(square, noise)
    found, n = sum(left) - sum(still), len(left)
    low, _ = wilson_interval(found, n)
    if low <= config.black_box_gain:
        return None
    return Sign(
        name="black box beats white box",
        reason=f"of {sum(left)} images (n={n}) that {measured.apgd_ce.attack} and "
        f"{measured.apgd_dlr.attack} leave right, {square.attack} breaks "
        f"{sum(left) - sum(square.is_right)} and {noise.attack} {sum(left) - sum(noise.is_right)}, "
        f"together {found / n:.1%} of all, surely more than {config.black_box_gain:.1%}",
    )


def imbalanced_gradients(measured: Measurements, config: MaskingConfig) -> Sign | None:
    """Tells a model against which cross-entropy climbs badly although it has a gradient."""
    ce, dlr = measured.apgd_ce, measured.apgd_dlr
    if _gain(ce, over=dlr).low <= config.loss_gap or _is_saturated(measured, config):
        return None
    return Sign(
        name="imbalanced gradients",
        reason=f"{_told(ce)}, but {_told(dlr)}{_gain_told(ce, over=dlr)}, surely more than "
        f"{config.loss_gap:.1%}",
    )


Rule = Callable[[Measurements, MaskingConfig], Sign | None]
CAUSES: tuple[Rule, ...] = (
    randomised_output,
    probability_output,
    non_finite_gradients,
    non_differentiable_input,
    saturated_logits,
)
COMPARISONS: tuple[Rule, ...] = (
    rises_with_eps,
    more_steps_help,
    black_box_wins,
    imbalanced_gradients,
)


def _is_random(measured: Measurements, config: MaskingConfig) -> bool:
    return measured.changed_predictions > 0 or measured.logit_change > config.logit_change


def _is_probability(measured: Measurements, config: MaskingConfig) -> bool:
    slack = config.probability_slack
    is_in_range = measured.lowest_output >= -slack and measured.highest_output <= 1 + slack
    return is_in_range and measured.row_sum_error <= slack


def _is_saturated(measured: Measurements, config: MaskingConfig) -> bool:
    ce, dlr = measured.ce_gradients, measured.dlr_gradients
    return ce.zero - dlr.zero > config.zero_gradients * ce.n


def _gain(a: Outcome, *, over: Outcome) -> PairedComparison:
    return compare_paired(a.is_right, over.is_right)


def _told(outcome: Outcome) -> str:
    accuracy = outcome.accuracy
    return f"{accuracy.attack} accuracy is {accuracy.value:.1%} (n={accuracy.n})"


def _gain_told(a: Outcome, *, over: Outcome) -> str:
    gain = _gain(a, over=over)
    return f": {gain.difference:.1%} more, 95 % interval {gain.low:.1%} to {gain.high:.1%}"
