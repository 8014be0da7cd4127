"""Signs of gradient masking: whether a model is robust, or only hard to attack by its gradients.

The probes of Carlini et al. 2019 (arXiv:1902.06705), Athalye et al. 2018 (arXiv:1802.00420) and of
AutoAttack's code, as numbers. Here they are measured; `masking_report` decides.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from evaluation.autoattack import PACKAGE_NORMS
from evaluation.engine.engine import item_seed
from evaluation.masking_config import MaskingConfig
from evaluation.masking_report import (
    GradientCounts,
    MaskingReport,
    Measurements,
    Outcome,
    right_under_both,
    signs_of,
)
from evaluation.precision import full_precision
from evaluation.weights import model_hash
from trainers.attacks.apgd import apgd
from trainers.attacks.gradient import input_gradient
from trainers.attacks.losses import cross_entropy, dlr
from trainers.attacks.mode import attack_mode
from trainers.attacks.pgd import pgd
from trainers.attacks.projection import Ball, Threat
from trainers.attacks.start import random_start
from trainers.data.images import ImageSet

LOSSES: dict[Literal["ce", "dlr"], Callable[[Tensor, Tensor], Tensor]] = {
    "ce": cross_entropy,
    "dlr": dlr,
}
PGD_REACH = 2.5
"""Length of all steps of PGD together in units of eps (Madry et al. 2018, arXiv:1706.06083)."""


def masking_signs(
    model: nn.Module,
    images: ImageSet,
    config: MaskingConfig,
    *,
    device: torch.device,
    report: Callable[[str], None],
) -> MaskingReport:
    """Attacks the first `config.images` images in several ways that should agree, and compares.

    Args:
        model: On `device`; attacked in eval mode, left as it was. The global random state, too.
        report: Told what each attack leaves, line by line.

    Raises:
        ValueError: If there are too few images, fewer than three classes, or logits of clean
            images that are not finite.
    """
    with attack_mode(model), full_precision(), _seeded(config.seed, device):
        measured = _measure(
            _Probe(
                model=_Connected(model),
                images=images.first(config.images),
                config=config,
                device=device,
                report=report,
            )
        )
    signs = signs_of(measured, config)
    return MaskingReport(model_hash=model_hash(model), measured=measured, signs=signs)


class _Connected(nn.Module):
    """Gives a model that detaches its input a gradient of zero, where autograd would refuse."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) + 0 * x.flatten(1).sum(dim=1, keepdim=True)


