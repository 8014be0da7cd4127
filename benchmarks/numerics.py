"""Whether bf16 or compilation weakens the attack: `python -m benchmarks.numerics`.

A small model is trained on the embedded task with APGD-2; each variant then attacks the same
held-out crops from the same starts, and fp32 says how many stay right. Bar (issue 3): within 0.5
point of the fp32 attack.
"""

import argparse
import copy
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.trials import CONVNEXT_SMALL, trial
from evaluation.paired import compare_paired
from evaluation.precision import full_precision
from models.registry import build_model
from trainers.adversary import Adversary
from trainers.attacks.gradient import input_gradient
from trainers.attacks.losses import cross_entropy
from trainers.compute import in_format, in_precision, place
from trainers.config import TrialConfig
from trainers.data.load import load_held_out, load_train
from trainers.group import alone
from trainers.loop import fit
from trainers.losses import soft_targets
from trainers.metrics import Accuracy, Check

MODEL: dict[str, Any] = {
    **CONVNEXT_SMALL,
    "depths": [1, 1, 1],
    "widths": [16, 32, 64],
    "layer_scale": 1.0,
    "normalize": "half",
}
ATTACKS: dict[str, dict[str, Any]] = {
    "fgsm": {"name": "fgsm", "steps": 1, "noise": 1.0, "reach": 1.25},
    "apgd-2": {},
    "apgd-10": {"steps": 10},
    "pgd-20 dlr": {"name": "pgd", "steps": 20, "noise": 1.0, "loss": "dlr", "reach": 2.5},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "fp32 channels_last": {"channels_last": True},
    "bf16": {"precision": "bf16"},
    "fp32 compiled": {"compile": True},
    "bf16 compiled": {"precision": "bf16", "compile": True},
}


def config_of(**changes: Any) -> TrialConfig:
    """Returns the task of this benchmark with `changes` to its sections."""
    return trial(
        MODEL,
        32,
        64,
        data={"train_images": 1536, "select_images": 2400},
        epochs=12,
        eps_schedule={"shape": "linear", "start": 0.0, "delay": 0.0, "ramp": 0.3},
        label_smoothing=0.0,
        **changes,
    )


def trained_model(device: torch.device) -> nn.Module:
    """Trains for 12 epochs; no early check."""
    nothing = Accuracy(attack="none", n=1, correct=0)
    config = config_of()
    states = fit(
        config,
        images=load_train(config),
        rungs=(),
        evaluate=lambda _, __: Check(clean=nothing, robust=nothing, seconds=0),
        group=alone(device),
        resume=None,
        start=None,
    )
    *_, last = states
    model = build_model(config.model, num_classes=config.data.num_classes, resolution=32)
    model.load_state_dict(dict(last.model))
    return model.to(device).eval()


def zero_share(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Returns the share of input gradients that are exactly zero, so that a sign says nothing."""
    grad = input_gradient(network, x, lambda logits: cross_entropy(logits, y))
    return (grad == 0).float().mean().item()


def main() -> None:
    """Attacks with every variant and prints the robust accuracies beside fp32's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    device, model = torch.device(options.device), trained_model(torch.device(options.device))
    images = load_held_out(config_of().data, "select", threads=1)
    x, y = images.floats(torch.arange(len(images))).to(device), images.labels.to(device)
    with torch.no_grad(), full_precision():
        clean = (model(x).argmax(dim=1) == y).float().mean().item()
    console = Console(width=110)
    console.print(f"{options.device}, torch {torch.__version__}, clean {clean:.3f}, n={len(y)}\n")
    console.print(
        "robust accuracy, points from fp32 [95 %], share of input gradients that are zero"
    )
    for name, attack in ATTACKS.items():
        reference: list[bool] = []
        for variant, compute in VARIANTS.items():
            config = config_of(attack=attack, compute=compute)
            network = in_precision(
                place(copy.deepcopy(model), config.compute, device=device), config.compute
            )
            x_variant = in_format(x, config.compute)
            right = _survivors(model, network, config, x_variant, y)
            reference = reference or right
            paired = compare_paired(right, reference)
            points = [100 * v for v in (paired.difference, paired.low, paired.high)]
            console.print(
                f"{name:11} {variant:19} {sum(right) / len(right):.4f} "
                f"{points[0]:+.2f} [{points[1]:+.2f}, {points[2]:+.2f}] "
                f"{zero_share(network, x_variant, y):.2%}",
                highlight=False,
            )


def _survivors(
    model: nn.Module, network: nn.Module, config: TrialConfig, x: Tensor, y: Tensor
) -> list[bool]:
    """Returns which images fp32 still gets right after `config`'s attack through `network`."""
    targets = soft_targets(y, num_classes=config.data.num_classes, smoothing=0.0)
    generator = torch.Generator(x.device).manual_seed(0)
    x_adv = Adversary(network, config)(
        x, targets, radius=1.0, steps=config.attack.steps, turn=0, generator=generator
    )
    with torch.no_grad(), full_precision():
        return (model(x_adv.contiguous()).argmax(dim=1) == y).tolist()


if __name__ == "__main__":
    main()
