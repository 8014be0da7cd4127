"""What is wrong with an adversarial training, told from its curve alone. Light: no torch.

Each diagnosis is about the last point of the curve, and says nothing where what it needs was not
measured there. The curve must be of one probe: the same images, the final eps, fixed seeds.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evaluation.diagnosis_config import DiagnosisConfig
from models.config import Config
from trainers.metrics import EpochMetrics


@dataclass(frozen=True, kw_only=True)
class ProbePoint:
    """What was measured after an epoch, accuracies as fractions; None is not measured."""

    epoch: int
    """Epochs finished."""
    n: int | None = None
    """Images behind the accuracies."""
    clean: float | None = None
    pgd1: float | None = None
    """Under one step, FGSM with or without a random start."""
    pgd10: float | None = None
    robust: float | None = None
    """Under the attack that ranks trials: the early check."""
    train_loss: float | None = None
    """Mean of the epoch, in nats."""
    loss_gain: float | None = None
    zero_gradients: float | None = None
    delta_over_eps: float | None = None
    """These three are as in `Probe`."""

    def __post_init__(self) -> None:
        names = ("clean", "pgd1", "pgd10", "robust")
        accuracies = {name: value for name in names if (value := getattr(self, name)) is not None}
        for name, value in accuracies.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be a fraction in [0, 1], got {value:g}")
        if accuracies and (self.n is None or self.n < 1):
            raise ValueError(f"{', '.join(accuracies)} need n, the number of images, got {self.n}")


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the meaning of a curve depends on."""

    num_classes: int
    warmup_epochs: float
    """Of the learning rate or of eps, whichever lasts longer; until then a healthy network need
    neither learn nor withstand the final eps."""


class Diagnosis(Config):
    """A failure, and why it is thought to be one."""

    name: str
    reason: str
    ends_trial: bool
    """Whether the trial is to end; else it is only marked."""


Curve = Sequence[ProbePoint]


def diagnose(curve: Curve, training: Training, config: DiagnosisConfig) -> tuple[Diagnosis, ...]:
    """Returns all that is wrong at the end of `curve`, what ends the trial first."""
    found = [diagnosis(curve, training, config) for diagnosis in DIAGNOSES] if curve else []
    return tuple(sorted(filter(None, found), key=lambda diagnosis: not diagnosis.ends_trial))


def curve_of(history: Sequence[EpochMetrics]) -> tuple[ProbePoint, ...]:
    """Returns the curve of a trial's own metrics, of the scored weights."""
    return tuple(map(_point_of, history))


def non_start(curve: Curve, training: Training, config: DiagnosisConfig) -> Diagnosis | None:
    """Ends a training that still guesses some epochs after warm-up, and never did better.

    Clean accuracy decides where it is known: with soft labels or TRADES the loss of a network
    that learns may stay near that of a guess.
    """
    now = curve[-1]
    patience = training.warmup_epochs + config.non_start_epochs
    if now.epoch < patience or not _is_guessing(now, training, config):
        return None
    if any(_is_guessing(point, training, config) is False for point in curve):
        return None
    told = f"loss {now.train_loss:.3g}" if now.clean is None else f"clean accuracy {now.clean:.1%}"
    return Diagnosis(
        name="non-start",
        reason=f"{told} after {now.epoch} epochs is hardly better than a guess among "
        f"{training.num_classes} classes; a clean start or a longer warm-up of eps may help",
        ends_trial=True,
    )


def divergence(curve: Curve, training: Training, config: DiagnosisConfig) -> Diagnosis | None:
    """Ends a training whose loss is not finite or, after warm-up, far above that of a guess."""
    now = curve[-1]
    limit = config.divergence_loss * math.log(training.num_classes)
    if now.train_loss is None:
        return None
    if not math.isfinite(now.train_loss):
        reason = f"loss of epoch {now.epoch} is {now.train_loss}"
    elif now.epoch > training.warmup_epochs and now.train_loss > limit:
        reason = f"loss {now.train_loss:.3g} of epoch {now.epoch} exceeds {limit:.3g}"
    else:
        return None
    return Diagnosis(name="divergence", reason=reason, ends_trial=True)


