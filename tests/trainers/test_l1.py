"""The l1 projection against AutoAttack's and its condition of optimality; sparse directions."""

import pytest
import torch
from pyautoattack.autopgd_base import L1_projection
from tiny_models import any_images, distances, farthest_in_l1
from torch import Tensor

from trainers.attacks.l1 import project_l1, sparse_direction


def far_points(x: Tensor, scale: float) -> Tensor:
    return x + scale * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))


def tiny_vectors() -> Tensor:
    """Returns vectors of five pixels, two fifths of them on the border of the box."""
    generator = torch.Generator().manual_seed(4)
    return (1.8 * torch.rand(500, 1, 1, 5, generator=generator) - 0.4).clamp(0, 1)


@pytest.mark.parametrize("eps", [0.5, 3.0, 12.0])
@pytest.mark.parametrize("scale", [0.05, 0.5])
def test_the_projection_equals_that_of_autoattack(scale: float, eps: float) -> None:
    x = any_images(30)
    x_adv = far_points(x, scale)

    nearest = project_l1(x_adv, x, eps)

    expected = x_adv + L1_projection(x, x_adv - x, eps)
    torch.testing.assert_close(nearest, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("eps", [0.01, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_no_point_of_ball_and_box_is_nearer_than_the_projection(scale: float, eps: float) -> None:
    """A point p of a convex set is nearest to v if no point of the set lies ahead in v - p."""
    x = tiny_vectors()
    x_adv = far_points(x, scale)

    nearest = project_l1(x_adv, x, eps)

    rest = x_adv - nearest
    ahead = (rest * (farthest_in_l1(x, rest, eps) - nearest)).flatten(1).sum(dim=1)
    assert ahead.max() < 2e-6
    assert distances(nearest, x, "l1").max() <= eps * (1 + 1e-6) + 1e-7
    assert nearest.min() >= 0
    assert nearest.max() <= 1


def test_the_projection_of_150528_pixels_spends_the_radius() -> None:
    """As many as 3x224x224 has, where AutoAttack's float32 sums are off by 8e-4 of it."""
    x = torch.rand(2, 1, 1, 150528, generator=torch.Generator().manual_seed(0))

    nearest = project_l1(far_points(x, 1.0), x, 12.0)

    torch.testing.assert_close(
        distances(nearest.double(), x.double(), "l1"),
        torch.full((2,), 12.0, dtype=torch.float64),
        rtol=1e-6,
        atol=0,
    )


def test_points_inside_ball_and_box_stay() -> None:
    x = any_images(10)
    x_adv = far_points(x, 0.01).clamp(0, 1)
    assert distances(x_adv, x, "l1").max() < 3

    torch.testing.assert_close(project_l1(x_adv, x, 3.0), x_adv, atol=1e-7, rtol=0)


def test_the_projection_is_a_projection() -> None:
    x = any_images(10)
    once = project_l1(far_points(x, 0.5), x, 3.0)

    torch.testing.assert_close(project_l1(once, x, 3.0), once, atol=1e-6, rtol=0)


def test_a_pixel_at_the_border_does_not_leave_it_and_its_share_goes_to_the_others() -> None:
    x = torch.tensor([0.0, 1.0, 0.5, 0.5]).view(1, 1, 1, 4)
    delta = torch.tensor([-9.0, 9.0, 0.5, -0.25]).view(1, 1, 1, 4)

    nearest = project_l1(x + delta, x, 0.5)

    expected = torch.tensor([0.0, 1.0, 0.875, 0.375]).view(1, 1, 1, 4)
    torch.testing.assert_close(nearest, expected)


def test_the_radius_may_be_a_tensor_and_zero() -> None:
    x = any_images(4)
    x_adv = far_points(x, 0.5)

    assert torch.equal(project_l1(x_adv, x, torch.tensor(3.0)), project_l1(x_adv, x, 3.0))
    torch.testing.assert_close(project_l1(x_adv, x, torch.tensor(0.0)), x)


def test_a_sparse_direction_shares_one_unit_among_the_largest_entries() -> None:
    grad = torch.tensor([[5.0, -4.0, 3.0, 0.1], [0.1, 0.2, 0.3, -0.4]]).view(2, 1, 2, 2)

    direction = sparse_direction(grad, torch.tensor([0.5, 0.25]))

    expected = torch.tensor([[0.5, -0.5, 0.0, 0.0], [0.0, 0.0, 0.0, -1.0]]).view(2, 1, 2, 2)
    torch.testing.assert_close(direction, expected)


def test_a_share_of_nothing_keeps_the_largest_entry() -> None:
    grad = torch.tensor([1.0, 3.0, -2.0, 0.0]).view(1, 1, 2, 2)

    direction = sparse_direction(grad, torch.zeros(1))

    assert direction.flatten().tolist() == [0, 1, 0, 0]


def test_a_sparse_direction_is_zero_where_the_gradient_is() -> None:
    grad = torch.zeros(2, 1, 2, 2)
    grad[0, 0, 0, 0] = -3.0

    direction = sparse_direction(grad, torch.ones(2))

    assert direction.flatten(1).tolist() == [[-1, 0, 0, 0], [0, 0, 0, 0]]
