"""Weights that training leaves alone.

The stem is what `models.anatomy` calls so: class token and position embedding are no part of it,
but lie before the first stage and are frozen with it.
"""

import re

from torch import nn

from models.anatomy import network_of, stages, stem_tensors
from models.config import FREEZE


def freeze(model: nn.Module, which: str) -> None:
    """Excludes weights of a model of `build_model` from training; `train_mode` does the rest.

    Args:
        model: Its parameters lose `requires_grad` in place; none gets it back.
        which: `none`, `stem`, `all_but_stem`, or `first_N`: all in front of the stages and the
            first N stages, which are blocks in ViT and XCiT.

    Raises:
        ValueError: If `which` is none of these, if there are fewer stages, if the parts of the
            network cannot be told, or if nothing would be left to train.
    """
    network = network_of(model)
    frozen = _frozen(network, which)
    for name, parameter in network.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(f"freeze={which} leaves nothing to train; freeze less")


def train_mode(model: nn.Module) -> nn.Module:
    """Switches `model` to training but for its frozen parts; returns it.

    What is wholly frozen stays in eval mode, so that batch norms keep their statistics and nothing
    is dropped.
    """
    model.train()
    if all(p.requires_grad for p in model.parameters()):
        return model
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()
    return model


def _frozen(network: nn.Module, which: str) -> set[str]:
    if not re.fullmatch(FREEZE, which):
        raise ValueError(
            f"freeze must be none, stem, all_but_stem or first_N with N from 1, got {which!r}"
        )
    names = [name for name, _ in network.named_parameters()]
    if which == "none":
        return set()
    if which in ("stem", "all_but_stem"):
        stem = stem_tensors(network, names)
        return stem if which == "stem" else set(names) - stem
    before, *following = stages(network)
    number = int(which.removeprefix("first_"))
    if number > len(following):
        raise ValueError(
            f"freeze={which} needs as many stages, this network has {len(following)}; freeze at "
            f"most first_{len(following)}"
        )
    return {name for group in (before, *following[:number]) for name in group}
