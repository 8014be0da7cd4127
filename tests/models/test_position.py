"""Position embeddings against torch's interpolation and timm's resampling."""

import pytest
import torch
from timm.layers import (
    resample_abs_pos_embed,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from torch.nn import functional

from models.position import prefix_and_grid, resize_position


def embedding(*, prefix: int, grid: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, prefix + grid * grid, 6, generator=generator)


@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize("grid", [1, 3, 7, 12])
def test_another_grid_is_what_timm_resamples(prefix: int, grid: int) -> None:
    old = embedding(prefix=prefix, grid=5)

    new = resize_position(old, grid=grid, prefix=prefix)

    theirs = resample_abs_pos_embed(old, new_size=[grid, grid], num_prefix_tokens=prefix)
    torch.testing.assert_close(new, theirs)
    assert torch.equal(new[:, :prefix], old[:, :prefix])


def test_without_a_class_slot_no_patch_moves() -> None:
    old = embedding(prefix=0, grid=4)

    new = resize_position(old, grid=8, prefix=0)

    image = old.reshape(1, 4, 4, 6).permute(0, 3, 1, 2)
    bicubic = functional.interpolate(image, size=(8, 8), mode="bicubic", antialias=True)
    torch.testing.assert_close(new.reshape(1, 8, 8, 6).permute(0, 3, 1, 2), bicubic)


@pytest.mark.parametrize("prefix", [0, 1])
def test_the_same_grid_is_kept_bit_for_bit(prefix: int) -> None:
    old = embedding(prefix=prefix, grid=5)

    assert torch.equal(resize_position(old, grid=5, prefix=prefix), old)


def test_a_surplus_slot_is_dropped_and_a_missing_one_is_zero() -> None:
    old = embedding(prefix=1, grid=3)

    without = resize_position(old, grid=3, prefix=0)
    again = resize_position(without, grid=3, prefix=1)

    assert torch.equal(without, old[:, 1:])
    assert not again[:, 0].any()
    assert torch.equal(again[:, 1:], old[:, 1:])


def test_a_constant_embedding_stays_constant() -> None:
    new = resize_position(torch.full((1, 16, 3), 0.7), grid=9, prefix=0)

    torch.testing.assert_close(new, torch.full((1, 81, 3), 0.7))


def test_half_precision_is_kept() -> None:
    new = resize_position(embedding(prefix=1, grid=3).half(), grid=5, prefix=1)

    assert new.dtype == torch.float16


@pytest.mark.parametrize(
    ("tokens", "prefix", "grid"), [(1, 0, 1), (2, 1, 1), (196, 0, 14), (197, 1, 14), (198, 2, 14)]
)
def test_the_number_of_tokens_tells_slots_and_grid(tokens: int, prefix: int, grid: int) -> None:
    assert prefix_and_grid(tokens) == (prefix, grid)


@pytest.mark.parametrize("tokens", [0, 7, 8, 14 * 13 + 1])
def test_a_grid_that_is_not_square_is_refused(tokens: int) -> None:
    with pytest.raises(ValueError, match=f"a square grid of patches .* got {tokens} tokens"):
        resize_position(torch.zeros(1, tokens, 4), grid=4, prefix=0)


def test_a_grid_without_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="grid must be at least 1, got 0"):
        resize_position(torch.zeros(1, 4, 4), grid=0, prefix=0)
