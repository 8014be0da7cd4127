"""Architectures of Debenedetti et al. 2023 (arXiv:2209.07399) that timm lacks, in timm's registry.

Importing this file registers them; timm's naming and calling conventions rule.
"""

from typing import Any

from timm.layers import GroupNorm1  # pyright: ignore[reportPrivateImportUsage]
from timm.models import (
    Cait,  # pyright: ignore[reportPrivateImportUsage]
    MetaFormer,  # pyright: ignore[reportPrivateImportUsage]
    build_model_with_cfg,  # pyright: ignore[reportPrivateImportUsage, reportUnknownVariableType]
    generate_default_cfgs,  # pyright: ignore[reportPrivateImportUsage]
    register_model,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import nn

# timm reads this name when a model is registered.
default_cfgs = generate_default_cfgs(
    {
        "cait_s12_224": {
            "input_size": (3, 224, 224),
            "fixed_input_size": True,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
        "poolformer_m12": {
            "input_size": (3, 224, 224),
            "first_conv": "stem.conv",
            "classifier": "head.fc",
        },
    }
)


@register_model
def cait_s12_224(pretrained: bool = False, **options: Any) -> nn.Module:
    """Builds a CaiT (Touvron et al. 2021, arXiv:2103.17239) with an XCiT's initial LayerScale, 1.

    Args:
        options: timm's, from `create_model`; they win over the architecture's.
    """
    own: dict[str, Any] = {
        "patch_size": 16,
        "embed_dim": 384,
        "depth": 12,
        "num_heads": 8,
        "init_values": 1.0,
    }
    return build_model_with_cfg(Cait, "cait_s12_224", pretrained, **{**own, **options})


@register_model
def poolformer_m12(pretrained: bool = False, **options: Any) -> nn.Module:
    """Builds a PoolFormer (Yu et al. 2022, arXiv:2111.11418): S12's depths and M36's widths.

    Args:
        options: timm's, from `create_model`; they win over the architecture's.
    """
    own: dict[str, Any] = {
        "depths": (2, 2, 6, 2),
        "dims": (96, 192, 384, 768),
        "downsample_norm": None,
        "mlp_act": nn.GELU,
        "mlp_bias": True,
        "norm_layers": GroupNorm1,
        "layer_scale_init_values": 1e-5,  # that of all PoolFormers with at most 24 blocks
        "res_scale_init_values": None,
        "use_mlp_head": False,
    }
    return build_model_with_cfg(MetaFormer, "poolformer_m12", pretrained, **{**own, **options})
