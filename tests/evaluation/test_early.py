"""The early check: exact on a linear model, independent of batches, never below the reference."""

import pytest
import torch
from tiny_task import (
    CLASSES,
    CPU,
    EARLY,
    L1,
    L2,
    LINF,
    TinyNet,
    attacked_by_reference,
    tiny_images,
    trained_net,
)
from torch import Tensor, nn

from evaluation.config import EarlyCheckConfig
from evaluation.early import early_check, early_flags
from evaluation.engine.engine import item_seed
from evaluation.progress import ROBUST
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel


def with_fields(**fields: int) -> EarlyCheckConfig:
    return EarlyCheckConfig.model_validate(EARLY.model_dump() | fields)


def linear_task(*, classes: int) -> tuple[nn.Module, ImageSet]:
    """A random linear model, and images far enough from 0 and 1 that the box never binds."""
    generator = torch.Generator().manual_seed(4)
    images = torch.randint(60, 196, (40, 3, 8, 8), generator=generator, dtype=torch.uint8)
    linear = nn.Linear(192, classes)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(classes, 192, generator=generator))
        mean_logits = linear((images.float() / 255).flatten(1)).mean(dim=0)
        linear.bias -= mean_logits  # every class is predicted now and then
    model = nn.Sequential(nn.Flatten(), linear)
    return model, ImageSet(images=images, labels=model(images.float() / 255).argmax(dim=1))


def exactly_robust(model: nn.Module, images: ImageSet, threat: ThreatModel) -> list[bool]:
    """Holder's inequality: robust iff every margin exceeds eps times the dual norm of w_y - w_t."""
    (weight, _), y = list(model.parameters()), images.labels
    logits = model(images.floats(torch.arange(len(images))))
    margins = logits.gather(1, y.unsqueeze(1)) - logits  # (n, classes)
    differences = weight[y].unsqueeze(1) - weight  # (n, classes, 192)
    dual = torch.linalg.vector_norm(differences, ord=1 if threat.norm == "linf" else 2, dim=2)
    is_safe = margins > threat.eps * dual
    return is_safe.scatter(1, y.unsqueeze(1), True).all(dim=1).tolist()


@pytest.mark.parametrize(
    "threat",
    [ThreatModel(norm="linf", eps=3 / 255), ThreatModel(norm="l2", eps=0.1)],
    ids=lambda threat: threat.norm,
)
def test_early_check_is_exact_on_a_linear_model(threat: ThreatModel) -> None:
    model, images = linear_task(classes=5)
    expected = exactly_robust(model, images, threat)

    flags = early_flags(model, images, threat, with_fields(targets=4, t_steps=20), device=CPU)

    assert 0.2 < sum(expected) / len(expected) < 0.8
    assert flags.is_robust == tuple(expected)


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda threat: threat.norm)
def test_batch_size_changes_no_flag(threat: ThreatModel) -> None:
    images = tiny_images(40, seed=2)

    small, large = (
        early_flags(trained_net(), images, threat, with_fields(batch_size=size), device=CPU)
        for size in (3, 7)
    )

    assert small == large
    assert 0 < sum(small.is_robust) < 40


def test_first_images_keep_their_flags_when_more_are_checked() -> None:
    images = tiny_images(40, seed=2)

    few, many = (
        early_flags(trained_net(), images, LINF, with_fields(images=n), device=CPU)
        for n in (15, 40)
    )

    assert few.is_robust == many.is_robust[:15]


def test_early_check_is_never_below_the_reference() -> None:
    images, reference = attacked_by_reference()

    early = early_flags(trained_net(), images, LINF, with_fields(images=16), device=CPU)

    stands = [outcome == ROBUST for outcome in reference.outcomes]
    assert any(stands)
    assert all(early.is_robust[i] for i in range(16) if stands[i])


def test_check_names_its_attack_and_counts_the_flags() -> None:
    images = tiny_images(45, seed=2)

    check = early_check(trained_net(), images, LINF, EARLY, pending=None, device=CPU)

    flags = early_flags(trained_net(), images, LINF, EARLY, device=CPU)
    assert (check.clean.attack, check.clean.n) == ("clean", 40)
    assert (check.robust.attack, check.robust.n) == ("apgd_ce10+apgd_t3x10", 40)
    assert check.clean.correct == sum(flags.is_clean_correct)
    assert check.robust.correct == sum(flags.is_robust)


def test_model_is_left_as_it_was() -> None:
    net = TinyNet().train()
    net.layers[0].requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}

    early_check(net, tiny_images(40, seed=2), LINF, EARLY, pending=None, device=CPU)

    assert all(module.training for module in net.modules())
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class TwoFaced(nn.Module):
    """Answers right without gradients and wrong with them: its attack sees success everywhere."""

    def __init__(self, honest: nn.Module) -> None:
        super().__init__()
        self.honest = honest

    def forward(self, x: Tensor) -> Tensor:
        logits = self.honest(x)
        return -logits if torch.is_grad_enabled() else logits


def test_an_attack_that_lies_breaks_nothing() -> None:
    tiny_eps, images = ThreatModel(norm="linf", eps=1e-4), tiny_images(40, seed=2)

    flags = early_flags(TwoFaced(trained_net()), images, tiny_eps, EARLY, device=CPU)

    assert flags.is_robust == flags.is_clean_correct
    assert sum(flags.is_robust) > 20


def test_more_targets_than_wrong_classes_are_refused() -> None:
    config = with_fields(targets=CLASSES)

    with pytest.raises(ValueError, match=r"targets \(5\) must be less than the number of classes"):
        early_check(trained_net(), tiny_images(40, seed=2), LINF, config, pending=None, device=CPU)


def test_every_image_and_attack_has_its_own_seed() -> None:
    seeds = {item_seed(s, image=i, stage=r) for s in (0, 1) for i in range(50) for r in range(4)}

    assert len(seeds) == 400
