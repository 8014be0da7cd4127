"""Models whose optimum is known, or which a test can train in a second."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def linear_model(classes: int) -> nn.Module:
    """Returns a linear classifier of 3x8x8 images."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, classes))


def interior_images(n: int) -> Tensor:
    """Returns images that an attack of eps up to 0.2 cannot push out of [0, 1]."""
    return 0.3 + 0.4 * torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def any_images(n: int) -> Tensor:
    """Returns images that reach the borders of the box."""
    noise = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    return (0.5 + 0.5 * noise).clamp(0, 1)


def trained_network(x: Tensor, y: Tensor, classes: int) -> nn.Module:
    """Returns a small convolutional network with batch norm that has learnt `x` by heart."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.GELU(),
        nn.Conv2d(12, 16, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(256, classes),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()
