"""Thresholds, diagnoses and probes for the tests of every folder."""

from evaluation.diagnoses import Diagnosis
from evaluation.diagnosis_config import DiagnosisConfig
from trainers.metrics import Accuracy, Probe

DIAGNOSIS = DiagnosisConfig(
    noise_se=2,
    non_start_odds=3,
    non_start_loss=0.97,
    non_start_epochs=2,
    divergence_loss=2,
    collapse_points=0.2,
    collapse_share=0.3,
    gap_flag=0.08,
    gap_stop=0.12,
    gap_se=4,
    leak_se=1,
    overfitting_checks=2,
    weak_zeros=0.01,
    weak_size=0.5,
    weak_gain=0,
    weak_drop=0.02,
)
"""The numbers that the strings of the config name."""
FLAG = Diagnosis(
    name="label leaking",
    reason="pgd1 accuracy 52.0% exceeds clean accuracy 50.0% at epoch 3 (n=120)",
    ends_trial=False,
)
END = Diagnosis(
    name="catastrophic overfitting",
    reason="pgd10 accuracy fell from 40.0% at epoch 3 to 2.0% at epoch 6 (n=120)",
    ends_trial=True,
)


def probe(*, pgd1: int, pgd10: int, n: int) -> Probe:
    """Returns a probe of attacks of a healthy size, with so many right images."""
    return Probe(
        pgd1=Accuracy(attack="pgd1", n=n, correct=pgd1),
        pgd10=Accuracy(attack="pgd10", n=n, correct=pgd10),
        loss_gain=0.2,
        zero_gradients=0.001,
        delta_over_eps=0.93,
    )
