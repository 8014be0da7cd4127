"""Unions of threat models."""

import pytest
import torch
from tiny_models import any_images, distances, interior_images, linear_model, trained_network
from torch import Tensor, nn

from trainers.attacks.losses import cross_entropy
from trainers.attacks.multi_norm import msd, worst_of
from trainers.attacks.pgd import pgd
from trainers.threat import ThreatModel

LINF = ThreatModel(norm="linf", eps=0.06)
L2 = ThreatModel(norm="l2", eps=0.6)
L1 = ThreatModel(norm="l1", eps=3.0)
THREATS = [LINF, L2, L1]
Y = torch.arange(12) % 4


def loss(logits: Tensor) -> Tensor:
    return cross_entropy(logits, Y)


def losses(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return loss(model(x))


def test_worst_of_takes_for_each_image_the_candidate_of_the_highest_loss() -> None:
    x = any_images(12)
    model = trained_network(x, Y, 4)
    candidates = [
        pgd(model, x, threat, steps=2, step_size=threat.eps, loss=loss, start=x)
        for threat in THREATS
    ]
    table = torch.stack([losses(model, candidate) for candidate in candidates])

    worst = worst_of(model, candidates, loss=loss)

    winners = table.argmax(dim=0).tolist()
    assert len(set(winners)) > 1
    expected = torch.stack([candidates[winner][i] for i, winner in enumerate(winners)])
    assert torch.equal(worst, expected)


def test_worst_of_needs_a_candidate() -> None:
    with pytest.raises(ValueError, match="worst_of needs at least 1 candidate, got 0; attack"):
        worst_of(linear_model(4), [], loss=loss)


def test_msd_with_one_threat_is_pgd() -> None:
    x = any_images(12)
    model = trained_network(x, Y, 4)

    found = msd(model, x, [L2], steps=4, reach=2.0, loss=loss, start=x)

    expected = pgd(model, x, L2, steps=4, step_size=2 * 0.6 / 4, loss=loss, start=x)
    torch.testing.assert_close(found, expected)


def test_one_step_of_msd_is_the_worst_of_one_step_in_each_norm() -> None:
    x = any_images(12)
    model = trained_network(x, Y, 4)

    found = msd(model, x, THREATS, steps=1, reach=1.0, loss=loss, start=x)

    steps = [
        pgd(model, x, threat, steps=1, step_size=threat.eps, loss=loss, start=x)
        for threat in THREATS
    ]
    torch.testing.assert_close(found, worst_of(model, steps, loss=loss))


def test_msd_stays_inside_one_of_the_balls_and_the_box() -> None:
    x = any_images(12)
    model = trained_network(x, Y, 4)

    found = msd(model, x, THREATS, steps=5, reach=2.0, loss=loss, start=1 - x)

    inside = [distances(found, x, t.norm) <= t.eps * (1 + 1e-5) for t in THREATS]
    assert torch.stack(inside).any(dim=0).all()
    assert found.min() >= 0
    assert found.max() <= 1


def test_msd_on_a_linear_model_ends_in_the_norm_that_reaches_highest() -> None:
    """The l2 ball contains the linf ball here, and on a linear model its optimum is higher."""
    model, x = linear_model(4), interior_images(12)
    wide = ThreatModel(norm="l2", eps=0.06 * 192**0.5)

    found = msd(model, x, [LINF, wide], steps=10, reach=2.0, loss=loss, start=x)

    alone = pgd(model, x, wide, steps=10, step_size=0.2 * wide.eps, loss=loss, start=x)
    torch.testing.assert_close(losses(model, found), losses(model, alone), atol=1e-3, rtol=0)


def test_msd_needs_a_step_and_a_threat() -> None:
    model, x = linear_model(4), any_images(12)

    with pytest.raises(ValueError, match="msd needs steps >= 1, got steps=0; for clean images"):
        msd(model, x, [LINF], steps=0, reach=1.0, loss=loss, start=x)
    with pytest.raises(ValueError, match="msd needs at least 1 threat, got 0; name the norms"):
        msd(model, x, [], steps=1, reach=1.0, loss=loss, start=x)
