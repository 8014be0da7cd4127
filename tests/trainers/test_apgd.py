"""APGD against its published numbers, its closed form at two steps, and the reference package."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from tiny_models import (
    any_images,
    distances,
    interior_images,
    trained_network,
)
from torch import Tensor, nn

from trainers.attacks.apgd import apgd, checkpoints
from trainers.attacks.losses import cross_entropy, dlr, targeted_dlr
from trainers.attacks.mode import attack_mode
from trainers.attacks.start import random_start
from trainers.threat import ThreatModel

LINF = ThreatModel(norm="linf", eps=0.06)
L2 = ThreatModel(norm="l2", eps=0.6)
L1 = ThreatModel(norm="l1", eps=3.0)


def images_and_network(n: int, make: Callable[[int], Tensor]) -> tuple[Tensor, Tensor, nn.Module]:
    x, y = make(n), torch.arange(n) % 5
    return x, y, trained_network(x, y, 5)


def test_checkpoints_of_100_steps_are_the_published_ones() -> None:
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)


def test_checkpoints_of_two_steps_are_both_steps() -> None:
    assert checkpoints(2) == (1, 2)


def test_attack_mode_puts_every_flag_back_even_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).train()
    model[0].eval()
    model[1].weight.requires_grad_(False)

    with pytest.raises(RuntimeError, match="stop"), attack_mode(model):
        raise RuntimeError("stop")

    assert [m.training for m in model.modules()] == [True, False, True]
    assert [p.requires_grad for p in model.parameters()] == [True, True, False, True]


def test_apgd_leaves_batch_statistics_alone() -> None:
    x, y, model = images_and_network(10, any_images)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    apgd(model, x, y, LINF, steps=2, loss=lambda z: cross_entropy(z, y), start=None)

    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def input_sign(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(model(x), targets, reduction="sum")
    return torch.autograd.grad(loss, x)[0].sign()


def highest_loss(model: nn.Module, candidates: list[Tensor], targets: Tensor) -> Tensor:
    with torch.no_grad():
        losses = torch.stack(
            [F.cross_entropy(model(c), targets, reduction="none") for c in candidates]
        )
    winner = losses.argmax(dim=0)
    return torch.stack([candidates[int(w)][i] for i, w in enumerate(winner)])


def test_two_linf_steps_match_the_closed_form_on_soft_labels() -> None:
    """Source: the closed form of APGD-2 away from the box (docs/seeds.md, 1.4)."""
    x, y, model = images_and_network(20, interior_images)
    eps, targets = LINF.eps, F.one_hot(y, 5).float() * 0.8 + 0.04
    s0 = input_sign(model, x, targets)
    x1 = x + eps * s0
    x2 = torch.where(input_sign(model, x1, targets) == s0, x1, x - 0.25 * eps * s0)

    found = apgd(model, x, y, LINF, steps=2, loss=lambda z: cross_entropy(z, targets), start=None)

    torch.testing.assert_close(found.best, highest_loss(model, [x, x1, x2], targets))


def test_two_linf_steps_match_the_projected_form_at_the_box() -> None:
    x, y, model = images_and_network(20, any_images)
    eps = LINF.eps

    def inside(z: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(z, x - eps), x + eps).clamp(0, 1)

    x1 = inside(x + 2 * eps * input_sign(model, x, y))
    z = inside(x1 + 2 * eps * input_sign(model, x1, y))
    x2 = inside(x1 + 0.75 * (z - x1) + 0.25 * (x1 - x))

    found = apgd(model, x, y, LINF, steps=2, loss=lambda z: cross_entropy(z, y), start=None)

    torch.testing.assert_close(found.best, highest_loss(model, [x, x1, x2], y))


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda t: t.norm)
@pytest.mark.parametrize("name", ["ce", "dlr"])
def test_100_steps_give_the_flags_of_autoattack(threat: ThreatModel, name: str) -> None:
    x, y, model = images_and_network(60, any_images)
    start = random_start(x, threat, seeds=range(60))
    reference = APGDAttack(model, eps=threat.eps, norm=threat.norm.capitalize(), loss=name)
    reference.init_hyperparam(x)

    _, is_right, best_loss, fooling = reference.attack_single_run(x, y, x_init=start)
    loss = cross_entropy if name == "ce" else dlr
    found = apgd(model, x, y, threat, steps=100, loss=lambda z: loss(z, y), start=start)

    assert 5 < int(found.is_fooled.sum()) < 55
    assert found.is_fooled.tolist() == (is_right == 0).tolist()
    # The flags are coarse: the losses tell one rule from another. Rounding diverts a few images.
    assert (found.loss - best_loss).abs().quantile(0.9) < 1e-4
    assert (model(found.fooling).argmax(dim=1) != y)[found.is_fooled].all()
    if threat.norm == "linf":  # the others round differently, and 100 steps amplify that
        torch.testing.assert_close(loss(model(found.best), y), best_loss)
        torch.testing.assert_close(found.fooling, fooling)


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda t: t.norm)
def test_targeted_steps_give_the_flags_of_autoattack(threat: ThreatModel) -> None:
    x, y, model = images_and_network(60, any_images)
    start = random_start(x, threat, seeds=range(60))
    reference = APGDAttack_targeted(model, eps=threat.eps, norm=threat.norm.capitalize())
    reference.init_hyperparam(x)
    target = model(x).detach().sort(dim=1)[1][:, -2]
    reference.y_target = target

    _, is_right, best_loss, _ = reference.attack_single_run(x, y, x_init=start)
    found = apgd(
        model, x, y, threat, steps=100, loss=lambda z: targeted_dlr(z, y, target), start=start
    )

    assert 5 < int(found.is_fooled.sum()) < 55
    assert found.is_fooled.tolist() == (is_right == 0).tolist()
    assert (found.loss - best_loss).abs().quantile(0.9) < 1e-4


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda t: t.norm)
def test_every_result_is_inside_ball_and_box(threat: ThreatModel) -> None:
    x, y, model = images_and_network(20, any_images)
    start = random_start(x, threat, seeds=range(20))

    found = apgd(model, x, y, threat, steps=9, loss=lambda z: cross_entropy(z, y), start=start)

    for images in (found.best, found.fooling):
        assert distances(images, x, threat.norm).max() <= threat.eps * (1 + 1e-5)
        assert images.min() >= 0
        assert images.max() <= 1


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda t: t.norm)
def test_the_loss_of_a_result_is_that_of_its_best_image(threat: ThreatModel) -> None:
    x, y, model = images_and_network(20, any_images)

    found = apgd(model, x, y, threat, steps=5, loss=lambda z: cross_entropy(z, y), start=None)

    torch.testing.assert_close(found.loss, cross_entropy(model(found.best), y))
    assert (found.loss >= cross_entropy(model(x), y)).all()


def test_the_first_l1_step_from_the_clean_image_moves_a_twentieth_of_the_pixels() -> None:
    x, y, model = images_and_network(20, interior_images)

    found = apgd(model, x, y, L1, steps=1, loss=lambda z: cross_entropy(z, y), start=None)

    # 10 of 192 entries, and each gets as much: 3.0 / 10 is just inside the box of these images.
    moves = (found.best - x).abs().flatten(1)[found.loss > cross_entropy(model(x), y)]
    assert len(moves) > 5
    assert (moves > 0).sum(dim=1).tolist() == [10] * len(moves)
    torch.testing.assert_close(moves.amax(dim=1), torch.full((len(moves),), 0.3))
