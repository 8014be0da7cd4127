"""The curve of a trial's own metrics: all that its checks measured, and nothing else."""

from diagnosis_factory import DIAGNOSIS, probe

from evaluation.diagnoses import ProbePoint, Training, curve_of, diagnose
from trainers.metrics import Accuracy, Check, EpochMetrics, Probe


def metrics(epoch: int, *, correct: int | None, probed: Probe | None = None) -> EpochMetrics:
    check = None
    if correct is not None:
        check = Check(
            clean=Accuracy(attack="clean", n=100, correct=80),
            robust=Accuracy(attack="apgd_ce5+apgd_t2x5", n=100, correct=correct),
            probe=probed,
            seconds=1.0,
        )
    return EpochMetrics(
        epoch=epoch,
        train_loss=1.0,
        train_accuracy=0.5,
        lr=0.1,
        eps=0.03,
        seconds=1.0,
        check=check,
        raw_check=None,
    )


def test_curve_of_a_history_has_its_checks_and_losses() -> None:
    history = [metrics(1, correct=60), metrics(2, correct=None), metrics(3, correct=20)]

    curve = curve_of(history)

    assert curve == (
        ProbePoint(epoch=1, n=100, clean=0.8, robust=0.6, train_loss=1.0),
        ProbePoint(epoch=2, train_loss=1.0),
        ProbePoint(epoch=3, n=100, clean=0.8, robust=0.2, train_loss=1.0),
    )
    training = Training(num_classes=10, warmup_epochs=1.0)
    assert [one.name for one in diagnose(curve, training, DIAGNOSIS)] == [
        "catastrophic overfitting"
    ]


def test_curve_of_a_history_has_all_that_the_probe_measured() -> None:
    (point,) = curve_of([metrics(1, correct=30, probed=probe(pgd1=40, pgd10=39, n=100))])

    expected = ProbePoint(
        epoch=1,
        n=100,
        clean=0.8,
        pgd1=0.4,
        pgd10=0.39,
        robust=0.3,
        train_loss=1.0,
        loss_gain=0.2,
        zero_gradients=0.001,
        delta_over_eps=0.93,
    )
    assert point == expected
