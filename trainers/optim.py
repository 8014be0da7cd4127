"""The optimiser of a trial. Its learning rate is set at every step by the loop."""

from typing import Any

import torch
from timm.optim import (
    create_optimizer_v2,  # pyright: ignore[reportPrivateImportUsage, reportUnknownVariableType]
)
from torch import nn

from trainers.config import OptimConfig


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Builds timm's optimiser and its groups: which weights decay, and how fast each layer learns.

    Weights with two or more dimensions decay, unless the architecture's `no_weight_decay` names
    them. Singh et al.'s code also decays LayerNorm weights and LayerScale, and position embeddings.

    Args:
        model: As `build_model` returns it.
    """
    momentum = config.betas[0]
    options: dict[str, Any] = {"momentum": momentum}
    if config.name != "sgd":
        options["betas"] = config.betas
    if config.name == "adamw":
        options["fused"] = True
    if config.name == "lamb":
        options["max_grad_norm"] = None  # clipping is the loop's
    # timm's "sgd" has Nesterov momentum, which must not be 0; its "momentum" has the plain one.
    opt = "momentum" if config.name == "sgd" and not momentum else config.name
    return create_optimizer_v2(
        model.get_submodule("network"),
        opt=opt,
        lr=0.0,
        weight_decay=config.weight_decay,
        layer_decay=config.layer_decay if config.layer_decay < 1 else None,
        **options,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of every group; `lr_scale` is the group's share under layer decay."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
