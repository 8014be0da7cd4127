"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545) of any depths and widths, with our stems.

timm's own class has exactly four stages and couples the stride of the first to that of the stem,
so its stages and head are put together here. Parameter names are timm's.
"""

import itertools
from collections import OrderedDict
from typing import Any

from timm.layers import (
    LayerNorm,  # pyright: ignore[reportPrivateImportUsage]
    LayerNorm2d,  # pyright: ignore[reportPrivateImportUsage]
    NormMlpClassifierHead,  # pyright: ignore[reportPrivateImportUsage]
)
from timm.models.convnext import ConvNeXtStage
from torch import nn

from models.config import ConvNeXtConfig
from models.stems import conv_stem, patch_stem


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
    total_stride = config.stem_stride * 2 ** (len(config.depths) - 1)
    if resolution < total_stride:
        raise ValueError(
            f"{len(config.depths)} stages after stem_stride {config.stem_stride} need resolution "
            f">= {total_stride}, got {resolution}; take fewer stages or a smaller stem_stride"
        )
    stem = conv_stem if config.stem == "conv" else patch_stem
    network = ConvNeXt(
        OrderedDict[str, nn.Module](
            stem=stem(config.widths[0], stride=config.stem_stride),
            stages=_stages(config),
            head=NormMlpClassifierHead(config.widths[-1], num_classes, norm_layer=LayerNorm2d),
        )
    )
    return network.apply(_init_weights)


def _stages(config: ConvNeXtConfig) -> nn.Sequential:
    blocks = sum(config.depths)
    rates = iter([config.drop_path * i / max(blocks - 1, 1) for i in range(blocks)])
    return nn.Sequential(
        *(
            ConvNeXtStage(
                config.widths[max(i - 1, 0)],
                width,
                stride=1 if i == 0 else 2,
                depth=depth,
                drop_path_rates=list(itertools.islice(rates, depth)),
                ls_init_value=config.layer_scale or None,  # pyright: ignore[reportArgumentType]
                norm_layer=LayerNorm2d,
                norm_layer_cl=LayerNorm,
            )
            for i, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True))
        )
    )


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
            nn.init.zeros_(module.bias)
