"""Models whose optimum is known, or which a test can train in a second, and their oracles."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

ORDERS = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}


class CountingModel(nn.Module):
    """A linear model that counts forwards and input gradients, and how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 3)
        self.forwards, self.gradients = 0, 0
        self.states: set[tuple[bool, bool]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        self.states.add((self.training, self.linear.weight.requires_grad))
        if x.requires_grad:
            x.register_hook(self._count)
        return self.linear(x.flatten(1))

    def _count(self, _: Tensor) -> None:
        self.gradients += 1


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


def distances(x_adv: Tensor, x: Tensor, norm: str) -> Tensor:
    """Returns how far each image has moved."""
    return (x_adv - x).flatten(1).norm(p=ORDERS[norm], dim=1)


def farthest_in_l1(x: Tensor, slopes: Tensor, eps: float) -> Tensor:
    """Returns the point of l1 ball and box where the linear function of `slopes` is highest.

    The budget goes to the steepest pixels, each up to the border of the box.
    """
    room = torch.where(slopes > 0, 1 - x, x).flatten(1)
    order = slopes.abs().flatten(1).argsort(dim=1, descending=True)
    sorted_room = room.gather(1, order)
    left = (eps - (sorted_room.cumsum(dim=1) - sorted_room)).clamp_min(0)
    moves = torch.zeros_like(room).scatter(1, order, torch.minimum(sorted_room, left))
    return x + slopes.sign() * moves.view_as(x)
