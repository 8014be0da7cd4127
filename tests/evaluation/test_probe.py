"""The probe: PGD-1 and PGD-10 as `trainers.attacks.pgd` has them, and what is known of them."""

import pytest
import torch
from tiny_task import CPU, L1, L2, LINF, tiny_images, trained_net
from torch import Tensor, nn

from evaluation.probe import run_probe
from trainers.attacks.losses import cross_entropy
from trainers.attacks.pgd import pgd
from trainers.attacks.start import random_start
from trainers.data.images import ImageSet
from trainers.metrics import Probe
from trainers.threat import ThreatModel

THREATS = pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda threat: threat.norm)
N = 40
SEEDS = list(range(100, 100 + N))


def probed(
    model: nn.Module, images: ImageSet, threat: ThreatModel, *, batch_size: int = 16
) -> Probe:
    return run_probe(model, images, threat, seeds=SEEDS, batch_size=batch_size, device=CPU)


def tensors(images: ImageSet, threat: ThreatModel) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the images, their labels and their random starts."""
    x = images.floats(torch.arange(N))
    return x, images.labels, random_start(x, threat, seeds=SEEDS)


def linear_task() -> tuple[nn.Module, ImageSet]:
    """Two classes of a linear model, and images so grey that the box never binds."""
    generator = torch.Generator().manual_seed(4)
    images = torch.randint(100, 156, (N, 3, 8, 8), generator=generator, dtype=torch.uint8)
    linear = nn.Linear(192, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(2, 192, generator=generator))
        linear.bias -= linear((images.float() / 255).flatten(1)).mean(dim=0)
    model = nn.Sequential(nn.Flatten(), linear)
    return model, ImageSet(images=images, labels=model(images.float() / 255).argmax(dim=1))


@THREATS
def test_accuracies_are_those_of_pgd_with_steps_of_1_and_a_half_eps_together(
    threat: ThreatModel,
) -> None:
    images = tiny_images(N, seed=2)
    x, y, start = tensors(images, threat)
    right: dict[int, int] = {}
    for steps in (1, 10):
        size = 1.5 * threat.eps / steps
        x_adv = pgd(
            trained_net(),
            x,
            threat,
            steps=steps,
            step_size=size,
            loss=lambda logits: cross_entropy(logits, y),
            start=start,
        )
        right[steps] = int((trained_net()(x_adv).argmax(dim=1) == y).sum())

    probe = probed(trained_net(), images, threat)

    assert (probe.pgd1.attack, probe.pgd1.n, probe.pgd1.correct) == ("pgd1", N, right[1])
    assert (probe.pgd10.attack, probe.pgd10.n, probe.pgd10.correct) == ("pgd10", N, right[10])
    assert 0 < right[10] < right[1] < N or threat.norm != "linf"


def test_one_step_and_ten_end_at_the_same_point_of_a_linear_model() -> None:
    model, images = linear_task()
    threat = ThreatModel(norm="linf", eps=3 / 255)
    x, y, start = tensors(images, threat)
    weight = next(model.parameters()).detach()
    up = (weight[1 - y] - weight[y]).sign().view_as(x)
    delta = (start - x + 1.5 * threat.eps * up).clamp(-threat.eps, threat.eps)
    logits = model(x + delta)

    probe = probed(model, images, threat)

    expected = int((logits.argmax(dim=1) == y).sum())
    assert 0 < expected < N
    assert (probe.pgd1.correct, probe.pgd10.correct) == (expected, expected)
    gain = (cross_entropy(logits, y) - cross_entropy(model(x), y)).mean()
    assert probe.loss_gain == pytest.approx(gain.item(), rel=1e-4)
    assert probe.delta_over_eps == pytest.approx((delta.abs().mean() / threat.eps).item(), rel=1e-4)
    assert probe.zero_gradients == 0


def test_a_step_of_l2_has_the_size_that_is_allowed() -> None:
    model, images = linear_task()

    probe = probed(model, images, ThreatModel(norm="l2", eps=0.3))

    # 1.5 eps from a point of the sphere: back on it, unless the start lay against the step.
    assert probe.delta_over_eps == pytest.approx(1, abs=1e-5)


@THREATS
def test_the_size_of_a_batch_changes_no_count(threat: ThreatModel) -> None:
    images = tiny_images(N, seed=2)

    small, large = (probed(trained_net(), images, threat, batch_size=size) for size in (3, 40))

    assert (small.pgd1, small.pgd10) == (large.pgd1, large.pgd10)
    assert small.loss_gain == pytest.approx(large.loss_gain, rel=1e-4)


class Deaf(nn.Module):
    """Hears nothing of the images, and names one class."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        return 0 * x.flatten(1)[:, :3] + torch.tensor([1.0, 0.0, 0.0])


def test_a_model_without_a_slope_leaves_the_random_start_as_it_is() -> None:
    images = ImageSet(images=tiny_images(N, seed=2).images, labels=torch.zeros(N, dtype=torch.long))
    x, _, start = tensors(images, LINF)

    probe = probed(Deaf(), images, LINF)

    assert (probe.pgd1.correct, probe.pgd10.correct) == (N, N)
    assert (probe.zero_gradients, probe.loss_gain) == (1, 0)
    size = ((start - x).abs().mean() / LINF.eps).item()
    assert probe.delta_over_eps == pytest.approx(size, rel=1e-4)
    assert size < 0.5


@pytest.mark.parametrize(("label", "forwards"), [(0, 3 + 11), (1, 3)])
def test_only_images_that_are_still_right_pay_for_ten_steps(label: int, forwards: int) -> None:
    images = ImageSet(
        images=tiny_images(N, seed=2).images, labels=torch.full((N,), label, dtype=torch.long)
    )
    model = Deaf()

    probed(model, images, LINF)

    assert sum(model.rows) == forwards * N
