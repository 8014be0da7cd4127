"""Attacks on a linear model, whose optimum is known in closed form, and what they cost."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from tiny_models import (
    CountingModel,
    any_images,
    distances,
    farthest_in_l1,
    interior_images,
    linear_model,
)
from torch import Tensor, nn

from trainers.attacks.apgd import apgd
from trainers.attacks.fgsm import fgsm
from trainers.attacks.losses import cross_entropy
from trainers.attacks.multi_norm import msd, worst_of
from trainers.attacks.pgd import pgd
from trainers.threat import ThreatModel

LINF = ThreatModel(norm="linf", eps=0.1)
L2 = ThreatModel(norm="l2", eps=1.0)
L1 = ThreatModel(norm="l1", eps=3.0)
THREATS = pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda t: t.norm)
Y = torch.tensor([0, 1, 0, 1, 0, 1])


def loss(logits: Tensor) -> Tensor:
    return cross_entropy(logits, Y)


def slopes(model: nn.Module, like: Tensor) -> Tensor:
    linear = model[1]  # pyright: ignore[reportIndexIssue]
    return (linear.weight.detach()[1 - Y] - linear.weight.detach()[Y]).view_as(like)


def optimum(model: nn.Module, x: Tensor, threat: ThreatModel) -> Tensor:
    up = slopes(model, x)
    if threat.norm == "linf":
        return x + threat.eps * up.sign()
    if threat.norm == "l1":
        return farthest_in_l1(x, up, threat.eps)
    return x + threat.eps * up / up.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda t: t.norm)
def test_apgd_reaches_the_optimum_of_a_linear_model(threat: ThreatModel) -> None:
    model, x = linear_model(2), interior_images(6)

    found = apgd(model, x, Y, threat, steps=20, loss=loss, start=None)

    torch.testing.assert_close(found.best, optimum(model, x, threat), atol=1e-4, rtol=0)


@pytest.mark.parametrize("eps", [0.3, 1.0, 3.0])
def test_apgd_reaches_the_loss_of_the_l1_optimum(eps: float) -> None:
    """Not the optimum: its support stops to shrink at two pixels, or where the box fills them."""
    model, x, threat = linear_model(2), interior_images(6), ThreatModel(norm="l1", eps=eps)
    with torch.no_grad():
        highest = loss(model(optimum(model, x, threat)))

    found = apgd(model, x, Y, threat, steps=20, loss=loss, start=None)

    assert (found.loss <= highest + 1e-6).all()
    torch.testing.assert_close(found.loss, highest, atol=5e-4, rtol=0)


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda t: t.norm)
def test_pgd_reaches_the_optimum_of_a_linear_model(threat: ThreatModel) -> None:
    model, x = linear_model(2), interior_images(6)

    x_adv = pgd(model, x, threat, steps=20, step_size=threat.eps, loss=loss, start=x)

    torch.testing.assert_close(x_adv, optimum(model, x, threat), atol=1e-4, rtol=0)


def test_pgd_in_l1_spreads_the_radius_evenly_over_the_largest_tenth() -> None:
    model, x = linear_model(2), interior_images(6)
    up = slopes(model, x)
    top = up.abs().flatten(1).topk(20, dim=1).indices
    shares = torch.zeros(6, 192).scatter(1, top, L1.eps / 20).view_as(x)

    x_adv = pgd(model, x, L1, steps=20, step_size=1.0, loss=loss, start=x)

    torch.testing.assert_close(x_adv, x + up.sign() * shares, atol=1e-6, rtol=0)


def test_pgd_reaches_the_l1_optimum_where_a_tenth_is_one_pixel() -> None:
    x, threat = interior_images(6)[:, :1, :3, :3], ThreatModel(norm="l1", eps=0.3)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))

    x_adv = pgd(model, x, threat, steps=20, step_size=0.1, loss=loss, start=x)

    torch.testing.assert_close(x_adv, optimum(model, x, threat), atol=1e-6, rtol=0)


@THREATS
def test_pgd_with_one_hot_rows_equals_pgd_with_labels(threat: ThreatModel) -> None:
    model, x, y = linear_model(4), interior_images(4), torch.arange(4)

    results = [
        pgd(
            model,
            x,
            threat,
            steps=3,
            step_size=threat.eps / 2,
            loss=lambda z, labels=labels: cross_entropy(z, labels),
            start=x,
        )
        for labels in (y, torch.eye(4))
    ]

    torch.testing.assert_close(results[0], results[1])


@THREATS
def test_descent_of_the_targets_cross_entropy_reaches_the_target(threat: ThreatModel) -> None:
    model, x = linear_model(4), interior_images(6)
    with torch.no_grad():
        target = (model(x).argmax(dim=1) + 1) % 4
    wide = ThreatModel(norm=threat.norm, eps=3 * threat.eps)

    x_adv = pgd(
        model,
        x,
        wide,
        steps=20,
        step_size=threat.eps,
        loss=lambda z: -cross_entropy(z, target),
        start=x,
    )

    assert model(x_adv).argmax(dim=1).tolist() == target.tolist()


@THREATS
def test_pgd_stays_inside_ball_and_box_from_any_start(threat: ThreatModel) -> None:
    model, x, start = linear_model(2), any_images(6), 1 - any_images(6)

    x_adv = pgd(model, x, threat, steps=4, step_size=threat.eps, loss=loss, start=start)

    assert distances(x_adv, x, threat.norm).max() <= threat.eps * (1 + 1e-5)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert not x_adv.requires_grad


@dataclass(frozen=True, kw_only=True)
class Cost:
    name: str
    run: Callable[[nn.Module, Tensor], object]
    forwards: int
    gradients: int


def costs(threat: ThreatModel) -> list[Cost]:
    return [
        Cost(
            name="fgsm",
            run=lambda model, x: fgsm(
                model, x, threat, step_size=0.1, loss=loss, start=x, is_projected=True
            ),
            forwards=1,
            gradients=1,
        ),
        Cost(
            name="pgd-7",
            run=lambda model, x: pgd(model, x, threat, steps=7, step_size=0.1, loss=loss, start=x),
            forwards=7,
            gradients=7,
        ),
        *(
            Cost(
                name=f"apgd-{steps}",
                run=lambda model, x, steps=steps: apgd(
                    model, x, Y, threat, steps=steps, loss=loss, start=None
                ),
                forwards=steps + 1,
                gradients=steps,
            )
            for steps in (1, 2, 7)
        ),
        Cost(
            name="worst_of-3",
            run=lambda model, x: worst_of(model, [x, x, x], loss=loss),
            forwards=3,
            gradients=0,
        ),
        Cost(
            name="msd-4",
            run=lambda model, x: msd(
                model, x, [LINF, threat], steps=4, reach=2.0, loss=loss, start=x
            ),
            forwards=4 * (1 + 2),
            gradients=4,
        ),
    ]


@THREATS
@pytest.mark.parametrize("name", [cost.name for cost in costs(LINF)])
def test_attacks_cost_what_they_say_on_a_frozen_model_in_eval_mode(
    name: str, threat: ThreatModel
) -> None:
    (cost,) = (cost for cost in costs(threat) if cost.name == name)
    model = CountingModel().train()

    cost.run(model, interior_images(6))

    assert (model.forwards, model.gradients) == (cost.forwards, cost.gradients)
    assert model.states == {(False, False)}
    assert model.training


def test_attacks_refuse_zero_steps() -> None:
    model, x = linear_model(2), interior_images(6)

    with pytest.raises(ValueError, match="pgd needs steps >= 1, got steps=0; for clean images"):
        pgd(model, x, LINF, steps=0, step_size=0.1, loss=loss, start=x)
    with pytest.raises(ValueError, match="apgd needs steps >= 1, got steps=0; for clean images"):
        apgd(model, x, Y, LINF, steps=0, loss=loss, start=None)
