"""Targets, the training loss and the optimiser against torch and timm."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from timm.data.mixup import mixup_target
from torch import nn
from trial_factory import tiny_trial

from trainers.losses import mix_targets, soft_targets, training_loss
from trainers.optim import build_optimizer, parameter_groups, set_lr

Y = torch.tensor([0, 3, 2, 2])


def test_smoothed_targets_give_torchs_label_smoothing() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))

    loss = training_loss(logits, soft_targets(Y, num_classes=5, smoothing=0.1))

    torch.testing.assert_close(loss, F.cross_entropy(logits, Y, label_smoothing=0.1))


def test_mixed_targets_equal_timms() -> None:
    mixed = mix_targets(soft_targets(Y, num_classes=5, smoothing=0.1), 0.3)

    torch.testing.assert_close(mixed, mixup_target(Y, 5, lam=0.3, smoothing=0.1))


def test_only_weights_of_two_dimensions_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(4), nn.Linear(4, 2))

    decayed, exempt = parameter_groups(model, weight_decay=0.5)

    assert decayed["params"] == [model[0].weight, model[2].weight]
    assert exempt["params"] == [model[0].bias, *model[1].parameters(), model[2].bias]
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.5, 0.0)


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_each_name_builds_torchs_optimizer(name: str, kind: type) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), tiny_trial(optim={"name": name}).optim)

    set_lr(optimizer, 0.25)

    assert isinstance(optimizer, kind)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_sgd_takes_its_momentum_from_the_first_beta() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), tiny_trial(optim={"name": "sgd"}).optim)

    assert optimizer.param_groups[0]["momentum"] == 0.9
