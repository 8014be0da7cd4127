"""Which weights of timm's hub belong to a config."""

from typing import Any

import timm

from models.config import AnyModelConfig, ResNetConfig, TimmConfig, XCiTConfig

_CONVNEXT = {"kernel_size": 7, "act": "gelu", "norm": "ln", "squeeze_excitation": 0}
_TRANSFORMER = {"mlp_ratio": 4, "act": "gelu", "norm": "ln"}
_DEIT = {**_TRANSFORMER, "class_token": "positioned", "depth": 12}
_DEIT3 = {**_TRANSFORMER, "class_token": "unpositioned"}
_XCIT = {**_TRANSFORMER, "class_depth": 2}
_RESNET = {"widths": (64, 128, 256, 512), "act": "relu", "norm": "bn", "squeeze_excitation": 0}

# Weights of ImageNet-1k alone: others would make a comparison of recipes unfair.
TABLE: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "convnext": [
        (f"convnext_{size}.fb_in1k", {**_CONVNEXT, "depths": depths, "widths": widths})
        for size, depths, widths in (
            ("tiny", (3, 3, 9, 3), (96, 192, 384, 768)),
            ("small", (3, 3, 27, 3), (96, 192, 384, 768)),
            ("base", (3, 3, 27, 3), (128, 256, 512, 1024)),
            ("large", (3, 3, 27, 3), (192, 384, 768, 1536)),
        )
    ],
    "vit": [
        *(
            (f"deit_{size}_patch16_224.fb_in1k", {**_DEIT, "width": width, "heads": heads})
            for size, width, heads in (("tiny", 192, 3), ("small", 384, 6), ("base", 768, 12))
        ),
        *(
            (
                f"deit3_{size}_patch16_224.fb_in1k",
                {**_DEIT3, "depth": depth, "width": width, "heads": heads},
            )
            for size, depth, width, heads in (
                ("small", 12, 384, 6),
                ("medium", 12, 512, 8),
                ("base", 12, 768, 12),
                ("large", 24, 1024, 16),
            )
        ),
    ],
    "xcit": [
        (
            f"xcit_{size}_{depth}_p{patch}_224.fb_in1k",
            {
                **_XCIT,
                "depth": depth,
                "width": width,
                "heads": heads,
                "stem_convs": convs,
                "tokens_norm": size != "nano",
            },
        )
        for size, depth, width, heads in (
            ("nano", 12, 128, 4),
            ("tiny", 12, 192, 4),
            ("tiny", 24, 192, 4),
            ("small", 12, 384, 8),
            ("small", 24, 384, 8),
            ("medium", 24, 512, 8),
            ("large", 24, 768, 16),
        )
        for patch, convs in ((16, 4), (8, 3))
    ],
    "resnet": [
        (
            f"{name}.a1_in1k",
            {**_RESNET, "block": block, "depths": depths, "bottleneck_ratio": 1},
        )
        for name, block, depths in (
            ("resnet18", "basic", (2, 2, 2, 2)),
            ("resnet34", "basic", (3, 4, 6, 3)),
            ("resnet50", "bottleneck", (3, 4, 6, 3)),
            ("resnet101", "bottleneck", (3, 4, 23, 3)),
            ("resnet152", "bottleneck", (3, 8, 36, 3)),
        )
    ],
}
"""Fields that a config must have for the weights to mean the same; stem and head may differ. XCiT's
patch size is none of them: smaller ones begin with weights for 16 (see `conv_strides`)."""

_STEM: dict[str, dict[str, Any]] = {
    "convnext": {"stem": "patch", "stem_stride": 4, "stem_norm": "ln"},
    "resnet": {"stem": "pool", "stem_stride": 4},
    "vit": {"stem": "patch", "patch_size": 16, "stem_norm": "none"},
    "xcit": {
        "stem": "conv",
        "stem_widths": "doubling",
        "stem_projection": False,
        "stem_norm": "bn",
        "stem_act": "gelu",
    },
}
"""Stems of the models in the table; XCiT's patch size follows from its `stem_convs`."""


def timm_name(config: AnyModelConfig) -> str:
    """Returns the name, with its tag, under which timm has weights for `config`.

    Raises:
        ValueError: If it has none.
    """
    if isinstance(config, TimmConfig):
        known = timm.get_pretrained_cfg(config.name)
        if known is None or not known.has_weights:
            raise ValueError(
                f"pretrained needs weights on timm's hub, which has none for {config.name}; set "
                "init to a file, or pretrained to false"
            )
        return config.name
    if name := _name_in_table(config):
        return name
    names = ", ".join(name for name, _ in TABLE[config.family])
    raise ValueError(
        f"pretrained needs a {config.family} of the size and parts of one of timm's: {names}; set "
        "init to a file, or pretrained to false"
    )


def difference_to_timm(config: AnyModelConfig) -> str:
    """Returns why no model of timm has the weights of `config`, or nothing if one has.

    Classes and resolution do not matter. Of our families, the models of the table count.
    """
    if isinstance(config, TimmConfig):
        return "" if config.stem == "own" else f"stem={config.stem}"
    name = _name_in_table(config)
    if name is None:
        return "a size or parts of its own"
    expected = _STEM[config.family]
    if isinstance(config, XCiTConfig):
        expected = {**expected, "patch_size": 2**config.stem_convs}
    for key, value in expected.items():
        if getattr(config, key) != value:
            return f"{key}={getattr(config, key)}"
    # timm's ConvNeXt, DeiT III and XCiT have it, DeiT has not.
    if not isinstance(config, ResNetConfig):
        has_scale = not name.startswith("deit_")
        if has_scale != (config.layer_scale > 0):
            return f"layer_scale={config.layer_scale:g}"
    return ""


def _name_in_table(config: AnyModelConfig) -> str | None:
    return next(
        (
            name
            for name, fields in TABLE[config.family]
            if all(getattr(config, key) == value for key, value in fields.items())
        ),
        None,
    )
