"""Attack losses against AutoAttack's, and random starts."""

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from tiny_models import any_images, linear_model

from trainers.attacks.losses import cross_entropy, dlr, targeted_dlr
from trainers.attacks.start import random_start
from trainers.threat import ThreatModel

LINF = ThreatModel(norm="linf", eps=0.1)
L2 = ThreatModel(norm="l2", eps=1.0)


def test_dlr_equals_autoattack() -> None:
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    y = torch.arange(50) % 6
    reference = APGDAttack(linear_model(6), eps=0.1, norm="Linf", loss="dlr")

    torch.testing.assert_close(dlr(logits, y), reference.dlr_loss(logits, y))


def test_targeted_dlr_equals_autoattack() -> None:
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    y, target = torch.arange(50) % 6, torch.arange(1, 51) % 6
    reference = APGDAttack_targeted(linear_model(6), eps=0.1, norm="Linf")
    reference.y_target = target

    torch.testing.assert_close(
        targeted_dlr(logits, y, target), reference.dlr_loss_targeted(logits, y)
    )


def test_cross_entropy_of_one_hot_rows_equals_that_of_labels() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))

    rows, labels = cross_entropy(logits, torch.eye(4)), cross_entropy(logits, torch.arange(4))

    torch.testing.assert_close(rows, labels)


def test_dlr_losses_refuse_too_few_classes() -> None:
    y = torch.zeros(1, dtype=torch.int64)

    with pytest.raises(ValueError, match="dlr needs at least 3 classes, got 2"):
        dlr(torch.zeros(1, 2), y)
    with pytest.raises(ValueError, match="targeted_dlr needs at least 4 classes, got 3"):
        targeted_dlr(torch.zeros(1, 3), y, y)


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda t: t.norm)
def test_a_start_does_not_depend_on_the_batch(threat: ThreatModel) -> None:
    x = any_images(6)

    together = random_start(x, threat, seeds=[10, 11, 12, 13, 14, 15])
    alone = random_start(x[4:5], threat, seeds=[14])

    assert torch.equal(together[4:5], alone)


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda t: t.norm)
def test_a_start_lies_on_the_surface_where_the_box_allows(threat: ThreatModel) -> None:
    x = torch.full((4, 3, 8, 8), 0.5)

    delta = (random_start(x, threat, seeds=range(4)) - x).flatten(1)

    order = float("inf") if threat.norm == "linf" else 2
    torch.testing.assert_close(delta.norm(p=order, dim=1), torch.full((4,), threat.eps))
    assert len({row[0].item() for row in delta}) == 4


def test_starts_need_one_seed_per_image() -> None:
    with pytest.raises(ValueError, match="one seed per image: 1 for 2 images"):
        random_start(any_images(2), LINF, seeds=[0])
