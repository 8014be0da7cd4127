"""From a model config to a module that maps images on [0, 1] to logits."""

from collections import OrderedDict

from torch import nn

from models.blur import blur_strided
from models.config import ConvNeXtConfig, ModelConfig, ResNetConfig, ViTConfig, XCiTConfig
from models.convnext import build_convnext
from models.normalize import normalization
from models.resnet import build_resnet
from models.timm_model import build_timm
from models.vit import build_vit
from models.xcit import build_xcit


def build_model(config: ModelConfig, *, num_classes: int, resolution: int) -> nn.Module:
    """Builds a model with weights from torch's global generator; normalisation is inside.

    Args:
        resolution: Side of the square images; fixes position embeddings where a model has them.

    Returns:
        The layers `normalize` and `network`; parameters of `network` have timm's names.

    Raises:
        ValueError: If the images are too small for the network or no multiple of its patches, if
            timm knows no model of this name, or if the model lacks what the config sets. A model of
            timm that cannot take the resolution fails in timm's own words, here or in its first
            forward pass; `cost` says so beforehand.
    """
    network = _build_network(config, num_classes=num_classes, resolution=resolution)
    if config.blur_pool:
        blur_strided(network)
    return nn.Sequential(
        OrderedDict[str, nn.Module](normalize=normalization(config.normalize), network=network)
    )


def _build_network(config: ModelConfig, *, num_classes: int, resolution: int) -> nn.Module:
    match config:
        case ConvNeXtConfig():
            return build_convnext(config, num_classes=num_classes, resolution=resolution)
        case ResNetConfig():
            return build_resnet(config, num_classes=num_classes, resolution=resolution)
        case ViTConfig():
            return build_vit(config, num_classes=num_classes, resolution=resolution)
        case XCiTConfig():
            return build_xcit(config, num_classes=num_classes, resolution=resolution)
        case _:
            return build_timm(config, num_classes=num_classes, resolution=resolution)
