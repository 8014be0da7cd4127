"""Vision transformers (Dosovitskiy et al. 2021, arXiv:2010.11929; DeiT, arXiv:2012.12877).

timm's own class, with our stems in place of its patch embedding. Parameter names are timm's; those
of a stem with more than one layer follow `patch_embed.proj`.
"""

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from models.config import ViTConfig
from models.parts import ACTIVATIONS, TOKEN_NORMS
from models.stems import conv_stem, patch_stem

PUBLISHED_STRIDE = 16


def build_vit(config: ViTConfig, *, num_classes: int, resolution: int) -> nn.Module:
    """Builds the network without normalisation; weights as timm's (truncated normal, 0.02).

    Raises:
        ValueError: If the images are no multiple of the patch.
    """
    if resolution % config.patch_size:
        raise ValueError(
            f"a ViT needs a resolution that is a multiple of patch_size ({config.patch_size}), got "
            f"{resolution}; take another patch_size or resolution"
        )
    network = VisionTransformer(
        img_size=resolution,
        patch_size=config.patch_size,
        num_classes=num_classes,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        init_values=config.layer_scale or None,
        class_token=config.class_token != "none",
        no_embed_class=config.class_token == "unpositioned",
        global_pool="avg" if config.class_token == "none" else "token",
        drop_rate=config.head_dropout,
        drop_path_rate=config.drop_path,
        norm_layer=TOKEN_NORMS[config.norm],
        act_layer=ACTIVATIONS[config.act],
    )
    network.patch_embed.proj = _stem(config, network.patch_embed.proj)
    return network


def _stem(config: ViTConfig, own: nn.Module) -> nn.Module:
    if config.stem == "conv":
        return conv_stem(
            config, config.width, stride=config.patch_size, published_stride=PUBLISHED_STRIDE
        )
    if config.stem_norm == "none":
        return own
    return patch_stem(config, config.width, stride=config.patch_size)
