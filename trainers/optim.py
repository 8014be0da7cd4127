"""The optimiser of a trial. Its learning rate is set at every step by the loop."""

import torch
from torch import nn

from trainers.config import OptimConfig


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Builds torch's AdamW or SGD; only weights with two or more dimensions decay."""
    groups = parameter_groups(model, weight_decay=config.weight_decay)
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=config.betas)
    return torch.optim.SGD(groups, lr=0.0, momentum=config.betas[0])


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, object]]:
    """Splits the parameters into those that decay and those that do not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
