"""What the diagnoses (`evaluation/diagnoses.py`) say of a trial or a run, from its history alone.

They are asked after every early check, of the curve up to it, so that whoever asks again is told
the same.
"""

from collections.abc import Iterable, Mapping, Sequence

from evaluation.diagnoses import Diagnosis, Training, curve_of, diagnose
from evaluation.diagnosis_config import DiagnosisConfig
from trainers.config import ScheduleConfig, TrialConfig
from trainers.metrics import EpochMetrics

Diagnoses = Mapping[int, tuple[Diagnosis, ...]]
"""Epoch of a check -> all that was wrong then, what ends a trial first."""


def diagnose_history(
    trial: TrialConfig, history: Sequence[EpochMetrics], config: DiagnosisConfig
) -> Diagnoses:
    """Returns what was wrong at each early check; an epoch where nothing was is there, too."""
    curve, training = curve_of(history), describe_training(trial)
    return {
        metrics.epoch: diagnose(curve[: place + 1], training, config)
        for place, metrics in enumerate(history)
        if metrics.check is not None
    }


def describe_training(trial: TrialConfig) -> Training:
    """Returns what the diagnoses must know of a trial."""
    warmup = max(trial.optim.warmup, _end_of_rise(trial.eps_schedule))
    return Training(num_classes=trial.data.num_classes, warmup_epochs=warmup * trial.epochs)


def first_end(found: Diagnoses) -> Diagnosis | None:
    """Returns the first diagnosis that ends a trial."""
    return next((one for at in found.values() for one in at if one.ends_trial), None)


def latest_of_each(found: Diagnoses) -> tuple[Diagnosis, ...]:
    """Returns the last word on each failure that was ever diagnosed, in order of the first."""
    return tuple({one.name: one for at in found.values() for one in at}.values())


def new_among(now: Iterable[Diagnosis], before: Iterable[Diagnosis]) -> list[Diagnosis]:
    """Returns those of `now` whose failure is not among `before`."""
    known = {one.name for one in before}
    return [one for one in now if one.name not in known]


def names_text(diagnoses: Iterable[Diagnosis]) -> str:
    """Returns for example `single-step gap, label leaking`."""
    return ", ".join(one.name for one in diagnoses)


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """Returns the failure and its reason."""
    return f"{diagnosis.name}: {diagnosis.reason}"


def _end_of_rise(schedule: ScheduleConfig) -> float:
    """Returns the fraction of training after which a scheduled value is the final one."""
    return schedule.delay + schedule.ramp
