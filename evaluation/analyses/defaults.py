"""What an analysis asks of a trained model where nothing is overridden. Light: no torch.

Steps, points and starts are those of the papers that the configs name; a result keeps them all.
"""

from typing import Any

from evaluation.analyses.config import (
    ConvergenceConfig,
    EffectivenessConfig,
    EpsCurveConfig,
    FeaturesConfig,
    GradientsConfig,
    NormsConfig,
    SemanticsConfig,
    StrongAttack,
    TransferConfig,
)
from evaluation.masking_config import MaskingConfig
from models.config import Config
from trainers.config import TrialConfig
from trainers.threat import ThreatModel

MOST_IMAGES = 1000
MOST_CLASSES = 24
"""Classes whose features are made; of more, as many at equal distances."""
MULTIPLES = (0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16)
"""Points of the eps curve in units of the eps of training."""
PUBLISHED = (
    ThreatModel(norm="linf", eps=4 / 255),
    ThreatModel(norm="l2", eps=2.0),
    ThreatModel(norm="l1", eps=75.0),
)
"""Of Singh et al. 2023, arXiv:2303.01870, at 224 pixels."""


def default_config(kind: str, trial: TrialConfig) -> Config:
    """Returns the settings of one of `KINDS` for a model that `trial` trained."""
    threat, data = trial.threat, trial.data
    images = _images(trial, at_most=MOST_IMAGES)
    match kind:
        case "eps_curve":
            eps = (threat.eps * multiple for multiple in MULTIPLES)
            return EpsCurveConfig(
                **images,
                norm=threat.norm,
                eps=tuple(e for e in eps if e <= 1 or threat.norm != "linf"),
                strong=_strong(trial),
            )
        case "effectiveness":
            return EffectivenessConfig(
                **images, threat=threat, steps=(1, 2, 5, 10), oracle_steps=200, reach=2.5
            )
        case "convergence":
            steps = (0, 1, 2, 5, 10, 50, 100, 200, 500)
            return ConvergenceConfig(
                **images, threat=threat, points=32, starts=20, steps=steps, step=0.15
            )
        case "transfer":
            return TransferConfig.model_validate(
                {**images, "threat": threat, "steps": 100, "with": ()}
            )
        case "norms":
            threats = dict.fromkeys((threat, *published_threats(data.resolution)))
            return NormsConfig(**images, threats=tuple(threats), strong=_strong(trial))
        case "semantics":
            # The rendering needs linf; a model of another norm gets the published ball.
            shown = threat if threat.norm == "linf" else PUBLISHED[0]
            return SemanticsConfig(**images, threat=shown, steps=100, reach=1.5, judges=())
        case "gradients":
            few = _images(trial, at_most=6)
            return GradientsConfig(**few, threat=threat, steps=100, reach=2.5)
        case "masking":
            return _masking(trial)
        case _:
            return _features(trial)


def published_threats(resolution: int) -> tuple[ThreatModel, ...]:
    """Returns `PUBLISHED` for images of another size, with the same budget for each pixel.

    linf is one already; l2 grows with the side of the image and l1 with its area.
    """
    side = resolution / 224
    scale = {"linf": 1.0, "l2": side, "l1": side**2}
    return tuple(
        ThreatModel(norm=threat.norm, eps=threat.eps * scale[threat.norm]) for threat in PUBLISHED
    )


def _images(trial: TrialConfig, *, at_most: int) -> dict[str, Any]:
    images = min(trial.data.test_images, at_most)
    return {"split": "test", "images": images, "batch_size": 120, "seed": 0}


def _strong(trial: TrialConfig) -> StrongAttack:
    """As many steps and targets as AutoAttack's."""
    return StrongAttack(ce_steps=100, t_steps=100, targets=min(9, trial.data.num_classes - 1))


def _masking(trial: TrialConfig) -> MaskingConfig:
    return MaskingConfig(
        **_images(trial, at_most=256),
        threat=trial.threat,
        passes=5,
        logit_change=1e-4,
        probability_slack=1e-5,
        zero_gradients=0.0,
        apgd_steps=20,
        eps_factors=(0.25, 0.5, 2, 4, 8),
        unbroken=0.01,
        few_steps=10,
        many_steps=100,
        square_queries=500,
        noise_draws=10,
        black_box_gain=0.002,
        loss_gap=0.04,
    )


def _features(trial: TrialConfig) -> FeaturesConfig:
    count = trial.data.num_classes
    shown = min(count, MOST_CLASSES)
    norm, eps = trial.threat.norm, 16 * trial.threat.eps
    return FeaturesConfig(
        classes=tuple(count * i // shown for i in range(shown)),
        threat=ThreatModel(norm=norm, eps=min(eps, 1.0) if norm == "linf" else eps),
        steps=100,
        reach=2.5,
        batch_size=120,
        seed=0,
    )
