"""Any model of timm's registry, also with a convolutional stem in place of its patch embedding."""

import difflib
from typing import Any

import timm
from torch import nn

import models.registered  # noqa: F401  # pyright: ignore[reportUnusedImport]
from models.config import StemConfig, TimmConfig
from models.stems import conv_stem

LACKS = {
    "drop_path_rate": "has no stochastic depth; set drop_path to 0",
    "drop_rate": "has no dropout before its last layer; set head_dropout to 0",
}
"""Arguments that not all models of timm take."""


def build_timm(config: TimmConfig, *, num_classes: int, resolution: int) -> nn.Module:
    """Builds the network without normalisation; weights as timm's, of a `conv` stem torch's own.

    Raises:
        ValueError: If timm knows no model of this name, if the model lacks what the config sets, or
            if the images are no multiple of the stride of a `conv` stem.
    """
    if not timm.is_model(config.name):
        near = difflib.get_close_matches(config.name, timm.list_models(), n=3)
        raise ValueError(
            f"timm has no model {config.name!r}; nearest: {', '.join(near) or 'none'}; "
            "timm.list_models('*') has them all"
        )
    pretrained = timm.get_pretrained_cfg(config.name)
    # Rates of 0 are not left out: some models of timm have another default.
    options: dict[str, Any] = {
        "num_classes": num_classes,
        "drop_path_rate": config.drop_path,
        "drop_rate": config.head_dropout,
    }
    if pretrained is not None and pretrained.fixed_input_size:
        options["img_size"] = resolution
    network = _create(config.name, options)
    if config.stem == "conv":
        _replace_patch_embedding(network, config, resolution=resolution)
    return network


def _create(name: str, options: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(name, **options)
    except TypeError as error:
        lacking = [option for option in LACKS if option in options and f"'{option}'" in str(error)]
        if not lacking:
            raise
        if options[lacking[0]]:
            raise ValueError(f"{name} {LACKS[lacking[0]]}") from error
    return _create(name, {option: options[option] for option in options if option != lacking[0]})


def _replace_patch_embedding(network: nn.Module, config: TimmConfig, *, resolution: int) -> None:
    """Puts convolutions as in the ViTs of Singh et al. 2023, arXiv:2303.01870, in its place.

    Each halves the image, with LayerNorm and GELU, doubling the channels up to the model's; a 1x1
    convolution ends them. What the model has after its own convolution, such as a norm, stays.
    """
    name, own = _patch_embedding(network, config.name)
    stride = own.stride[0]
    if resolution % stride:
        raise ValueError(
            f"stem=conv of {config.name} needs a resolution that is a multiple of {stride}, got "
            f"{resolution}; take another resolution or stem=own"
        )
    shape = StemConfig(
        drop_path=config.drop_path,
        head_dropout=config.head_dropout,
        blur_pool=config.blur_pool,
        normalize=config.normalize,
        stem_convs=stride.bit_length() - 1,
        stem_widths="doubling",
        stem_projection=True,
        stem_norm="ln",
        stem_act="gelu",
    )
    stem = conv_stem(shape, own.out_channels, stride=stride, published_stride=stride)
    network.set_submodule(name, stem)


def _patch_embedding(network: nn.Module, model: str) -> tuple[str, nn.Conv2d]:
    """Returns the convolution that makes patches of the image, which may overlap, and its name."""
    on_images = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.in_channels == 3
    ]
    if on_images and _makes_patches(on_images[0][1]):
        return on_images[0]
    first = "it has no convolution on images"
    if on_images:
        name, found = on_images[0]
        first = f"its first convolution is {name}: {found}"
    raise ValueError(
        f"stem=conv replaces a first convolution with an output for every n x n pixels, n = 4, 8, "
        f"16, ..., which {model} lacks ({first}); take stem=own, or a ViT, Swin or PoolFormer"
    )


def _makes_patches(convolution: nn.Conv2d) -> bool:
    kernel, stride, padding = (
        convolution.kernel_size[0],
        convolution.stride[0],
        convolution.padding[0],
    )
    return (
        stride >= 4
        and not stride & (stride - 1)
        and not isinstance(padding, str)
        # As many outputs as strides fit in the image.
        and 0 < kernel - 2 * padding <= stride
    )
