"""In every norm each attack is one graph: no weight gradient, no waiting for the device."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from tiny_models import any_images
from torch import Tensor, nn
from torch._dynamo import config as dynamo_config
from torch._dynamo.backends.common import aot_autograd

from trainers.attacks.mode import attack_mode

Y = torch.arange(12) % 4
WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.item", "aten.is_nonzero")


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
    assert [name for name in WAITS if any(name in target for target, _ in calls)] == []
