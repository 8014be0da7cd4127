"""Square in lanes against AutoAttack's, which sees the same random numbers on one image."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pyautoattack.square import SquareAttack
from tiny_task import CPU, tiny_images, trained_net
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from evaluation.engine.fab_projection import Norm, lengths
from evaluation.engine.lanes import Item
from evaluation.engine.square import SquareLanes, draw, hill_and_hollow, window_sizes
from evaluation.engine.stages import EvaluationAttack, Stage
from trainers.threat import ThreatModel

NORMS: list[Norm] = ["linf", "l2", "l1"]
PACKAGE_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
EPS = {"linf": 0.2, "l2": 2.0, "l1": 5.0}
"""At which 60 queries break a third of the images or more."""
SMALL_EPS = {"linf": 0.005, "l2": 0.05, "l1": 0.3}
"""At which the image of the comparison outlasts all queries."""
TOLERANCE = {"linf": 0.0, "l2": 2e-6, "l1": 5e-5}
"""Per pixel; in l1 it is AutoAttack's projection that is off."""
SIZE = torch.Size((3, 8, 8))
SYNCS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::masked_select"}


class NoWaiting(TorchDispatchMode):
    """Fails where a GPU would have to be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.name().split(".")[0] not in SYNCS, f"{func.name()} waits for the device"
        return func(*args, **(kwargs or {}))


def threat_of(norm: Norm) -> ThreatModel:
    return ThreatModel(norm=norm, eps=EPS[norm])


def right_images(n: int) -> tuple[Tensor, Tensor, nn.Module]:
    """Returns `n` images that the network gets right, their labels and the network."""
    net = copy.deepcopy(trained_net()).requires_grad_(False)
    images = tiny_images(2 * n, seed=3)
    x = images.floats(torch.arange(2 * n))
    is_right = net(x).argmax(dim=1) == images.labels
    return x[is_right][:n], images.labels[is_right][:n], net


def square_items(n: int, *, steps: int) -> list[Item]:
    attack = EvaluationAttack(
        name="square", steps=steps, restarts=1, targets=0, passes=1, shrinks=False
    )
    stage = Stage(number=0, attack=attack, rank=0, restart=0)
    return [Item(image=i, stage=stage, seed=100 + i, target=-1) for i in range(n)]


def square_lanes(
    logits: Callable[[Tensor], Tensor], threat: ThreatModel, *, lanes: int, shape: torch.Size
) -> SquareLanes:
    return SquareLanes(logits, threat, lanes=lanes, shape=shape, device=CPU)


def package_queries(
    net: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, threat: ThreatModel, queries: int
) -> Tensor:
    """Returns what AutoAttack's Square asks on one image, the start first."""
    seen: list[Tensor] = []

    def logits(images: Tensor) -> Tensor:
        seen.append(images.clone())
        return net(images).clone()

    SquareAttack(
        logits,
        PACKAGE_NORMS[threat.norm],
        n_queries=queries,
        eps=threat.eps,
        seed=100,
        resc_schedule=False,
    ).perturb(x, y)
    return torch.cat(seen[1:-1])  # before and after, it predicts


def own_queries(
    net: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, threat: ThreatModel, queries: int
) -> Tensor:
    seen: list[Tensor] = []

    def logits(images: Tensor) -> Tensor:
        seen.append(images.clone())
        return net(images)

    lanes = square_lanes(logits, threat, lanes=1, shape=x.shape[1:])
    lanes.begin(torch.tensor([0]), x, y, square_items(1, steps=queries))
    for _ in range(queries + 1):
        lanes.advance()
    assert lanes.is_finished.all()
    return torch.cat(seen)


@pytest.mark.parametrize("norm", NORMS)
def test_its_queries_are_those_of_autoattack_on_one_image(norm: Norm) -> None:
    x, y, net = right_images(1)
    threat = ThreatModel(norm=norm, eps=SMALL_EPS[norm])

    expected = package_queries(net, x, y, threat, queries=205)
    queries = own_queries(net, x, y, threat, queries=205)

    assert len(expected) == 206
    torch.testing.assert_close(queries, expected, atol=TOLERANCE[norm], rtol=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 11, 15)])