Attack = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Images, their labels and their places in the split -> images to classify."""


@dataclass(frozen=True, kw_only=True)
class _Probe:
    model: nn.Module
    images: ImageSet
    config: MaskingConfig
    device: torch.device
    report: Callable[[str], None]

    def batches(
        self, index: Int64[Tensor, " some"]
    ) -> Generator[tuple[Tensor, Tensor, Tensor], None, None]:
        """Yields images and labels on the device, and their places in the split."""
        for part in index.split(self.config.batch_size) if len(index) else ():
            yield (
                self.images.floats(part).to(self.device),
                self.images.labels[part].to(self.device),
                part,
            )

    @torch.no_grad()
    def clean_logits(self) -> Float[Tensor, "n classes"]:
        """Classifies all images once; the result is on the CPU."""
        everything = torch.arange(len(self.images))
        return torch.cat([self.model(x).cpu() for x, _, _ in self.batches(everything)])

    def count_gradients(self, loss: Literal["ce", "dlr"], clean: Outcome) -> GradientCounts:
        """Looks at the images that are right: where the label is third, DLR is flat by itself."""
        counts = torch.zeros(2, dtype=torch.int64)
        for x, y, _ in self.batches(_places(clean)):
            grad = input_gradient(self.model, x, _bind(loss, y)).flatten(1)
            is_zero = (grad == 0).all(dim=1)
            is_finite = grad.isfinite().all(dim=1)
            counts += torch.stack([is_zero.sum(), (~is_finite).sum()]).cpu()
        zero, non_finite = counts.tolist()
        return GradientCounts(loss=loss, n=sum(clean.is_right), zero=zero, non_finite=non_finite)

    def after(self, before: Outcome, attack: Attack, *, name: str, eps: float) -> Outcome:
        """Attacks what `before` left right and classifies the result once more."""
        is_right = torch.tensor(before.is_right)
        for x, y, index in self.batches(_places(before)):
            is_right[index] = self._withstands(attack(x, y, index), y).cpu()
        n = len(is_right)
        self.report(f"{name} at eps={eps:.3g} leaves {int(is_right.sum())} of {n} images right")
        return Outcome(attack=name, eps=eps, is_right=tuple(is_right.tolist()))

    def under_apgd(self, clean: Outcome, loss: Literal["ce", "dlr"], *, factor: float) -> Outcome:
        steps, threat = self.config.apgd_steps, self.config.threat
        ball = Ball(norm=threat.norm, eps=factor * threat.eps)

        def attack(x: Tensor, y: Tensor, index: Tensor) -> Tensor:
            start = self._start(x, index, ball, rank=0)
            bound = _bind(loss, y)
            return apgd(self.model, x, y, ball, steps=steps, loss=bound, start=start).fooling

        return self.after(clean, attack, name=f"apgd_{loss}{steps}", eps=factor * threat.eps)

    def under_pgd(self, clean: Outcome, *, steps: int) -> Outcome:
        threat = self.config.threat

        def attack(x: Tensor, y: Tensor, index: Tensor) -> Tensor:
            return pgd(
                self.model,
                x,
                threat,
                steps=steps,
                step_size=PGD_REACH * threat.eps / steps,
                loss=_bind("ce", y),
                start=self._start(x, index, threat, rank=0),
            )

        return self.after(clean, attack, name=f"pgd{steps}", eps=threat.eps)

    def under_square(self, left: Outcome) -> Outcome:
        queries, threat = self.config.square_queries, self.config.threat
        package = SquareAttack(
            self.model,
            norm=PACKAGE_NORMS[threat.norm],
            n_queries=queries,
            eps=threat.eps,
            seed=self.config.seed,
            device=self.device,
        )

        def attack(x: Tensor, y: Tensor, _: Tensor) -> Tensor:
            return package.perturb(x, y)

        return self.after(left, attack, name=f"square{queries}", eps=threat.eps)

    def under_noise(self, left: Outcome) -> Outcome:
        draws, threat = self.config.noise_draws, self.config.threat

        def attack(x: Tensor, y: Tensor, index: Tensor) -> Tensor:
            found = x
            for rank in range(1, draws + 1):
                noisy = self._start(x, index, threat, rank=rank)
                withstands = self._withstands(noisy, y).view(-1, 1, 1, 1)
                found = torch.where(withstands, found, noisy)
            return found

        return self.after(left, attack, name=f"noise{draws}", eps=threat.eps)

    def _start(self, x: Tensor, index: Tensor, threat: Threat, *, rank: int) -> Tensor:
        seeds = [item_seed(self.config.seed, image=i, stage=rank) for i in index.tolist()]
        return random_start(x, threat, seeds=seeds)

    @torch.no_grad()
    def _withstands(self, x_adv: Tensor, y: Tensor) -> Bool[Tensor, " batch"]:
        """An image that is not finite, after a gradient that was not, breaks nothing."""
        is_image = x_adv.isfinite().flatten(1).all(dim=1)
        return (self.model(x_adv).argmax(dim=1) == y) | ~is_image


def _measure(probe: _Probe) -> Measurements:
    config = probe.config
    logits = torch.stack([probe.clean_logits() for _ in range(config.passes)])
    _require_finite(logits)  # (passes, n, classes)
    predictions = logits.argmax(dim=2)  # (passes, n)
    is_right = (predictions[0] == probe.images.labels).tolist()
    clean = Outcome(attack="clean", eps=0.0, is_right=tuple(is_right))
    apgd_ce = probe.under_apgd(clean, "ce", factor=1.0)
    apgd_dlr = probe.under_apgd(clean, "dlr", factor=1.0)
    others = [probe.under_apgd(clean, "ce", factor=factor) for factor in config.eps_factors]
    # After cross-entropy alone Square, which climbs the margin, also accuses healthy networks.
    both = right_under_both(apgd_ce, apgd_dlr)
    left = Outcome(attack="apgd", eps=config.threat.eps, is_right=both)
    return Measurements(
        changed_predictions=int((predictions != predictions[0]).any(dim=0).sum()),
        logit_change=_logit_change(logits),
        lowest_output=float(logits.min()),
        highest_output=float(logits.max()),
        row_sum_error=float((logits.sum(dim=2) - 1).abs().max()),
        ce_gradients=probe.count_gradients("ce", clean),
        dlr_gradients=probe.count_gradients("dlr", clean),
        clean=clean,
        sweep=tuple(sorted([apgd_ce, *others], key=lambda one: one.eps)),
        apgd_ce=apgd_ce,
        apgd_dlr=apgd_dlr,
        pgd_few=probe.under_pgd(clean, steps=config.few_steps),
        pgd_many=probe.under_pgd(clean, steps=config.many_steps),
        square=probe.under_square(left),
        noise=probe.under_noise(left),
    )


def _require_finite(logits: Tensor) -> None:
    is_finite = logits.isfinite().all(dim=2).all(dim=0)  # (n,)
    if not bool(is_finite.all()):
        raise ValueError(
            f"logits of clean images must be finite, those of {int((~is_finite).sum())} of "
            f"{len(is_finite)} are not; repair the model, then look for masking"
        )


def _logit_change(logits: Float[Tensor, "passes n classes"]) -> float:
    """Returns the largest distance between two passes; no norm of logits can change it."""
    directions = logits / logits.norm(dim=2, keepdim=True).clamp_min(1e-10)
    by_image = directions.transpose(0, 1)  # (n, passes, classes)
    return float(torch.cdist(by_image, by_image, compute_mode="donot_use_mm_for_euclid_dist").max())


def _bind(loss: Literal["ce", "dlr"], y: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: LOSSES[loss](logits, y)


def _places(outcome: Outcome) -> Tensor:
    """Returns where the images that are right are in the split."""
    return torch.tensor(outcome.is_right).nonzero().squeeze(1)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Generator[None, None, None]:
    """Seeds the global random state, which Square and random models draw from, and restores it."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
