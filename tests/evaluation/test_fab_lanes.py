"""FAB in lanes against AutoAttack's, and its projection against AutoAttack's and SciPy's."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack import fab_projections
from pyautoattack.fab_pt import FABAttack_PT
from scipy.optimize import linprog, lsq_linear
from tiny_task import CLASSES, CPU, tiny_images, trained_net
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from evaluation.engine.fab import FabLanes
from evaluation.engine.fab_projection import Norm, lengths, step_onto_plane
from evaluation.engine.lanes import Item
from evaluation.engine.stages import EvaluationAttack, Stage
from trainers.threat import ThreatModel

NORMS: list[Norm] = ["linf", "l2", "l1"]
PACKAGE_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
EPS = {"linf": 0.035, "l2": 0.37, "l1": 1.8}
"""At which FAB breaks between a third and two thirds of the images."""
SLOW = {"linf": 8, "l2": 5, "l1": 12}
"""An image that takes two iterations or more."""
SIZE = torch.Size((3, 8, 8))
SYNCS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::masked_select"}


class NoWaiting(TorchDispatchMode):
    """Fails where a GPU would have to be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.name().split(".")[0] not in SYNCS, f"{func.name()} waits for the device"
        return func(*args, **(kwargs or {}))


def planes(pixels: int, rows: int, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns points with a third of the pixels at the border, normals with zeros, and gaps.

    The gaps go from a step that no border stops to half as much again as the box allows.
    """
    generator = torch.Generator().manual_seed(seed)
    x = (1.5 * torch.rand(rows, pixels, generator=generator) - 0.25).clamp(0, 1)
    normal = torch.randn(rows, pixels, generator=generator)
    normal = normal * (torch.rand(rows, pixels, generator=generator) > 0.2)
    is_up = torch.arange(rows) % 2 == 0
    room = torch.where((normal > 0) == is_up.unsqueeze(1), x, 1 - x)
    shares = torch.linspace(0.001, 1.5, rows)
    return x, normal, torch.where(is_up, 1, -1) * shares * (room * normal.abs()).sum(dim=1)


def package_step(x: Tensor, normal: Tensor, gap: Tensor, norm: Norm) -> Tensor:
    project = getattr(fab_projections, f"projection_{norm}")
    return project(x, normal, (normal * x).sum(dim=1) - gap)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("pixels", [5, 192, 3072])
def test_the_step_equals_that_of_autoattack(pixels: int, norm: Norm) -> None:
    x, normal, gap = planes(pixels, 60, seed=1)

    (step,) = step_onto_plane(x[None], normal, gap[None], norm=norm)

    torch.testing.assert_close(step, package_step(x, normal, gap, norm), atol=2e-4, rtol=0)
    mine, theirs = lengths(step, norm=norm), lengths(package_step(x, normal, gap, norm), norm=norm)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("spread", [1.0, 8.0])
def test_the_step_closes_the_gap_inside_the_box(spread: float, norm: Norm) -> None:
    """Also where the weights differ by eight orders of magnitude."""
    x, normal, gap = planes(3072, 60, seed=2)
    weights = 10 ** (-spread * torch.rand(normal.shape, generator=torch.Generator().manual_seed(0)))
    normal, gap = normal * weights, gap * (normal.abs() * weights).sum(1) / normal.abs().sum(1)

    (step,) = step_onto_plane(x[None], normal, gap[None], norm=norm)

    farthest = torch.where((normal > 0) == (gap >= 0).unsqueeze(1), -x, 1 - x) * (normal != 0)
    reachable = (normal * farthest).sum(dim=1).abs()
    expected = -gap.sign() * torch.minimum(gap.abs(), reachable)
    torch.testing.assert_close((normal * step).sum(dim=1), expected, atol=1e-5, rtol=2e-5)
    assert (x + step).min() >= -1e-7
    assert (x + step).max() <= 1 + 1e-7


def shortest_by_scipy(x: np.ndarray, normal: np.ndarray, gap: float, norm: Norm) -> float:
    """Returns the length of the shortest step in the box that closes `gap`."""
    pixels = len(x)
    bounds = [(-value, 1 - value) for value in x]
    if norm == "l2":
        # The equality outweighs the length by 1e8.
        system = np.vstack((1e4 * normal, np.eye(pixels)))
        values = np.concatenate(([-1e4 * gap], np.zeros(pixels)))
        low, high = zip(*[(low - 1e-9, high + 1e-9) for low, high in bounds], strict=True)
        return float(np.linalg.norm(lsq_linear(system, values, (low, high), tol=1e-14).x))
    bound_count = 1 if norm == "linf" else pixels
    tops = np.ones((pixels, 1)) if norm == "linf" else np.eye(pixels)
    found = linprog(
        np.concatenate((np.zeros(pixels), np.ones(bound_count))),
        A_ub=np.block([[np.eye(pixels), -tops], [-np.eye(pixels), -tops]]),
        b_ub=np.zeros(2 * pixels),
        A_eq=np.concatenate((normal, np.zeros(bound_count)))[None],
        b_eq=[-gap],
        bounds=[*bounds, *[(0, None)] * bound_count],
    )
    return float(found.fun)


@pytest.mark.parametrize("norm", NORMS)
def test_no_step_is_shorter_by_scipy(norm: Norm) -> None:
    x, normal, gap = planes(6, 30, seed=3)
    x, normal, gap = x[:18], normal[:18], gap[:18]  # the later ones are out of reach

    (step,) = step_onto_plane(x[None], normal, gap[None], norm=norm)

    expected = [
        shortest_by_scipy(*row, norm)
        for row in zip(x.double().numpy(), normal.double().numpy(), gap.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        lengths(step, norm=norm), torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("norm", NORMS)
def test_a_gap_that_the_box_cannot_close_leads_to_its_far_corner(norm: Norm) -> None:
    x = torch.tensor([[[0.2, 0.7, 0.4]]])
    normal = torch.tensor([[1.0, -2.0, 0.0]])

    step = step_onto_plane(x, normal, torch.tensor([[9.0]]), norm=norm)

    torch.testing.assert_close(step, torch.tensor([[[-0.2, 0.3, 0.0]]]))


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_without_slope_is_not_approached(norm: Norm) -> None:
    x = torch.full((1, 2, 4), 0.3)

    step = step_onto_plane(x, torch.zeros(2, 4), torch.tensor([[0.0, 1.0]]), norm=norm)

    assert not step.any()


def fab_items(targets: list[int], *, steps: int) -> list[Item]:
    attack = EvaluationAttack(
        name="fab-t", steps=steps, restarts=1, targets=4, passes=1, shrinks=False
    )
    stage = Stage(number=0, attack=attack, rank=1, restart=0)
    return [Item(image=i, stage=stage, seed=i, target=t) for i, t in enumerate(targets)]


def fab_lanes(logits: Callable[[Tensor], Tensor], norm: Norm, *, lanes: int) -> FabLanes:
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    return FabLanes(logits, threat, lanes=lanes, shape=SIZE, device=CPU)


def right_images(n: int) -> tuple[Tensor, Tensor, nn.Module]:
    """Returns `n` images that the network gets right, their labels and the network."""
    net = copy.deepcopy(trained_net()).requires_grad_(False)
    images = tiny_images(2 * n, seed=3)
    x = images.floats(torch.arange(2 * n))
    is_right = net(x).argmax(dim=1) == images.labels
    return x[is_right][:n], images.labels[is_right][:n], net


def ranked(net: nn.Module, x: Tensor, rank: int) -> Tensor:
    """Returns the class of the given rank, 1 for the most likely wrong one."""
    return net(x).sort(dim=1).indices[:, -1 - rank]


@pytest.mark.parametrize("norm", NORMS)
def test_the_first_iterates_equal_those_of_autoattack(norm: Norm) -> None:
    x, y, net = right_images(20)
    seen: list[Tensor] = []

    def logits(images: Tensor) -> Tensor:
        seen.append(images.detach().clone())
        return net(images)

    package = FABAttack_PT(logits, PACKAGE_NORMS[norm], n_iter=6, targeted=True)
    package.target_class = 2
    package.attack_single_run(x, y, is_targeted=True)
    expected, seen[:] = torch.stack(seen[2:]), []  # the first two calls predict clean images

    lanes = fab_lanes(logits, norm, lanes=20)
    lanes.begin(torch.arange(20), x, y, fab_items(ranked(net, x, 1).tolist(), steps=6))
    for _ in range(6):
        lanes.advance()

    torch.testing.assert_close(torch.stack(seen), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_it_breaks_the_images_that_autoattack_breaks(norm: Norm) -> None:
    x, y, net = right_images(60)
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    package = FABAttack_PT(
        net,
        PACKAGE_NORMS[norm],
        n_restarts=1,
        n_iter=25,
        eps=threat.eps,
        targeted=True,
        n_target_classes=CLASSES - 1,
    )
    expected = net(package.perturb(x, y)).argmax(dim=1) != y

    is_fooled = torch.zeros(60, dtype=torch.bool)
    lanes = fab_lanes(net, norm, lanes=60)
    for rank in range(1, CLASSES):
        lanes.begin(torch.arange(60), x, y, fab_items(ranked(net, x, rank).tolist(), steps=25))
        for _ in range(25):
            lanes.advance()
        is_fooled |= lanes.is_fooled
        found, origin = lanes.found[lanes.is_fooled], x[lanes.is_fooled]
        assert (net(found).argmax(dim=1) != y[lanes.is_fooled]).all()
        assert (lengths((found - origin).flatten(1), norm=norm) <= threat.eps).all()
        assert ((found >= 0) & (found <= 1)).all()

    assert 12 <= int(expected.sum()) <= 48
    assert int((is_fooled != expected).sum()) <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_an_item_fares_the_same_in_another_lane_with_other_neighbours_begun_later(
    norm: Norm,
) -> None:
    x, y, net = right_images(20)
    order = [SLOW[norm], 0, 1, 3]
    x, y = x[order], y[order]
    items = fab_items(ranked(net, x, 1).tolist(), steps=8)
    alone, later = fab_lanes(net, norm, lanes=4), fab_lanes(net, norm, lanes=4)

    alone.begin(torch.tensor([0]), x[:1], y[:1], items[:1])
    for _ in range(8):
        alone.advance()
    later.begin(torch.tensor([3, 0, 1]), x[1:], y[1:], items[1:])
    for _ in range(3):
        later.advance()
    later.begin(torch.tensor([2]), x[:1], y[:1], items[:1])
    for _ in range(8):
        later.advance()

    assert alone.is_fooled[0] & later.is_fooled[2]
    assert alone.is_finished[0] & later.is_finished[2]
    assert alone.found_at[0] == later.found_at[2] > 1
    assert torch.equal(alone.found[0], later.found[2])


def test_a_finished_item_claims_nothing_more_and_one_taken_back_is_found_again() -> None:
    x, y, net = right_images(12)
    lanes = fab_lanes(net, "linf", lanes=12)
    lanes.begin(torch.arange(12), x, y, fab_items(ranked(net, x, 1).tolist(), steps=10))
    for _ in range(9):
        lanes.advance()
    broken = lanes.is_fooled.clone()

    lanes.resume_search(torch.arange(12))
    lanes.advance()
    again = lanes.is_fooled.clone()
    lanes.resume_search(torch.arange(12))
    lanes.advance()

    assert again.any()
    assert (again & broken).any()
    assert (lanes.found_at[again] == 10).all()
    assert not lanes.is_fooled.any()


@pytest.mark.parametrize("norm", NORMS)
def test_no_iteration_waits_for_the_device(norm: Norm) -> None:
    x, y, net = right_images(3)
    lanes = fab_lanes(net, norm, lanes=3)
    lanes.begin(torch.arange(3), x, y, fab_items([0, 1, 2], steps=3))

    with NoWaiting():
        lanes.advance()
