"""Signs of gradient masking: whether attacks that should agree on a model do."""

from collections.abc import Callable

import torch

from evaluation.analyses.outcome import AnalysisResult, Outcome, Subject
from evaluation.masking import masking_signs
from evaluation.masking_config import MaskingConfig
from evaluation.masking_report import Measurements, Outputs, Sign, right_under_both
from evaluation.masking_report import Outcome as Attacked
from models.config import Config
from trainers.metrics import Accuracy


class SweepPoint(Config):
    """The accuracy under APGD-CE at one eps."""

    eps: float
    robust: Accuracy


class MaskingFindings(Outputs):
    """All that the signs were told from, and the signs."""

    signs: tuple[Sign, ...]
    """None is no proof that nothing is masked."""
    clean: Accuracy
    attacks: tuple[Accuracy, ...]
    """In the threat model of the config. Names joined by + are of attacks one after the other, of
    which an image withstands all."""
    sweep: tuple[SweepPoint, ...]
    """By rising eps."""

    @property
    def verdict(self) -> tuple[str, ...]:
        """A line for each sign, or one that says that there is none."""
        lines = tuple(f"{sign.name}: {sign.reason}" for sign in self.signs)
        return lines or ("no sign of gradient masking",)


class MaskingResult(AnalysisResult):
    """A finished analysis of this kind."""

    config: MaskingConfig
    findings: MaskingFindings


def run(
    subject: Subject, config: MaskingConfig, *, report: Callable[[str], None]
) -> Outcome[MaskingFindings]:
    """Attacks all images in several ways, and tells the signs.

    Returns:
        Arrays `is_clean_correct` (n,), `is_right` (attacks, n), `sweep_eps` (points,) and
        `sweep_is_right` (points, n).
    """
    found = masking_signs(
        subject.model, subject.images, config, device=subject.device, report=report
    )
    measured = found.measured
    attacks = _attacks(measured)
    outputs = {name: getattr(measured, name) for name in Outputs.model_fields}
    return Outcome(
        findings=MaskingFindings(
            **outputs,
            signs=found.signs,
            clean=measured.clean.accuracy,
            attacks=tuple(one.accuracy for one in attacks),
            sweep=tuple(SweepPoint(eps=o.eps, robust=o.accuracy) for o in measured.sweep),
        ),
        arrays={
            "is_clean_correct": torch.tensor(measured.clean.is_right).numpy(),
            "is_right": torch.tensor([one.is_right for one in attacks]).numpy(),
            "sweep_eps": torch.tensor([o.eps for o in measured.sweep], dtype=torch.float64).numpy(),
            "sweep_is_right": torch.tensor([o.is_right for o in measured.sweep]).numpy(),
        },
    )


def _attacks(measured: Measurements) -> tuple[Attacked, ...]:
    """Returns the attacks at the eps of the threat model; Square and noise go on with APGD's."""
    ce, dlr = measured.apgd_ce, measured.apgd_dlr
    both = Attacked(
        attack=f"{ce.attack}+{dlr.attack}", eps=ce.eps, is_right=right_under_both(ce, dlr)
    )
    after = (
        one.model_copy(update={"attack": f"{both.attack}+{one.attack}"})
        for one in (measured.square, measured.noise)
    )
    return (measured.pgd_few, measured.pgd_many, ce, dlr, both, *after)
