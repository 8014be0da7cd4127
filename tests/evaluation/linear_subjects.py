"""Linear models, whose robustness is known in closed form, as subjects of analyses."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from evaluation.analyses.outcome import Subject
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel

DUAL = {"linf": 1.0, "l2": 2.0}
"""Norm of the weights that bounds what a perturbation changes (Hoelder's inequality)."""
IMAGES: Mapping[str, Any] = {"split": "test", "images": 40, "batch_size": 16, "seed": 3}
"""The fields that all configs share."""


def quiet(_: str) -> None:
    """Takes the place of a console."""


def linear_model(*, classes: int, seed: int) -> nn.Sequential:
    """Returns a random model that predicts every class for some images of `grey_images`."""
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(192, classes)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(classes, 192, generator=generator))
        linear.bias.copy_(-linear.weight @ grey_images().flatten(1).mean(dim=0))
    return nn.Sequential(nn.Flatten(), linear)


def grey_images() -> Tensor:
    """Returns 40 images so far from 0 and 1 that eps up to 59/255 never meets the box."""
    pixels = torch.randint(60, 196, (40, 3, 8, 8), generator=torch.Generator().manual_seed(4))
    return pixels.float() / 255


def subject_of(**models: nn.Module) -> Subject:
    """Returns the models on 40 images that the first of them is right about."""
    x = grey_images()
    with torch.no_grad():
        labels = next(iter(models.values()))(x).argmax(dim=1)
    images = ImageSet(images=(255 * x).round().to(torch.uint8), labels=labels)
    return Subject(models=models, images=images, device=torch.device("cpu"))


@torch.no_grad()
def margins(model: nn.Module, subject: Subject) -> tuple[Tensor, Tensor]:
    """Returns logit y minus each logit (n, classes), and the weights behind (n, classes, 192)."""
    weight, y = dict(model.named_parameters())["1.weight"], subject.images.labels
    logits = model(subject.images.floats(torch.arange(len(y))))
    return logits.gather(1, y.unsqueeze(1)) - logits, weight[y].unsqueeze(1) - weight


def exactly_robust(model: nn.Module, subject: Subject, threat: ThreatModel) -> Tensor:
    """Returns for each image whether no perturbation inside `threat` changes its class."""
    gaps, differences = margins(model, subject)
    reach = threat.eps * torch.linalg.vector_norm(differences, ord=DUAL[threat.norm], dim=2)
    return (gaps > reach).scatter(1, subject.images.labels.unsqueeze(1), True).all(dim=1)


def worst_losses(model: nn.Module, subject: Subject, threat: ThreatModel) -> Tensor:
    """Returns the highest cross-entropy of each image in the ball of a model of two classes."""
    gaps, differences = margins(model, subject)
    reach = threat.eps * torch.linalg.vector_norm(differences, ord=DUAL[threat.norm], dim=2)
    worst = (gaps - reach).gather(1, 1 - subject.images.labels.unsqueeze(1)).squeeze(1)
    return torch.nn.functional.softplus(-worst)
