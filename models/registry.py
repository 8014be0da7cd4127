"""From a model config to a module that maps images on [0, 1] to logits."""

import difflib
from collections import OrderedDict
from typing import Any

import timm
from torch import nn

from models.config import ModelConfig, TimmConfig
from models.convnext import build_convnext
from models.normalize import normalization


def build_model(config: ModelConfig, *, num_classes: int, resolution: int) -> nn.Module:
    """Builds a model with weights from torch's global generator; normalisation is inside.

    Args:
        resolution: Side of the square images; fixes position embeddings where a model has them.

    Raises:
        ValueError: If timm knows no model of this name, if the model has no stochastic depth to
            set, or if the images are too small for a ConvNeXt. A model of timm that cannot take the
            resolution fails in timm's own words, here or in its first forward pass; `cost` says so
            beforehand.
    """
    if isinstance(config, TimmConfig):
        network = _build_timm(config, num_classes=num_classes, resolution=resolution)
    else:
        network = build_convnext(config, num_classes=num_classes, resolution=resolution)
    return nn.Sequential(
        OrderedDict[str, nn.Module](normalize=normalization(config.normalize), network=network)
    )


def _build_timm(config: TimmConfig, *, num_classes: int, resolution: int) -> nn.Module:
    if not timm.is_model(config.name):
        near = difflib.get_close_matches(config.name, timm.list_models(), n=3)
        raise ValueError(
            f"timm has no model {config.name!r}; nearest: {', '.join(near) or 'none'}; "
            "timm.list_models('*') has them all"
        )
    pretrained = timm.get_pretrained_cfg(config.name)
    # 0 is not left out: some models of timm have another default.
    options: dict[str, Any] = {"num_classes": num_classes, "drop_path_rate": config.drop_path}
    if pretrained is not None and pretrained.fixed_input_size:
        options["img_size"] = resolution
    try:
        return timm.create_model(config.name, **options)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
    if config.drop_path:
        raise ValueError(f"{config.name} has no stochastic depth; set drop_path to 0")
    del options["drop_path_rate"]
    return timm.create_model(config.name, **options)