def test_so_they_are_on_other_shapes(shape: tuple[int, ...], norm: Norm) -> None:
    """With a linear model, whose images are oblong in one case."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, *shape, generator=generator)
    weight = torch.randn(3, x.numel(), generator=generator)
    bias = torch.tensor([900.0, 0.0, 0.0])
    y = torch.tensor([0])
    threat = ThreatModel(norm=norm, eps=EPS[norm])

    def net(images: Tensor) -> Tensor:
        return images.flatten(1) @ weight.T + bias

    expected = package_queries(net, x, y, threat, queries=60)
    queries = own_queries(net, x, y, threat, queries=60)

    assert len(expected) == 61
    torch.testing.assert_close(queries, expected, atol=TOLERANCE[norm], rtol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_each_image_falls_at_the_query_at_which_it_falls_alone_in_autoattack(norm: Norm) -> None:
    x, y, net = right_images(10)
    threat = threat_of(norm)
    items = square_items(10, steps=40)
    expected: list[int] = []
    for i, item in enumerate(items):
        package = SquareAttack(net, PACKAGE_NORMS[norm], n_queries=40, eps=threat.eps)
        package.rescale_schedule = False
        package.init_hyperparam(x)
        with torch.random.fork_rng():
            torch.manual_seed(item.seed)
            queries, x_adv = package.attack_single_run(x[i : i + 1], y[i : i + 1])
        is_fooled = bool(net(x_adv).argmax(dim=1) != y[i])
        expected.append(int(queries) - 1 if is_fooled else -1)

    lanes = square_lanes(net, threat, lanes=10, shape=SIZE)
    lanes.begin(torch.arange(10), x, y, items)
    for _ in range(41):
        lanes.advance()

    assert torch.where(lanes.is_fooled, lanes.found_at, -1).tolist() == expected
    assert min(expected) == -1
    assert max(expected) > 10


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 44, 199])
def test_a_tile_is_eta_of_autoattack(size: int, norm: Norm) -> None:
    package = SquareAttack(nn.Identity(), PACKAGE_NORMS[norm], eps=1.0, device=CPU)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # its first number is below one half: upright
        expected = package.eta(size)

    torch.testing.assert_close(hill_and_hollow(size, norm), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_windows_shrink_as_in_autoattack(norm: Norm) -> None:
    package = SquareAttack(nn.Identity(), eps=1.0, resc_schedule=False)
    first = [0, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    least = 1 if norm == "linf" else 3

    sizes = window_sizes(torch.Size((3, 224, 224)), threat_of(norm))

    expected = [max(round((package.p_selection(i) * 224**2) ** 0.5), least) for i in first]
    odd = 0 if norm == "linf" else 1
    assert sizes == [size | odd for size in expected]


@pytest.mark.parametrize("norm", NORMS)
def test_the_draws_of_a_long_item_begin_with_those_of_a_short_one(norm: Norm) -> None:
    short = draw(SIZE, threat_of(norm), moves=5, seed=3)
    long = draw(SIZE, threat_of(norm), moves=300, seed=3)

    assert torch.equal(short.start, long.start)
    assert torch.equal(short.moves, long.moves[:5])


@pytest.mark.parametrize("norm", NORMS)
def test_what_it_finds_is_misclassified_inside_ball_and_box(norm: Norm) -> None:
    x, y, net = right_images(40)
    threat = threat_of(norm)
    seen: list[Tensor] = []

    def logits(images: Tensor) -> Tensor:
        seen.append(images.clone())
        return net(images)

    lanes = square_lanes(logits, threat, lanes=40, shape=SIZE)
    lanes.begin(torch.arange(40), x, y, square_items(40, steps=60))
    for _ in range(61):
        lanes.advance()

    queries = torch.stack(seen)
    assert ((queries >= 0) & (queries <= 1)).all()
    assert lengths((queries - x).flatten(2), norm=norm).max() <= threat.eps * (1 + 2e-6)
    assert 13 <= int(lanes.is_fooled.sum()) < 40
    is_wrong = net(queries.flatten(0, 1)).argmax(dim=1).view(61, 40) != y
    assert torch.equal(is_wrong.any(dim=0), lanes.is_fooled)
    for lane in lanes.is_fooled.nonzero().flatten().tolist():
        at = int(lanes.found_at[lane])
        assert is_wrong[:, lane].int().argmax() == at
        assert torch.equal(lanes.found[lane], queries[at, lane])


@pytest.mark.parametrize("norm", NORMS)
def test_an_item_fares_the_same_in_another_lane_with_other_neighbours_begun_later(
    norm: Norm,
) -> None:
    x, y, net = right_images(6)
    short, long = square_items(6, steps=20), square_items(6, steps=33)
    alone = square_lanes(net, threat_of(norm), lanes=4, shape=SIZE)
    later = square_lanes(net, threat_of(norm), lanes=4, shape=SIZE)

    alone.begin(torch.tensor([0]), x[:1], y[:1], short[:1])
    for _ in range(21):
        alone.advance()
    later.begin(torch.tensor([3, 0, 1]), x[1:4], y[1:4], [*short[1:3], long[3]])
    for _ in range(3):
        later.advance()
    later.begin(torch.tensor([2, 3]), x[[0, 4]], y[[0, 4]], [short[0], long[4]])
    for _ in range(21):
        later.advance()

    assert alone.is_finished[0] & later.is_finished[2]
    assert alone.is_fooled[0] == later.is_fooled[2]
    assert torch.equal(alone._margin[0], later._margin[2])  # pyright: ignore[reportPrivateUsage]
    assert torch.equal(alone._best[0], later._best[2])  # pyright: ignore[reportPrivateUsage]


def test_a_tie_that_the_label_wins_is_no_success_and_one_that_it_loses_is() -> None:
    x = torch.full((2, 3, 8, 8), 0.5)
    lanes = square_lanes(
        lambda images: images.new_zeros(2, 4), threat_of("linf"), lanes=2, shape=SIZE
    )

    lanes.begin(torch.arange(2), x, torch.tensor([0, 1]), square_items(2, steps=3))
    lanes.advance()

    assert lanes.is_fooled.tolist() == [False, True]


def test_a_finished_item_claims_nothing_more_and_one_taken_back_is_found_again() -> None:
    x, y, net = right_images(10)
    y = (y + 1) % 5  # every query succeeds, or nearly
    lanes = square_lanes(net, threat_of("l2"), lanes=10, shape=SIZE)
    lanes.begin(torch.arange(10), x, y, square_items(10, steps=2))
    lanes.advance()
    first = lanes.found_at.clone()

    lanes.resume_search(torch.arange(10))
    for _ in range(2):
        lanes.advance()
    again = lanes.is_fooled.clone()
    second = lanes.found_at.clone()
    lanes.resume_search(torch.arange(10))
    lanes.advance()

    assert (first == 0).all()
    assert again.all()
    assert (second == 1).all()
    assert not lanes.is_fooled.any()


@pytest.mark.parametrize("norm", NORMS)
def test_no_query_waits_for_the_device(norm: Norm) -> None:
    x, y, net = right_images(3)
    lanes = square_lanes(net, threat_of(norm), lanes=3, shape=SIZE)
    lanes.begin(torch.arange(3), x, y, square_items(3, steps=3))

    with NoWaiting():
        for _ in range(3):
            lanes.advance()
