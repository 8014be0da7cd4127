"""One-step attacks: closed forms, and what N-FGSM may and may not leave."""

import pytest
import torch
from tiny_models import any_images, distances, interior_images, linear_model
from torch import Tensor, nn

from trainers.attacks.fgsm import fgsm
from trainers.attacks.losses import AttackLoss, cross_entropy
from trainers.attacks.start import noise_start
from trainers.threat import ThreatModel

LINF = ThreatModel(norm="linf", eps=0.1)
L2 = ThreatModel(norm="l2", eps=1.0)
L1 = ThreatModel(norm="l1", eps=3.0)
THREATS = pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda t: t.norm)
Y = torch.tensor([0, 1, 0, 1])


def loss(logits: Tensor) -> Tensor:
    return cross_entropy(logits, Y)


def steepest(model: nn.Module, x: Tensor, climbed: AttackLoss, norm: str) -> Tensor:
    """Returns the direction of one step as torch's own functions find it."""
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(climbed(model(x)).sum(), x)
    if norm == "linf":
        return grad.sign()
    if norm == "l2":
        return grad / grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    top = grad.abs().flatten(1).topk(20, dim=1).indices  # the largest tenth of 192
    shares = torch.zeros(len(x), 192).scatter(1, top, 1 / 20)
    return grad.sign() * shares.view_as(x)


@THREATS
def test_one_step_from_the_clean_image_has_a_closed_form(threat: ThreatModel) -> None:
    model, x = linear_model(2), interior_images(4)

    x_adv = fgsm(model, x, threat, step_size=threat.eps, loss=loss, start=x, is_projected=True)

    expected = x + threat.eps * steepest(model, x, loss, threat.norm)
    torch.testing.assert_close(x_adv, expected, atol=1e-6, rtol=0)


def test_rs_fgsm_is_one_step_from_the_noise_cut_to_the_ball() -> None:
    model, x = linear_model(2), any_images(4)
    start = noise_start(x, LINF, noise=1.0, generator=torch.Generator().manual_seed(0))

    x_adv = fgsm(model, x, LINF, step_size=0.125, loss=loss, start=start, is_projected=True)

    stepped = start + 0.125 * steepest(model, start, loss, "linf")
    expected = torch.maximum(torch.minimum(stepped, x + LINF.eps), x - LINF.eps).clamp(0, 1)
    assert torch.equal(x_adv, expected)


@THREATS
def test_n_fgsm_leaves_the_ball_but_not_the_box(threat: ThreatModel) -> None:
    model, x = linear_model(2), any_images(4)
    start = noise_start(x, threat, noise=2.0, generator=torch.Generator().manual_seed(0))

    x_adv = fgsm(model, x, threat, step_size=threat.eps, loss=loss, start=start, is_projected=False)

    stepped = start + threat.eps * steepest(model, start, loss, threat.norm)
    torch.testing.assert_close(x_adv, stepped.clamp(0, 1), atol=1e-6, rtol=0)
    assert (distances(x_adv, x, threat.norm) > 1.2 * threat.eps).all()
    assert distances(x_adv, x, threat.norm).max() <= 3 * threat.eps * (1 + 1e-5)


@THREATS
def test_a_projected_step_stays_inside_ball_and_box(threat: ThreatModel) -> None:
    model, x = linear_model(2), any_images(4)
    start = noise_start(x, threat, noise=2.0, generator=torch.Generator().manual_seed(0))

    x_adv = fgsm(
        model, x, threat, step_size=2 * threat.eps, loss=loss, start=start, is_projected=True
    )

    assert distances(x_adv, x, threat.norm).max() <= threat.eps * (1 + 1e-5)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
