"""Learned position embeddings on another grid of patches.

An embedding is (1, prefix + grid * grid, width): the slots of class or distillation tokens come
first, then the patches row by row. Published code (Singh et al. 2023) takes a class slot for
granted and shifts every patch of a model that has none.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

MOST_PREFIX_TOKENS = 2
"""A class token and a distillation token."""


def prefix_and_grid(tokens: int) -> tuple[int, int]:
    """Returns how many prefix slots an embedding of this length has, and the side of its grid.

    The answer is the only one: no two squares differ by 2, and by 1 only 0 and 1.

    Raises:
        ValueError: If no square grid leaves at most two prefix slots.
    """
    for prefix in range(MOST_PREFIX_TOKENS + 1):
        grid = math.isqrt(max(tokens - prefix, 0))
        if grid and grid * grid + prefix == tokens:
            return prefix, grid
    raise ValueError(
        f"a position embedding must have a square grid of patches and at most "
        f"{MOST_PREFIX_TOKENS} slots before it, got {tokens} tokens; train it at a square "
        "resolution, or leave it random"
    )


def resize_position(
    embedding: Float[Tensor, "1 tokens width"], *, grid: int, prefix: int
) -> Float[Tensor, "1 new_tokens width"]:
    """Interpolates to `grid` x `grid` patches after `prefix` slots; bicubic, as timm does it.

    Args:
        grid: Side of the wanted grid, at least 1.
        prefix: Slots that are wanted. Slots that the embedding has are kept, surplus ones dropped
            from the end, and missing ones are zero, which adds nothing to their tokens.

    Returns:
        The embedding itself, bit for bit, where grid and slots agree.

    Raises:
        ValueError: If `grid` is no size, or as `prefix_and_grid`.
    """
    if grid < 1:
        raise ValueError(
            f"grid must be at least 1, got {grid}; take a resolution of a patch or more"
        )
    old_prefix, old_grid = prefix_and_grid(embedding.shape[1])
    slots = embedding[:, : min(prefix, old_prefix)]
    missing = embedding.new_zeros(1, prefix - slots.shape[1], embedding.shape[2])
    patches = embedding[:, old_prefix:]
    if grid != old_grid:
        patches = _interpolate(patches, old_grid, grid)
    return torch.cat([slots, missing, patches], dim=1)


def _interpolate(patches: Tensor, old_grid: int, grid: int) -> Tensor:
    image = patches.unflatten(1, (old_grid, old_grid)).permute(0, 3, 1, 2)  # (1, width, h, w)
    # Interpolation of half precision is not implemented on the CPU.
    resized = functional.interpolate(
        image.float(), size=(grid, grid), mode="bicubic", align_corners=False, antialias=True
    )
    return resized.permute(0, 2, 3, 1).flatten(1, 2).to(patches.dtype)
