"""APGD in lanes: the iterates of the attack without lanes, whoever shares the batch."""

from collections.abc import Callable, Sequence

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack
from tiny_task import CPU, L1, L2, LINF, tiny_images, trained_net
from torch import Tensor

from evaluation.engine.apgd import ApgdLanes
from evaluation.engine.apgd_l1 import ApgdL1Lanes
from evaluation.engine.lanes import Item
from evaluation.engine.stages import AttackName, EvaluationAttack, Stage
from trainers.attacks.apgd import apgd
from trainers.attacks.losses import cross_entropy, dlr, targeted_dlr
from trainers.attacks.start import random_start
from trainers.threat import ThreatModel

N = 12
TARGETS = (torch.arange(N) % 5 + 1) % 5


def stage(name: AttackName, *, steps: int, shrinks: bool = False) -> Stage:
    attack = EvaluationAttack(
        name=name,
        steps=steps,
        restarts=1,
        targets=3 if name == "apgd-t" else 0,
        passes=1,
        shrinks=shrinks,
    )
    return Stage(number=0, attack=attack, rank=int(name == "apgd-t"), restart=0)


def items_of(run: Stage) -> list[Item]:
    return [
        Item(image=i, stage=run, seed=100 + i, target=int(TARGETS[i]) if run.rank else -1)
        for i in range(N)
    ]


def task() -> tuple[Tensor, Tensor]:
    images = tiny_images(N, seed=3)
    return images.floats(torch.arange(N)), images.labels


def lanes_for(threat: ThreatModel, lanes: int, *, passes: int = 1) -> ApgdLanes | ApgdL1Lanes:
    kind = ApgdL1Lanes if threat.norm == "l1" else ApgdLanes
    net = trained_net()
    shape = torch.Size((3, 8, 8))
    return kind(net, threat, lanes=lanes, shape=shape, device=CPU, passes=passes)


def run_together(threat: ThreatModel, items: Sequence[Item]) -> ApgdLanes | ApgdL1Lanes:
    x, y = task()
    attack = lanes_for(threat, len(items))
    attack.begin(torch.arange(len(items)), x, y, items)
    while not bool(attack.is_finished.all()):
        attack.advance()
    return attack


LOSSES: dict[AttackName, Callable[[Tensor, Tensor], Tensor]] = {
    "apgd-ce": cross_entropy,
    "apgd-dlr": dlr,
    "apgd-t": lambda logits, y: targeted_dlr(logits, y, TARGETS),
}


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda threat: threat.norm)
@pytest.mark.parametrize("name", LOSSES)
def test_lanes_go_where_the_attack_without_lanes_goes(
    threat: ThreatModel, name: AttackName
) -> None:
    (x, y), items = task(), items_of(stage(name, steps=40))
    start = random_start(x, threat, seeds=[item.seed for item in items])
    net = trained_net()
    with torch.no_grad():
        is_fooled_at_start = net(start).argmax(dim=1) != y

    ours = run_together(threat, items)

    theirs = apgd(net, x, y, threat, steps=40, loss=lambda z: LOSSES[name](z, y), start=start)
    assert torch.equal(ours.best, theirs.best)
    assert torch.equal(ours.is_fooled, theirs.is_fooled)
    assert 0 < int(ours.is_fooled.sum()) < N
    assert torch.equal(ours.found_at[is_fooled_at_start], torch.zeros_like(y[is_fooled_at_start]))


@pytest.mark.parametrize("shrinks", [False, True])
def test_l1_lanes_climb_as_the_package_does_from_the_same_start(shrinks: bool) -> None:
    (x, y), items = task(), items_of(stage("apgd-ce", steps=50, shrinks=shrinks))

    ours = run_together(L1, items)

    package = APGDAttack(trained_net(), n_iter=50, norm="L1", eps=L1.eps, device="cpu")
    package.init_hyperparam(x)
    losses, is_right = zip(
        *(package_run(package, x[i : i + 1], y[i : i + 1], items[i], shrinks) for i in range(N)),
        strict=True,
    )
    # The package's projection is rougher, so a few climbs part ways.
    gaps = (ours.best_loss - torch.cat(losses)).abs()
    assert float(gaps.quantile(0.6)) < 1e-3
    assert int((ours.is_fooled == torch.cat(is_right).bool()).sum()) <= 1
    assert 0 < int(ours.is_fooled.sum()) < N


def package_run(
    package: APGDAttack, x: Tensor, y: Tensor, item: Item, shrinks: bool
) -> tuple[Tensor, Tensor]:
    """Loss and whether the image stands, from the item's own noise."""
    with torch.random.fork_rng():
        torch.manual_seed(item.seed)
        if shrinks:
            radii = [3 * L1.eps, 2 * L1.eps, L1.eps]
            _, is_right, loss, _ = package.decr_eps_pgd(x, y, radii, [15, 15, 20])
        else:
            package.n_iter, package.eps = 50, L1.eps
            _, is_right, loss, _ = package.attack_single_run(x, y)
    return loss, is_right


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda threat: threat.norm)
def test_neighbours_lane_and_time_change_nothing(threat: ThreatModel) -> None:
    (x, y), items = task(), items_of(stage("apgd-ce", steps=20, shrinks=threat.norm == "l1"))
    together = run_together(threat, items)

    late = lanes_for(threat, 9)
    rows = torch.tensor([7, 2])
    late.begin(torch.arange(9), x[:9], y[:9], items[:9])
    for _ in range(6):
        late.advance()
    late.begin(rows, x[10:], y[10:], items[10:])
    for _ in range(24):
        late.advance()

    assert torch.equal(late.is_fooled[rows], together.is_fooled[10:])
    found = together.is_fooled[10:]
    assert torch.equal(late.found[rows][found], together.found[10:][found])
    assert torch.equal(late.found_at[rows][found], together.found_at[10:][found])


def test_lanes_of_several_losses_run_side_by_side() -> None:
    names: tuple[AttackName, ...] = ("apgd-ce", "apgd-dlr", "apgd-t")
    alone = {name: run_together(LINF, items_of(stage(name, steps=20))).best for name in names}
    mixed = [items_of(stage(names[i % 3], steps=20))[i] for i in range(N)]

    together = run_together(LINF, mixed).best

    for i in range(N):
        assert torch.allclose(together[i], alone[names[i % 3]][i], atol=1e-6)


class Noisy(torch.nn.Module):
    """Adds noise to the logits of a network: a randomised defence."""

    def forward(self, x: Tensor) -> Tensor:
        return trained_net()(x) + 0.1 * torch.randn(len(x), 5)


def test_averaged_passes_ask_the_model_so_many_times() -> None:
    calls: list[int] = []
    net = trained_net()

    def counting(x: Tensor) -> Tensor:
        calls.append(len(x))
        return net(x)

    (x, y), items = task(), items_of(stage("apgd-ce", steps=3))
    attack = ApgdLanes(counting, LINF, lanes=N, shape=torch.Size((3, 8, 8)), device=CPU, passes=5)
    attack.begin(torch.arange(N), x, y, items)

    attack.advance()

    assert calls == [N] * 5


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda threat: threat.norm)
def test_calls_beyond_the_end_change_nothing_that_is_read(threat: ThreatModel) -> None:
    attack = run_together(threat, items_of(stage("apgd-ce", steps=10, shrinks=threat.norm == "l1")))
    found, is_fooled = attack.found.clone(), attack.is_fooled.clone()

    for _ in range(30):
        attack.advance()
        assert bool(attack.is_finished.all())

    assert torch.equal(attack.is_fooled, is_fooled)
    assert torch.equal(attack.found[is_fooled], found[is_fooled])
