"""The probe beside an early check: what PGD-1 and PGD-10 do to a model, for `evaluation/diagnoses`.

Both start at one random point of the ball per image, and their steps add up to 1.5 eps, as in the
evaluation that the public curves come from (Debenedetti et al. 2023, arXiv:2209.07399, their
code), so that a gap between the two means what it means there.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evaluation.precision import full_precision
from evaluation.verify import perturbation_norms
from trainers.attacks.gradient import input_gradient
from trainers.attacks.losses import cross_entropy
from trainers.attacks.mode import attack_mode
from trainers.attacks.pgd import pgd
from trainers.attacks.projection import ascent_direction, project
from trainers.attacks.start import random_start
from trainers.data.images import ImageSet
from trainers.metrics import Accuracy, Probe
from trainers.threat import ThreatModel

REACH = 1.5
"""Length of all steps of an attack together, in units of eps."""
STEPS = 10


def run_probe(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    *,
    seeds: Sequence[int],
    batch_size: int,
    device: torch.device,
) -> Probe:
    """Attacks `images` with one step, and with ten those that the model still gets right.

    An image that is wrong both without attack and under one step counts as broken by ten. Costs one
    input gradient per image, and ten more for each that is attacked again.

    Args:
        model: On `device`; attacked in eval mode, left as it was.
        seeds: One per image, of its random start.
    """
    measured: list[Tensor] = []
    with attack_mode(model), full_precision():
        for index in torch.arange(len(images)).split(batch_size):
            x, y = images.floats(index).to(device), images.labels[index].to(device)
            start = random_start(x, threat, seeds=[seeds[i] for i in index.tolist()])
            measured.append(_probe_batch(model, x, y, threat, start))
    # In float64, where the size of a batch does not show in the means.
    stands1, stands10, gains, zeros, sizes = torch.cat(measured).cpu().double().unbind(dim=1)
    return Probe(
        pgd1=_accuracy("pgd1", stands1),
        pgd10=_accuracy(f"pgd{STEPS}", stands10),
        loss_gain=gains.mean().item(),
        zero_gradients=zeros.mean().item(),
        delta_over_eps=sizes.mean().item(),
    )


@torch.no_grad()
def _probe_batch(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, start: Tensor
) -> Float[Tensor, "batch 5"]:
    """Returns per image: right under PGD-1, right under PGD-10, and what `Probe` has of PGD-1."""
    grad = input_gradient(model, start, lambda logits: cross_entropy(logits, y))
    x_adv = project(start + REACH * threat.eps * ascent_direction(grad, threat), x, threat)
    clean, attacked = model(x), model(x_adv)  # (batch, classes)
    stands1 = attacked.argmax(dim=1) == y
    stands10 = stands1 | (clean.argmax(dim=1) == y)
    rows = stands10.nonzero().squeeze(1)
    if len(rows):
        stands10[rows] = _stands10(model, x[rows], y[rows], threat, start[rows])
    gains = cross_entropy(attacked, y) - cross_entropy(clean, y)
    zeros = (grad == 0).flatten(1).to(gains).mean(dim=1)
    sizes = _sizes(x_adv - x, threat)
    return torch.stack([stands1.to(gains), stands10.to(gains), gains, zeros, sizes], dim=1)


def _stands10(model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, start: Tensor) -> Tensor:
    x_adv = pgd(
        model,
        x,
        threat,
        steps=STEPS,
        step_size=REACH * threat.eps / STEPS,
        loss=lambda logits: cross_entropy(logits, y),
        start=start,
    )
    return model(x_adv).argmax(dim=1) == y


def _sizes(delta: Float[Tensor, "batch c h w"], threat: ThreatModel) -> Float[Tensor, " batch"]:
    if threat.norm == "linf":
        return delta.abs().flatten(1).mean(dim=1) / threat.eps
    return perturbation_norms(delta, threat) / threat.eps


def _accuracy(attack: str, stands: Tensor) -> Accuracy:
    return Accuracy(attack=attack, n=len(stands), correct=int(stands.sum()))
