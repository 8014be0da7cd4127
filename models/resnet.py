"""ResNet (He et al. 2016, arXiv:1512.03385) of any depths and widths, with our stems.

timm's own class has exactly four stages, so its blocks are put together here. Parameter names are
timm's: `conv1`, `bn1`, `layer1.0.conv1`, ..., `fc`. Another stem than the paper's is `conv1` as a
whole. As in timm the weight of the last norm of each block starts at 0, and convolutions as He et
al. 2015 (arXiv:1502.01852, fan out).
"""

from collections import OrderedDict
from typing import Any

from jaxtyping import Float
from timm.layers import (
    DropPath,  # pyright: ignore[reportPrivateImportUsage]
    SelectAdaptivePool2d,  # pyright: ignore[reportPrivateImportUsage]
    get_act_layer,  # pyright: ignore[reportPrivateImportUsage]
)
from timm.models import checkpoint_seq
from timm.models.resnet import BasicBlock, Bottleneck, downsample_conv
from torch import Tensor, nn

from models.config import ResNetConfig
from models.parts import (
    ACTIVATIONS,
    NORMS_2D,
    check_resolution,
    drop_path_rates,
    squeeze_excitation,
)
from models.stems import conv_stem, patch_stem

PUBLISHED_STRIDE = 4
"""Of the stem."""


class Stage(nn.ModuleList):
    """Blocks, one after the other; `grad_checkpointing` recomputes them in the backward pass."""

    grad_checkpointing = False

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d h2 w2"]:
        """Applies the blocks; the first may halve the image."""
        if self.grad_checkpointing:
            return checkpoint_seq(list(self), x)
        for block in self:
            x = block(x)
        return x


class ResNet(nn.Sequential):
    """Stem, stages and head, with the two methods that timm's tools ask of a model."""

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Tells timm's layer decay which parameters form a layer."""
        return {
            "stem": r"^(?:conv1|bn1)",
            "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)",
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switches the recomputation of activations in the backward pass."""
        for stage in self.children():
            if isinstance(stage, Stage):
                stage.grad_checkpointing = enable


def build_resnet(config: ResNetConfig, *, num_classes: int, resolution: int) -> nn.Module:
    """Builds the network without normalisation.

    Raises:
        ValueError: If the last stage would have no pixel left.
    """
    check_resolution(resolution, stages=len(config.depths), stem_stride=config.stem_stride)
    network = ResNet(
        OrderedDict[str, nn.Module](
            **_stem(config),
            **{f"layer{i + 1}": _stage(config, i) for i in range(len(config.depths))},
            global_pool=SelectAdaptivePool2d(pool_type="avg", flatten=True),
            drop=nn.Dropout(config.head_dropout),
            fc=nn.Linear(config.widths[-1] * _block(config).expansion, num_classes),
        )
    )
    return network.apply(_init_weights)


def _stem(config: ResNetConfig) -> dict[str, nn.Module]:
    width, stride = config.widths[0], config.stem_stride
    if config.stem == "patch":
        return {"conv1": patch_stem(config, width, stride=stride)}
    if config.stem == "conv":
        stem = conv_stem(config, width, stride=stride, published_stride=PUBLISHED_STRIDE)
        return {"conv1": stem}
    if stride == PUBLISHED_STRIDE:
        conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        pooling = {"maxpool": nn.MaxPool2d(kernel_size=3, stride=2, padding=1)}
    else:
        conv1 = nn.Conv2d(3, width, kernel_size=3, stride=stride, padding=1, bias=False)
        pooling = {}
    norm, act = NORMS_2D[config.norm](width), ACTIVATIONS[config.act]()
    return {"conv1": conv1, "bn1": norm, "act1": act, **pooling}


def _block(config: ResNetConfig) -> type[BasicBlock] | type[Bottleneck]:
    return BasicBlock if config.block == "basic" else Bottleneck


def _stage(config: ResNetConfig, i: int) -> Stage:
    block, width = _block(config), config.widths[i]
    before = config.widths[0] if i == 0 else config.widths[i - 1] * block.expansion
    after, stride = width * block.expansion, 1 if i == 0 else 2
    options = _block_options(config)
    shortcut = None
    if stride != 1 or before != after:
        shortcut = downsample_conv(before, after, 1, stride, norm_layer=options["norm_layer"])
    rates = drop_path_rates(config.drop_path, depths=config.depths)[i]
    paths = [DropPath(rate) if rate else None for rate in rates]
    return Stage(
        [
            block(before, width, stride, shortcut, drop_path=paths[0], **options),
            *(block(after, width, drop_path=path, **options) for path in paths[1:]),
        ]
    )


def _block_options(config: ResNetConfig) -> dict[str, Any]:
    share = config.squeeze_excitation
    return {
        "base_width": 64 * config.bottleneck_ratio,  # timm divides by 64
        "act_layer": get_act_layer(config.act),  # timm's own GELU, which takes `inplace`
        "norm_layer": NORMS_2D[config.norm],
        "attn_layer": squeeze_excitation(share) if share else None,
    }


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, BasicBlock | Bottleneck):
        module.zero_init_last()