def catastrophic_overfitting(
    curve: Curve, training: Training, config: DiagnosisConfig
) -> Diagnosis | None:
    """Ends a training whose accuracy under attack fell far below its highest."""
    for attack, values in _under_attack(curve):
        (epoch, best), (now, _) = max(values, key=lambda value: value[1]), values[-1]
        last, n = values[-1][1], curve[-1].n
        limit = min(config.collapse_points, config.collapse_share * best)
        if best - last > max(limit, config.noise_se * _standard_error(best, last, n)):
            return Diagnosis(
                name="catastrophic overfitting",
                reason=f"{attack} accuracy fell from {best:.1%} at epoch {epoch} to {last:.1%} at "
                f"epoch {now} (n={n}), by more than {limit:.1%}{_single_step(curve, epoch)}",
                ends_trial=True,
            )
    return None


def single_step_gap(curve: Curve, training: Training, config: DiagnosisConfig) -> Diagnosis | None:
    """Flags a gap between PGD-1 and PGD-10 that is wide and rises; ends a training at a wider one.

    Its standard error is that of a count, of the images that only PGD-10 breaks. On a few hundred
    images only a gap far above `gap_stop` ends a training.
    """
    now = curve[-1]
    gap = _gap(now)
    if gap is None or now.pgd1 is None or now.n is None or now.epoch <= training.warmup_epochs:
        return None
    noise = config.gap_se * math.sqrt(max(gap, 0) / (now.n * now.pgd1))
    earlier = [value for point in curve[:-1] if (value := _gap(point)) is not None]
    is_rising = bool(earlier) and gap > earlier[-1]
    ends = gap >= config.gap_stop and gap - noise >= config.gap_flag
    if not ends and not (gap >= config.gap_flag and is_rising):
        return None
    limit = f"at least {config.gap_stop:.0%}" if ends else f"at least {config.gap_flag:.0%}"
    return Diagnosis(
        name="single-step gap",
        reason=f"pgd10 accuracy {now.pgd10:.1%} is {gap:.1%} of pgd1's {now.pgd1:.1%} below it at "
        f"epoch {now.epoch} (n={now.n}), {limit}{'' if ends else ' and rising'}",
        ends_trial=ends,
    )


def label_leaking(curve: Curve, training: Training, config: DiagnosisConfig) -> Diagnosis | None:
    """Flags a network that one step of attack, made with the label, helps to find the label."""
    now = curve[-1]
    if now.pgd1 is None or now.clean is None:
        return None
    if now.pgd1 - now.clean <= config.leak_se * _standard_error(now.pgd1, now.clean, now.n):
        return None
    return Diagnosis(
        name="label leaking",
        reason=f"pgd1 accuracy {now.pgd1:.1%} exceeds clean accuracy {now.clean:.1%} at epoch "
        f"{now.epoch} (n={now.n}); train with more steps",
        ends_trial=False,
    )


def robust_overfitting(
    curve: Curve, training: Training, config: DiagnosisConfig
) -> Diagnosis | None:
    """Flags a robust accuracy that has stayed below its highest for some measurements."""
    for attack, values in _under_attack(curve):
        epoch, best = max(values, key=lambda value: value[1])
        last = [value for _, value in values[-config.overfitting_checks :]]
        low = [best - v > config.noise_se * _standard_error(best, v, curve[-1].n) for v in last]
        if all(low):
            return Diagnosis(
                name="robust overfitting",
                reason=f"{attack} accuracy was {best:.1%} at epoch {epoch}, and in the last "
                f"{len(last)} measurements at most {max(last):.1%} (n={curve[-1].n})",
                ends_trial=False,
            )
    return None


def silent_weak_attack(
    curve: Curve, training: Training, config: DiagnosisConfig
) -> Diagnosis | None:
    """Flags attacks that do less than they should.

    Source: that more steps must not do worse: Athalye et al. 2018, arXiv:1802.00420, section 3.1.
    """
    reasons = "; ".join(_weaknesses(curve[-1], training, config))
    if not reasons:
        return None
    return Diagnosis(
        name="silent weak attack",
        reason=f"at epoch {curve[-1].epoch} {reasons}",
        ends_trial=False,
    )


