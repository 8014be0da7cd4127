"""Unions of threat models; and in every norm each attack is one graph without weight gradients."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from tiny_models import any_images, distances, interior_images, linear_model, trained_network
from torch import Tensor, nn
from torch._dynamo import config as dynamo_config
from torch._dynamo.backends.common import aot_autograd

from trainers.attacks.losses import cross_entropy
from trainers.attacks.mode import attack_mode
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


@contextmanager
def without_checks() -> Generator[None]:
    """Imports our packages anew, without jaxtyping's wrappers, which torch.compile cannot trace."""

    def ours() -> list[str]:
        return [name for name in sys.modules if name.split(".")[0] == "trainers"]

    checked = {name: sys.modules.pop(name) for name in ours()}
    finders = [*sys.meta_path]
    sys.meta_path[:] = [
        finder for finder in finders if not type(finder).__module__.startswith("jaxtyping")
    ]
    try:
        yield
    finally:
        sys.meta_path[:] = finders
        for name in ours():
            del sys.modules[name]
        sys.modules.update(checked)


@dataclass(frozen=True, kw_only=True)
class Traceable:
    run: Callable[[nn.Module, Tensor, Tensor], Tensor]
    """Model, x, factor that scales eps -> x_adv."""
    forwards: int
    gradients: int


def traceable(name: str, norm: Literal["linf", "l2", "l1"]) -> Traceable:
    with without_checks():
        from trainers.attacks.apgd import apgd
        from trainers.attacks.fgsm import fgsm
        from trainers.attacks.losses import cross_entropy
        from trainers.attacks.multi_norm import msd
        from trainers.attacks.pgd import pgd
        from trainers.attacks.projection import Ball

    def ball(factor: Tensor, norm: Literal["linf", "l2", "l1"] = norm) -> Ball:
        return Ball(norm=norm, eps=factor * {"linf": 0.06, "l2": 0.6, "l1": 3.0}[norm])

    def loss(logits: Tensor) -> Tensor:
        return cross_entropy(logits, Y)

    def run(model: nn.Module, x: Tensor, factor: Tensor) -> Tensor:
        threat = ball(factor)
        if name == "fgsm":
            return fgsm(
                model, x, threat, step_size=threat.eps, loss=loss, start=x, is_projected=False
            )
        if name == "pgd":
            return pgd(model, x, threat, steps=2, step_size=threat.eps, loss=loss, start=x)
        if name == "apgd":
            return apgd(model, x, Y, threat, steps=2, loss=loss, start=None).best
        threats = [ball(factor, "linf"), ball(factor, "l2"), ball(factor, "l1")]
        return msd(model, x, threats, steps=2, reach=1.0, loss=loss, start=x)

    forwards, gradients = {"fgsm": (1, 1), "pgd": (2, 2), "apgd": (3, 2), "msd": (8, 2)}[name]
    return Traceable(run=run, forwards=forwards, gradients=gradients)


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        *((name, norm) for name in ("fgsm", "pgd", "apgd") for norm in ("linf", "l2", "l1")),
        ("msd", "linf"),
    ],
)
def test_an_attack_is_one_graph_for_every_eps_and_computes_no_weight_gradient(
    name: str, norm: Literal["linf", "l2", "l1"]
) -> None:
    x, attack = any_images(12), traceable(name, norm)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(144, 4))
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(attack.run, fullgraph=True, backend=aot_autograd(fw_compiler=keep))
    with dynamo_config.patch(trace_autograd_ops=True), attack_mode(model):
        for factor in (torch.tensor(1.0), torch.tensor(0.5)):
            expected = attack.run(model, x, factor)
            torch.testing.assert_close(compiled(model, x, factor), expected, atol=1e-6, rtol=0)

    (graph,) = graphs
    calls = [(str(node.target), node.args) for node in graph.graph.nodes]
    forwards = [args for target, args in calls if target == "aten.convolution.default"]
    backwards = [args for target, args in calls if target == "aten.convolution_backward.default"]
    assert (len(forwards), len(backwards)) == (attack.forwards, attack.gradients)
    assert [args[-1] for args in backwards] == [[True, False, False]] * attack.gradients
