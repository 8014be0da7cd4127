"""What the attack keeps in memory against the training pass: `python -m benchmarks.memory`.

On a CPU: bytes that one forward pass keeps for its backward pass, counted once per storage, and per
image: what two images more add. On a GPU: peak of allocated memory above what lies there before.
Bar (issue 3): the attack at most 0.7 of the training step.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.trials import GPU_MODELS, batch, session, timm_model, trial
from trainers.attacks.mode import attack_mode
from trainers.losses import training_loss
from trainers.session import Session

MODELS = {**GPU_MODELS, "resnet50 (BN)": (timm_model("resnet50"), 224, 128)}


def kept_bytes(model: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Returns the bytes that the graph of `forward()` keeps, parameters excepted."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()
    del output
    return sum(kept.values())


def on_cpu(state: Session, x: Tensor, targets: Tensor) -> tuple[int, int]:
    """Returns the bytes of the attack's forward pass and of the training pass."""
    state.model.train()
    training = kept_bytes(state.model, lambda: training_loss(state.trained(x), targets))
    x_adv = x.clone().requires_grad_()
    with attack_mode(state.model):
        attack = kept_bytes(state.model, lambda: training_loss(state.trained(x_adv), targets))
    return attack, training


def on_gpu(state: Session, x: Tensor, targets: Tensor) -> tuple[int, int]:
    """Returns the peaks of the attack and of the pass and update that follow it."""
    state.model.train()
    peaks = (0, 0)
    for _ in range(2):  # the optimiser's state comes with the first step
        x_adv, attack = _peak(
            lambda: state.adversary(
                x, targets, radius=1.0, steps=2, turn=0, generator=torch.Generator(x.device)
            )
        )
        _, training = _peak(lambda x_adv=x_adv: _update(state, x_adv, targets))
        peaks = (attack, training)
    return peaks


def _update(state: Session, x_adv: Tensor, targets: Tensor) -> None:
    training_loss(state.trained(x_adv), targets).backward()
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)


def _peak(call: Callable[[], Any]) -> tuple[Any, int]:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = call()
    torch.cuda.synchronize()
    return result, torch.cuda.max_memory_allocated() - before


def ready(
    model: dict[str, Any], resolution: int, size: int, precision: str, device: torch.device
) -> tuple[Session, Tensor, Tensor]:
    """Returns a session of the model, and a batch for it."""
    config = trial(model, resolution, size, compute={"precision": precision})
    return session(config, device), *batch(config, device)


def main() -> None:
    """Measures every model in fp32 and bf16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    table = Table(title=f"{options.device}, torch {torch.__version__}", title_justify="left")
    for header in ("model", "precision", "attack MB/image", "training MB/image", "ratio"):
        table.add_column(header, justify="left" if header in ("model", "precision") else "right")
    for name, (model, resolution, usual) in MODELS.items():
        for precision in ("fp32", "bf16"):
            if device.type == "cpu":
                small, large = (
                    on_cpu(*ready(model, resolution, n, precision, device)) for n in (2, 4)
                )
                each = [(more - less) / 2 for less, more in zip(small, large, strict=True)]
            else:
                each = [
                    of / usual for of in on_gpu(*ready(model, resolution, usual, precision, device))
                ]
            cells = [f"{of / 1e6:.1f}" for of in each]
            table.add_row(name, precision, *cells, f"{each[0] / each[1]:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
