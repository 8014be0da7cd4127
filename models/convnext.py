"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545) of any depths and widths, with our stems.

timm's own class has exactly four stages and couples the stride of the first to that of the stem,
so its stages and head are put together here. Parameter names are timm's; only behind a squeeze-
and-excitation gate is a depthwise convolution `conv_dw.0` and the gate `conv_dw.1`.
"""

from collections import OrderedDict
from typing import Any

from timm.layers import (
    LayerNorm2d,  # pyright: ignore[reportPrivateImportUsage]
    NormMlpClassifierHead,  # pyright: ignore[reportPrivateImportUsage]
)
from timm.models.convnext import ConvNeXtBlock, ConvNeXtStage
from torch import nn

from models.config import ConvNeXtConfig
from models.parts import (
    ACTIVATIONS,
    NORMS_2D,
    TOKEN_NORMS,
    check_resolution,
    drop_path_rates,
    squeeze_excitation,
)
from models.stems import conv_stem, patch_stem

PUBLISHED_STRIDE = 4
"""Of the stem."""


class ConvNeXt(nn.Sequential):
    """Stem, stages and head, with the two methods that timm's tools ask of a model."""

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Tells timm's layer decay which parameters form a layer."""
        blocks = [(r"^stages\.(\d+)\.downsample", (0,)), (r"^stages\.(\d+)\.blocks\.(\d+)", None)]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else blocks}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switches the recomputation of activations in the backward pass."""
        for stage in self.get_submodule("stages").children():
            stage.grad_checkpointing = enable  # pyright: ignore[reportArgumentType]


def build_convnext(config: ConvNeXtConfig, *, num_classes: int, resolution: int) -> nn.Module:
    """Builds the network without normalisation; weights as in the paper (truncated normal, 0.02).

    Raises:
        ValueError: If the last stage would have no pixel left.
    """
    check_resolution(resolution, stages=len(config.depths), stem_stride=config.stem_stride)
    head = NormMlpClassifierHead(
        config.widths[-1],
        num_classes,
        drop_rate=config.head_dropout,
        norm_layer=LayerNorm2d,
    )
    network = ConvNeXt(
        OrderedDict[str, nn.Module](stem=_stem(config), stages=_stages(config), head=head)
    )
    return network.apply(_init_weights)


def _stem(config: ConvNeXtConfig) -> nn.Sequential:
    width, stride = config.widths[0], config.stem_stride
    if config.stem == "patch":
        return patch_stem(config, width, stride=stride)
    return conv_stem(config, width, stride=stride, published_stride=PUBLISHED_STRIDE)


def _stages(config: ConvNeXtConfig) -> nn.Sequential:
    rates = drop_path_rates(config.drop_path, depths=config.depths)
    stages = nn.Sequential(
        *(
            ConvNeXtStage(
                config.widths[max(i - 1, 0)],
                width,
                kernel_size=config.kernel_size,
                stride=1 if i == 0 else 2,
                depth=config.depths[i],
                drop_path_rates=rates[i],
                ls_init_value=config.layer_scale or None,  # pyright: ignore[reportArgumentType]
                # Batch norm takes channels first, so its blocks have 1x1 convolutions.
                conv_mlp=config.norm == "bn",
                act_layer=ACTIVATIONS[config.act],
                norm_layer=NORMS_2D[config.norm],
                norm_layer_cl=TOKEN_NORMS["ln"],
            )
            for i, width in enumerate(config.widths)
        )
    )
    if config.squeeze_excitation:
        _add_gates(stages, share=config.squeeze_excitation)
    return stages


def _add_gates(stages: nn.Sequential, *, share: float) -> None:
    build_gate = squeeze_excitation(share)
    for block in stages.modules():
        if isinstance(block, ConvNeXtBlock):
            convolution: Any = block.conv_dw
            block.conv_dw = nn.Sequential(convolution, build_gate(convolution.out_channels))


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
            nn.init.zeros_(module.bias)
