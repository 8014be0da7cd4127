"""BlurPool (Zhang 2019, arXiv:1904.11486): a low-pass filter before each subsampling."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

LEAST_INPUTS = 16
"""Convolutions of fewer inputs, such as those of the pixels, see the image unblurred (Singh et al.
2023, arXiv:2303.01870, code)."""


def blur(x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
    """Filters each channel with the outer product of (1, 2, 1) / 4; zeros surround the image.

    The filter is that of two pairs in each direction, which needs no weights.
    """
    pairs = F.avg_pool2d(x, kernel_size=2, stride=1, padding=1)  # (batch, c, h + 1, w + 1)
    return F.avg_pool2d(pairs, kernel_size=2, stride=1)


def blur_strided(network: nn.Module) -> None:
    """Blurs what strided convolutions read, in place; names and weights stay as they are.

    All with at least 16 inputs, so the 1x1 shortcuts of ResNets and depthwise ones too. Max pooling
    stays as it is: Zhang splits it into a dense maximum and a blur, Singh et al. do not.

    Raises:
        ValueError: If there is no such convolution, so that nothing would be blurred.
    """
    strided = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1
    ]
    wide = [module for module in strided if module.in_channels >= LEAST_INPUTS]
    if not wide:
        found = ", ".join(str(module.in_channels) for module in strided) or "none"
        raise ValueError(
            f"blur_pool=true blurs what strided convolutions with at least {LEAST_INPUTS} inputs "
            f"read, which this model lacks (inputs of its strided convolutions: {found}); set "
            "blur_pool to false, or take a conv stem or stages with wider layers"
        )
    for module in wide:
        module.register_forward_pre_hook(_blur_input)


def _blur_input(
    module: nn.Module, inputs: tuple[Float[Tensor, "batch c h w"]]
) -> Float[Tensor, "batch c h w"]:
    return blur(inputs[0])
