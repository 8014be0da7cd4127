"""The one place that prepares a model for an attack and puts it back afterwards."""

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn


@contextmanager
def attack_mode(model: nn.Module) -> Generator[None]:
    """Holds `model` in eval mode with frozen parameters, then restores each flag.

    Eval mode keeps batch statistics and drop-path out of the attack. Frozen parameters save the
    activations that only weight gradients need, and keep a compiled model from computing them.
    """
    in_training = [module for module in model.modules() if module.training]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module in in_training:
            module.training = True
        for parameter in trainable:
            parameter.requires_grad_(True)
