"""Attack losses against AutoAttack's, torch's and their formulas."""

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from tiny_models import linear_model
from torch.distributions import Categorical

from trainers.attacks.losses import cross_entropy, dlr, kl_divergence, targeted_dlr


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


def test_kl_divergence_equals_that_of_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, reference = torch.randn(2, 20, 6, generator=generator) * 4
    p, q = Categorical(logits=reference), Categorical(logits=logits)

    expected = torch.distributions.kl_divergence(p, q)

    torch.testing.assert_close(kl_divergence(logits, reference), expected)


def test_gradients_of_kl_divergence_are_those_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, reference = (
        torch.randn(3, 4, generator=generator, requires_grad=True) for _ in range(2)
    )
    p, q = reference.softmax(dim=1), logits.softmax(dim=1)

    divergence = kl_divergence(logits, reference)
    to_logits, to_reference = torch.autograd.grad(divergence.sum(), (logits, reference))

    torch.testing.assert_close(to_logits, q - p)
    log_ratio = p.log() - q.log()
    torch.testing.assert_close(to_reference, p * (log_ratio - divergence.unsqueeze(1)))
