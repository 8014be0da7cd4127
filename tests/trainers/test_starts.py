"""Random starts against AutoAttack's and against the moments of their distributions."""

import pytest
import torch
from pyautoattack.autopgd_base import L1_projection
from tiny_models import any_images, distances

from trainers.attacks.projection import Ball
from trainers.attacks.start import noise_start, random_start
from trainers.threat import ThreatModel

LINF = ThreatModel(norm="linf", eps=0.1)
L2 = ThreatModel(norm="l2", eps=1.0)
L1 = ThreatModel(norm="l1", eps=3.0)
THREATS = pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda t: t.norm)


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@THREATS
def test_a_start_does_not_depend_on_the_batch(threat: ThreatModel) -> None:
    x = any_images(6)

    together = random_start(x, threat, seeds=[10, 11, 12, 13, 14, 15])
    alone = random_start(x[4:5], threat, seeds=[14])

    assert torch.equal(together[4:5], alone)


@THREATS
def test_a_start_lies_on_the_surface_where_the_box_allows(threat: ThreatModel) -> None:
    x = torch.full((4, 3, 8, 8), 0.5)

    start = random_start(x, threat, seeds=range(4))

    torch.testing.assert_close(distances(start, x, threat.norm), torch.full((4,), threat.eps))
    assert len({image.sum().item() for image in start}) == 4


def test_an_l1_start_equals_that_of_autoattack_for_the_same_noise() -> None:
    x = any_images(8)
    noise = torch.stack([torch.randn(3, 8, 8, generator=stream(seed)) for seed in range(8)])

    start = random_start(x, L1, seeds=range(8))

    expected = x + noise + L1_projection(x, noise, L1.eps)
    torch.testing.assert_close(start, expected, atol=2e-5, rtol=0)


def test_starts_need_one_seed_per_image() -> None:
    with pytest.raises(ValueError, match="one seed per image: 1 for 2 images"):
        random_start(any_images(2), LINF, seeds=[0])


def test_linf_noise_fills_the_cube_evenly() -> None:
    x, radius = torch.full((64, 3, 8, 8), 0.5), 2 * LINF.eps

    delta = noise_start(x, LINF, noise=2.0, generator=stream(0)) - x

    assert delta.abs().max() <= radius * (1 + 1e-6)
    quantiles = (delta / radius).flatten().quantile(torch.linspace(0, 1, 5))
    torch.testing.assert_close(quantiles, torch.linspace(-1, 1, 5), atol=0.03, rtol=0)


def test_l2_noise_lies_on_the_sphere_in_no_direction_more_than_in_another() -> None:
    x, radius = torch.full((64, 3, 8, 8), 0.5), 0.5 * L2.eps

    start = noise_start(x, L2, noise=0.5, generator=stream(0))

    torch.testing.assert_close(distances(start, x, "l2"), torch.full((64,), radius))
    # The mean of 64 unit vectors has length 1/8 if their directions are independent.
    assert 0.1 < (start - x).mean(dim=0).norm() / radius < 0.15


def test_l1_noise_is_sparse_and_spends_its_radius() -> None:
    x, radius = torch.full((64, 3, 8, 8), 0.5), 0.5 * L1.eps

    start = noise_start(x, L1, noise=0.5, generator=stream(0))

    torch.testing.assert_close(distances(start, x, "l1"), torch.full((64,), radius))
    assert ((start != x).flatten(1).sum(dim=1) < 20).all()


@THREATS
def test_noise_stays_inside_radius_and_box(threat: ThreatModel) -> None:
    x = any_images(20)

    start = noise_start(x, threat, noise=1.0, generator=stream(0))

    assert distances(start, x, threat.norm).max() <= threat.eps * (1 + 1e-5)
    assert start.min() >= 0
    assert start.max() <= 1


@THREATS
def test_noise_repeats_with_its_seed_alone(threat: ThreatModel) -> None:
    x = any_images(2)

    first, again, other = (
        noise_start(x, threat, noise=1.0, generator=stream(seed)) for seed in (3, 3, 4)
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@THREATS
def test_the_radius_may_be_a_tensor(threat: ThreatModel) -> None:
    x, ball = any_images(2), Ball(norm=threat.norm, eps=torch.tensor(threat.eps))

    from_number = noise_start(x, threat, noise=0.5, generator=stream(0))
    from_tensor = noise_start(x, ball, noise=0.5, generator=stream(0))

    torch.testing.assert_close(from_number, from_tensor)


def test_no_noise_starts_at_the_clean_image() -> None:
    x = any_images(2)

    assert torch.equal(noise_start(x, LINF, noise=0.0, generator=stream(0)), x)
