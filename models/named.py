"""Published architectures by name. Light: no torch.

What belongs to a recipe is off: stochastic depth, dropout, blurring and normalisation.
"""

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from models.config import (
    Activation,
    AnyModelConfig,
    ConvNeXtConfig,
    ResNetConfig,
    TimmConfig,
    ViTConfig,
    XCiTConfig,
)

Stem = Literal["own", "patch", "conv"]

OFF: dict[str, Any] = {
    "drop_path": 0.0,
    "head_dropout": 0.0,
    "blur_pool": False,
    "normalize": "none",
}
HALVE_TWICE: dict[str, Any] = {
    "stem_convs": 2,
    "stem_widths": "doubling",
    "stem_projection": False,
}
"""The `conv` stem of ConvNeXt-T and S in Singh et al. 2023, arXiv:2303.01870."""
TIMM = "timm/"
"""Before the name of any model of timm."""


def named_model(name: str, *, stem: Stem) -> AnyModelConfig:
    """Returns the config of a published architecture.

    Args:
        name: One of `NAMES`, or `timm/` and the name of a model of timm.
        stem: `own`: the one that the architecture was published with. `patch`: one convolution on
            patches, which for the models of timm is their own. `conv`: 3x3 convolutions, those of
            Singh et al. 2023 (arXiv:2303.01870) where they have the architecture.

    Raises:
        ValueError: If no architecture has this name.
    """
    if name.startswith(TIMM):
        return _timm(stem, name=name.removeprefix(TIMM))
    if name not in _BUILDERS:
        near = difflib.get_close_matches(name, NAMES, n=3)
        raise ValueError(
            f"no model is named {name!r}; nearest: {', '.join(near) or 'none'}; "
            f"models of timm are named {TIMM}NAME; the others are {', '.join(NAMES)}"
        )
    return _BUILDERS[name](stem)


def _convnext(
    stem: Stem,
    *,
    depths: tuple[int, ...],
    width: int,
    convs: int,
    stem_widths: Literal["doubling", "linear"],
    isotropic: bool,
) -> ConvNeXtConfig:
    return ConvNeXtConfig(
        family="convnext",
        **OFF,
        stem="conv" if stem == "conv" else "patch",
        stem_stride=16 if isotropic else 4,
        stem_convs=convs,
        stem_widths=stem_widths,
        stem_projection=isotropic,
        stem_norm="none" if isotropic and stem != "conv" else "ln",
        stem_act="gelu",
        depths=depths,
        widths=tuple(width * 2**stage for stage in range(len(depths))),
        kernel_size=7,
        act="gelu",
        norm="ln",
        squeeze_excitation=0.0,
        layer_scale=0.0 if isotropic else 1e-6,
    )


def _resnet(stem: Stem, *, act: Activation, bottleneck_ratio: float) -> ResNetConfig:
    return ResNetConfig(
        family="resnet",
        **OFF,
        **HALVE_TWICE,
        stem="pool" if stem == "own" else stem,
        stem_stride=4,
        stem_norm="bn",
        stem_act=act,
        block="bottleneck",
        depths=(3, 4, 6, 3),
        widths=(64, 128, 256, 512),
        bottleneck_ratio=bottleneck_ratio,
        act=act,
        norm="bn",
        squeeze_excitation=0.0,
    )


def _vit(
    stem: Stem,
    *,
    width: int,
    heads: int,
    class_token: Literal["positioned", "unpositioned"],
    layer_scale: float,
) -> ViTConfig:
    return ViTConfig(
        family="vit",
        **OFF,
        stem="conv" if stem == "conv" else "patch",
        stem_convs=4,
        stem_widths=(48, 96, 192, 384),
        stem_projection=True,
        stem_norm="ln" if stem == "conv" else "none",
        stem_act="gelu",
        patch_size=16,
        depth=12,
        width=width,
        heads=heads,
        mlp_ratio=4.0,
        act="gelu",
        norm="ln",
        class_token=class_token,
        layer_scale=layer_scale,
    )


def _xcit(stem: Stem, *, width: int, heads: int, tokens_norm: bool) -> XCiTConfig:
    return XCiTConfig(
        family="xcit",
        **OFF,
        stem="patch" if stem == "patch" else "conv",
        stem_convs=4,
        stem_widths="doubling",
        stem_projection=False,
        stem_norm="none" if stem == "patch" else "bn",
        stem_act="gelu",
        patch_size=16,
        depth=12,
        class_depth=2,
        width=width,
        heads=heads,
        mlp_ratio=4.0,
        act="gelu",
        norm="ln",
        tokens_norm=tokens_norm,
        layer_scale=1.0,
    )


def _timm(stem: Stem, *, name: str) -> TimmConfig:
    return TimmConfig(family="timm", **OFF, name=name, stem="conv" if stem == "conv" else "own")


_TWO: dict[str, Any] = {"convs": 2, "stem_widths": "doubling", "isotropic": False}
_THREE: dict[str, Any] = {"convs": 3, "stem_widths": "linear", "isotropic": False}
_ISO: dict[str, Any] = {"convs": 4, "stem_widths": "doubling", "isotropic": True}
_DEIT: dict[str, Any] = {"class_token": "positioned", "layer_scale": 0.0}
_DEIT_3: dict[str, Any] = {"class_token": "unpositioned", "layer_scale": 1e-6}
_BUILDERS: dict[str, Callable[[Stem], AnyModelConfig]] = {
    # Singh et al. 2023, arXiv:2303.01870.
    "convnext_tiny": partial(_convnext, depths=(3, 3, 9, 3), width=96, **_TWO),
    "convnext_small": partial(_convnext, depths=(3, 3, 27, 3), width=96, **_TWO),
    "convnext_base": partial(_convnext, depths=(3, 3, 27, 3), width=128, **_THREE),
    "convnext_large": partial(_convnext, depths=(3, 3, 27, 3), width=192, **_THREE),
    "convnext_iso": partial(_convnext, depths=(18,), width=384, **_ISO),
    "vit_s": partial(_vit, width=384, heads=6, **_DEIT),
    "deit_s": partial(_vit, width=384, heads=6, **_DEIT),
    "vit_m": partial(_vit, width=512, heads=8, **_DEIT_3),
    "vit_b": partial(_vit, width=768, heads=12, **_DEIT),
    # Debenedetti et al. 2023, arXiv:2209.07399.
    "xcit_n12": partial(_xcit, width=128, heads=4, tokens_norm=False),
    "xcit_s12": partial(_xcit, width=384, heads=8, tokens_norm=True),
    "xcit_m12": partial(_xcit, width=512, heads=8, tokens_norm=True),
    "xcit_l12": partial(_xcit, width=768, heads=16, tokens_norm=True),
    "cait_s12": partial(_timm, name="cait_s12_224"),
    "poolformer_m12": partial(_timm, name="poolformer_m12"),
    "resnet50": partial(_resnet, act="relu", bottleneck_ratio=1.0),
    "resnet50_gelu": partial(_resnet, act="gelu", bottleneck_ratio=1.0),
    "resnet50_silu": partial(_resnet, act="silu", bottleneck_ratio=1.0),
    "wide_resnet50_2": partial(_resnet, act="relu", bottleneck_ratio=2.0),
    # Liu et al. 2021, arXiv:2103.14030.
    "swin_t": partial(_timm, name="swin_tiny_patch4_window7_224"),
    "swin_s": partial(_timm, name="swin_small_patch4_window7_224"),
    "swin_b": partial(_timm, name="swin_base_patch4_window7_224"),
}
NAMES: tuple[str, ...] = tuple(_BUILDERS)