DIAGNOSES: tuple[Callable[[Curve, Training, DiagnosisConfig], Diagnosis | None], ...] = (
    non_start,
    divergence,
    catastrophic_overfitting,
    single_step_gap,
    label_leaking,
    robust_overfitting,
    silent_weak_attack,
)


def _point_of(metrics: EpochMetrics) -> ProbePoint:
    check = metrics.check
    # A check that racing cut short is of fewer images, and was cut because they went badly.
    if check is None or check.missed is not None:
        return ProbePoint(epoch=metrics.epoch, train_loss=metrics.train_loss)
    probe = check.probe
    return ProbePoint(
        epoch=metrics.epoch,
        n=check.robust.n,
        clean=check.clean.value,
        pgd1=probe.pgd1.value if probe else None,
        pgd10=probe.pgd10.value if probe else None,
        robust=check.robust.value,
        train_loss=metrics.train_loss,
        loss_gain=probe.loss_gain if probe else None,
        zero_gradients=probe.zero_gradients if probe else None,
        delta_over_eps=probe.delta_over_eps if probe else None,
    )


def _weaknesses(now: ProbePoint, training: Training, config: DiagnosisConfig) -> Iterator[str]:
    if now.zero_gradients is not None and now.zero_gradients > config.weak_zeros:
        yield f"{now.zero_gradients:.1%} of the input gradient is zero"
    if now.delta_over_eps is not None and now.delta_over_eps < config.weak_size:
        yield f"one step has {now.delta_over_eps:.0%} of its allowed size"
    if now.loss_gain is not None and now.loss_gain <= config.weak_gain:
        yield f"one step changes the loss by {now.loss_gain:.2g}"
    if now.pgd10 is None:
        return
    guesses = _is_guessing(now, training, config)
    if now.clean is not None and not guesses and now.pgd10 > (1 - config.weak_drop) * now.clean:
        yield f"pgd10 takes clean accuracy from {now.clean:.1%} to {now.pgd10:.1%} only"
    if now.pgd1 is not None:
        noise = config.noise_se * _standard_error(now.pgd10, now.pgd1, now.n)
        if now.pgd10 - now.pgd1 > noise:
            yield f"pgd10 accuracy {now.pgd10:.1%} exceeds pgd1 accuracy {now.pgd1:.1%}"


def _is_guessing(point: ProbePoint, training: Training, config: DiagnosisConfig) -> bool | None:
    """Returns None where neither clean accuracy nor the loss is known."""
    odds, others = config.non_start_odds, training.num_classes - 1
    if point.clean is not None:
        return point.clean < odds / (odds + others)
    if point.train_loss is not None:
        return point.train_loss > config.non_start_loss * math.log(training.num_classes)
    return None


def _under_attack(curve: Curve) -> Iterator[tuple[str, list[tuple[int, float]]]]:
    """Yields each strong attack of the last point with its accuracies and their epochs."""
    for attack in ("pgd10", "robust"):
        if getattr(curve[-1], attack) is not None:
            points = ((point.epoch, getattr(point, attack)) for point in curve)
            yield attack, [(epoch, value) for epoch, value in points if value is not None]


def _gap(point: ProbePoint) -> float | None:
    if point.pgd1 is None or point.pgd10 is None or point.pgd1 == 0:
        return None
    return (point.pgd1 - point.pgd10) / point.pgd1


def _single_step(curve: Curve, epoch: int) -> str:
    """Says what PGD-1 did meanwhile, where it is known."""
    then = next(point.pgd1 for point in curve if point.epoch == epoch)
    if then is None or curve[-1].pgd1 is None:
        return ""
    return f", while pgd1 accuracy went from {then:.1%} to {curve[-1].pgd1:.1%}"


def _standard_error(a: float, b: float, n: int | None) -> float:
    """Returns that of a - b as if of different images; on the same ones it is rarely larger."""
    assert n is not None  # a point with accuracies has one
    return math.sqrt((a * (1 - a) + b * (1 - b)) / n)
