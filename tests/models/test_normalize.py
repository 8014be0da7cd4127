"""Normalisation against its definition and ImageNet's constants."""

import pytest
import torch

from models.normalize import MEAN_STD, Normalize, Scheme, normalization


def test_imagenet_mean_becomes_zero_and_one_deviation_above_it_one() -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    normalize = normalization("imagenet")

    at_mean, above = normalize(mean.expand(1, 3, 4, 4)), normalize((mean + std).expand(1, 3, 4, 4))

    torch.testing.assert_close(at_mean, torch.zeros(1, 3, 4, 4))
    torch.testing.assert_close(above, torch.ones(1, 3, 4, 4))


def test_half_maps_the_pixel_range_to_minus_one_and_one() -> None:
    black_and_white = torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)])

    y = normalization("half")(black_and_white)

    assert y.unique().tolist() == [-1, 1]


def test_none_leaves_the_image_untouched() -> None:
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    assert torch.equal(normalization("none")(x), x)
    assert torch.equal(Normalize("none")(x), x)


@pytest.mark.parametrize("scheme", list(MEAN_STD))
def test_the_scheme_is_no_part_of_the_weights(scheme: Scheme) -> None:
    assert normalization(scheme).state_dict() == {}
