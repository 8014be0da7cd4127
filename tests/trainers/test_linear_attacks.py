"""Attacks on a linear model of two classes, whose optimum is known in closed form."""

import pytest
import torch
from tiny_models import interior_images, linear_model
from torch import Tensor, nn

from trainers.attacks.apgd import apgd
from trainers.attacks.losses import cross_entropy
from trainers.attacks.pgd import pgd
from trainers.threat import ThreatModel

LINF = ThreatModel(norm="linf", eps=0.1)
L2 = ThreatModel(norm="l2", eps=1.0)


def optimum(model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
    linear = model[1]  # pyright: ignore[reportIndexIssue]
    slopes = linear.weight.detach()[1 - y] - linear.weight.detach()[y]
    slopes = slopes.view_as(x)
    if threat.norm == "linf":
        return x + threat.eps * slopes.sign()
    return x + threat.eps * slopes / slopes.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda t: t.norm)
def test_apgd_reaches_the_optimum_of_a_linear_model(threat: ThreatModel) -> None:
    model, x = linear_model(2), interior_images(6)
    y = torch.tensor([0, 1, 0, 1, 0, 1])

    found = apgd(
        model, x, y, threat, steps=20, loss=lambda logits: cross_entropy(logits, y), start=None
    )

    torch.testing.assert_close(found.best, optimum(model, x, y, threat), atol=1e-4, rtol=0)


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda t: t.norm)
def test_pgd_reaches_the_optimum_of_a_linear_model(threat: ThreatModel) -> None:
    model, x = linear_model(2), interior_images(6)
    y = torch.tensor([0, 1, 0, 1, 0, 1])
    generator = torch.Generator().manual_seed(0)

    x_adv = pgd(model, x, y, threat, steps=20, step_size=threat.eps, generator=generator)

    torch.testing.assert_close(x_adv, optimum(model, x, y, threat), atol=1e-4, rtol=0)


def test_pgd_with_one_hot_rows_equals_pgd_with_labels() -> None:
    model, x = linear_model(4), interior_images(4)
    y = torch.arange(4)
    rows = torch.eye(4)

    results = [
        pgd(model, x, labels, L2, steps=3, step_size=0.5, generator=torch.Generator())
        for labels in (y, rows)
    ]

    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda t: t.norm)
def test_pgd_stays_inside_ball_and_box(threat: ThreatModel) -> None:
    model = linear_model(2)
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).round()
    y = torch.zeros(4, dtype=torch.int64)

    x_adv = pgd(model, x, y, threat, steps=4, step_size=0.3, generator=torch.Generator())

    order = float("inf") if threat.norm == "linf" else 2
    assert (x_adv - x).flatten(1).norm(p=order, dim=1).max() <= threat.eps + 1e-6
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


def test_attacks_refuse_zero_steps() -> None:
    model, x, y = linear_model(2), interior_images(1), torch.zeros(1, dtype=torch.int64)

    with pytest.raises(ValueError, match="pgd needs steps >= 1"):
        pgd(model, x, y, LINF, steps=0, step_size=0.1, generator=torch.Generator())
    with pytest.raises(ValueError, match="apgd needs steps >= 1"):
        apgd(model, x, y, LINF, steps=0, loss=lambda logits: cross_entropy(logits, y), start=None)
