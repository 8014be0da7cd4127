"""A task of 8 x 8 images that a tiny network learns in a second, for the tests of this folder."""

import functools

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from evaluation.autoattack import AttackedBatch, attack_batch
from evaluation.config import EarlyCheckConfig, ReferenceConfig
from trainers.attacks.losses import cross_entropy
from trainers.attacks.pgd import pgd
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel

CPU = torch.device("cpu")
CLASSES = 5
LINF = ThreatModel(norm="linf", eps=16 / 255)
L2 = ThreatModel(norm="l2", eps=0.5)
L1 = ThreatModel(norm="l1", eps=3.0)
EARLY = EarlyCheckConfig(images=40, ce_steps=10, t_steps=10, targets=3, batch_size=16, seed=3)


PACKAGE = ReferenceConfig(version="standard", images=1, batch_size=1, seed=7)


def reference_config(*, images: int, batch_size: int) -> ReferenceConfig:
    return ReferenceConfig(version="standard", images=images, batch_size=batch_size, seed=5)


def tiny_images(n: int, *, seed: int) -> ImageSet:
    """Noisy copies of one pattern per class; the patterns are the same for every seed."""
    patterns = torch.rand(CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % CLASSES
    noise = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    pixels = 0.35 * patterns[labels] + 0.65 * noise
    return ImageSet(images=(255 * pixels).to(torch.uint8), labels=labels)


class TinyNet(nn.Module):
    """A convolution and a linear layer, with BatchNorm and dropout so that modes matter."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.GELU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(8 * 16, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@functools.cache
def trained_net() -> TinyNet:
    """Trains a network on 200 images; it is shared, so a test must leave it as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = TinyNet()
        train = tiny_images(200, seed=1)
        x = train.floats(torch.arange(200))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(net(x + 0.06 * torch.randn_like(x).sign()), train.labels).backward()
            optimizer.step()
    return net.eval()


@functools.cache
def robust_net() -> TinyNet:
    """Trains a network on PGD-2 at `LINF`; shared, so a test must leave it as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net, train = TinyNet(), tiny_images(200, seed=1)
        x, y = train.floats(torch.arange(200)), train.labels
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)

        def loss(logits: Tensor) -> Tensor:
            return cross_entropy(logits, y)

        for _ in range(30):
            x_adv = pgd(net, x, LINF, steps=2, step_size=LINF.eps / 2, loss=loss, start=x)
            optimizer.zero_grad()
            loss(net(x_adv)).mean().backward()
            optimizer.step()
    return net.eval()


@functools.cache
def attacked_by_reference() -> tuple[ImageSet, AttackedBatch]:
    """Runs the reference once on 16 images, with `LINF` and seed 7; Square's queries are slow."""
    images = tiny_images(16, seed=3)
    x = images.floats(torch.arange(16))
    return images, attack_batch(trained_net(), x, images.labels, LINF, PACKAGE, device=CPU)
