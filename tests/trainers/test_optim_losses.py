"""Targets, the training loss and the optimiser against torch and timm."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from base_trial import timm_config
from timm.data.mixup import mixup_target
from timm.optim import Lamb  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor, nn
from trial_factory import tiny_trial

from models.registry import build_model
from trainers.losses import mart_loss, mix_targets, soft_targets, trades_loss, training_loss
from trainers.optim import build_optimizer, set_lr

SEED = torch.Generator().manual_seed
Y = torch.tensor([0, 3, 2, 2])


def test_smoothed_targets_give_torchs_label_smoothing() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))

    loss = training_loss(logits, soft_targets(Y, num_classes=5, smoothing=0.1))

    torch.testing.assert_close(loss, F.cross_entropy(logits, Y, label_smoothing=0.1))


def test_mixed_targets_equal_timms() -> None:
    mixed = mix_targets(soft_targets(Y, num_classes=5, smoothing=0.1), 0.3)

    torch.testing.assert_close(mixed, mixup_target(Y, 5, lam=0.3, smoothing=0.1))


def test_trades_is_the_papers_formula_written_out() -> None:
    """Source: Zhang et al. 2019, eq. 5; the gradient reaches both networks' outputs."""
    clean, adversarial = (z.requires_grad_() for z in torch.randn(2, 4, 5, generator=SEED(0)))
    p, q = clean.softmax(1), adversarial.softmax(1)
    divergence = (p * (p.log() - q.log())).sum(dim=1).mean()
    expected = -p[torch.arange(4), Y].log().mean() + 6 * divergence

    loss = trades_loss(clean, adversarial, F.one_hot(Y, 5).float(), beta=6.0)

    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss, [clean, adversarial], retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, [clean, adversarial]))


def test_mart_is_the_papers_formula_written_out() -> None:
    """Source: Wang et al. 2020, eq. 11."""
    clean, adversarial = (z.requires_grad_() for z in torch.randn(2, 4, 5, generator=SEED(0)))
    p, q, rows = clean.softmax(1), adversarial.softmax(1), torch.arange(4)
    wrong = torch.stack([q[i, torch.arange(5) != y].max() for i, y in enumerate(Y)])
    bce = -q[rows, Y].log() - (1 - wrong).log()
    divergence = (p * (p.log() - q.log())).sum(dim=1)
    expected = (bce + 5 * divergence * (1 - p[rows, Y])).mean()

    loss = mart_loss(clean, adversarial, Y, beta=5.0)

    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss, [clean, adversarial], retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, [clean, adversarial]))


@pytest.mark.parametrize("lead", [5.0, 16.0, 80.0])
def test_mart_is_exact_where_the_attack_wins_completely(lead: float) -> None:
    logits, y = torch.tensor([[lead, -lead, 0.0]]), torch.tensor([1])

    gradients: list[Tensor] = []
    for dtype in (torch.float32, torch.float64):
        z = logits.to(dtype).requires_grad_()
        loss = mart_loss(torch.zeros(1, 3, dtype=dtype), z, y, beta=6.0)
        gradients += torch.autograd.grad(loss, z)

    torch.testing.assert_close(gradients[0].double(), gradients[1], rtol=1e-5, atol=1e-6)
    assert gradients[0][0, 0] > 1


def convnext(**optim: object) -> tuple[nn.Module, dict[str, float], dict[str, float]]:
    """Returns a model, and for each parameter its weight decay and its share of lr."""
    config = tiny_trial(model={"depths": [2, 1]}, optim=optim)
    model = build_model(config.model, num_classes=12, resolution=16)
    optimizer = build_optimizer(model, config.optim)
    set_lr(optimizer, 1.0)
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    groups = {name: of[id(p)] for name, p in model.named_parameters()}
    return (
        model,
        {name: group["weight_decay"] for name, group in groups.items()},
        {name: group["lr"] for name, group in groups.items()},
    )


def test_only_weights_of_two_dimensions_decay() -> None:
    model, decay, _ = convnext(weight_decay=0.5)

    expected = {name: 0.5 if p.ndim >= 2 else 0.0 for name, p in model.named_parameters()}
    assert decay == expected
    assert decay["network.stages.0.blocks.0.gamma"] == 0
    assert 0.5 in decay.values()


def test_position_embeddings_and_class_tokens_do_not_decay() -> None:
    vit = build_model(
        timm_config("vit_tiny_patch16_224"),
        num_classes=12,
        resolution=32,
    )

    optimizer = build_optimizer(vit, tiny_trial().optim)

    (exempt,) = [g["params"] for g in optimizer.param_groups if not g["weight_decay"]]
    names = {name for name, p in vit.named_parameters() if any(p is q for q in exempt)}
    assert {"network.pos_embed", "network.cls_token"} <= names


def test_each_layer_below_learns_by_the_factor_slower() -> None:
    _, _, lr = convnext(layer_decay=0.5)

    assert lr["network.head.fc.weight"] == 1
    assert lr["network.stages.1.blocks.0.mlp.fc1.weight"] == 0.5
    assert lr["network.stages.0.blocks.1.mlp.fc1.weight"] == 0.25
    assert lr["network.stages.0.blocks.0.mlp.fc1.weight"] == 0.125
    assert lr["network.stem.0.weight"] < 0.125


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD), ("lamb", Lamb)]
)
def test_each_name_builds_its_optimizer(name: str, kind: type) -> None:
    model = build_model(tiny_trial().model, num_classes=12, resolution=16)

    optimizer = build_optimizer(model, tiny_trial(optim={"name": name}).optim)

    set_lr(optimizer, 0.25)
    assert isinstance(optimizer, kind)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    if name == "sgd":
        assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0.9, True)
    else:
        assert optimizer.defaults["betas"] == (0.9, 0.95)
    if name == "lamb":
        assert optimizer.defaults["max_grad_norm"] is None
