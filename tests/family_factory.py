"""A tiny config of each family; tests change what they are about."""

from typing import Any

from pydantic import TypeAdapter

from models.config import AnyModelConfig, ModelConfig

ADAPTER: TypeAdapter[AnyModelConfig] = TypeAdapter(ModelConfig)
_COMMON = {"drop_path": 0.0, "head_dropout": 0.0, "blur_pool": False, "normalize": "none"}
_STEM = {
    "stem": "conv",
    "stem_convs": 2,
    "stem_widths": "doubling",
    "stem_projection": False,
    "stem_norm": "ln",
    "stem_act": "gelu",
}
TINY: dict[str, dict[str, Any]] = {
    "convnext": {
        **_COMMON,
        **_STEM,
        "family": "convnext",
        "stem_stride": 2,
        "depths": [1, 2],
        "widths": [8, 16],
        "kernel_size": 7,
        "act": "gelu",
        "norm": "ln",
        "squeeze_excitation": 0.0,
        "layer_scale": 0.0,
    },
    "resnet": {
        **_COMMON,
        **_STEM,
        "family": "resnet",
        "stem": "pool",
        "stem_stride": 1,
        "block": "bottleneck",
        "depths": [1, 2],
        "widths": [8, 16],
        "bottleneck_ratio": 1.0,
        "act": "relu",
        "norm": "bn",
        "squeeze_excitation": 0.0,
    },
    "vit": {
        **_COMMON,
        **_STEM,
        "family": "vit",
        "stem": "patch",
        "stem_norm": "none",
        "patch_size": 4,
        "depth": 2,
        "width": 16,
        "heads": 2,
        "mlp_ratio": 4.0,
        "act": "gelu",
        "norm": "ln",
        "class_token": "positioned",
        "layer_scale": 0.0,
    },
    "xcit": {
        **_COMMON,
        **_STEM,
        "family": "xcit",
        "stem_norm": "bn",
        "patch_size": 4,
        "depth": 2,
        "class_depth": 1,
        "width": 16,
        "heads": 2,
        "mlp_ratio": 4.0,
        "act": "gelu",
        "norm": "ln",
        "tokens_norm": True,
        "layer_scale": 1.0,
    },
    "timm": {**_COMMON, "family": "timm", "name": "resnet18", "stem": "own"},
}


def tiny(family: str, **changes: Any) -> Any:
    """Returns the tiny config of `family` with `changes` to its fields, validated.

    Typed Any, because each test knows which family it asked for.
    """
    return ADAPTER.validate_python({**TINY[family], **changes})
