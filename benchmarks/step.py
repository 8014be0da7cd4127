"""What a training step costs: `python -m benchmarks.step` prints a table of ratios.

Bars (issue 3): APGD-2 at most 1.10 x 8/3 of our own clean step, FGSM at most 1.10 x 5/3; EMA,
clipping and schedules at most 3 % more; at least 1.2 times faster on a CPU (3 and 1.5 on a GPU)
than the published loop's step, and 'best effort' means that loop without its EMA.
"""

import argparse
import platform
import statistics
from collections.abc import Callable
from typing import Any

import timm
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.published import PublishedStep
from benchmarks.timing import ratio, time_in_turns
from benchmarks.trials import CPU_MODELS, GPU_MODELS, batch, session, trial
from trainers.config import TrialConfig
from trainers.schedules import lr_at, share_at, steps_at
from trainers.step import train_step

FGSM = {"attack": {"name": "fgsm", "steps": 1, "noise": 1.0}}
EXTRAS: dict[str, Any] = {
    "ema_horizon": 0.5,
    "optim": {"clip_norm": 1.0},
    "eps_schedule": {"shape": "cosine", "start": 0.5, "delay": 0.0, "ramp": 0.5},
    "steps_schedule": {"shape": "step", "start": 1.0, "delay": 0.0, "ramp": 0.0},
}
FAST: dict[str, dict[str, Any]] = {
    "apgd-2 channels_last": {"channels_last": True},
    "apgd-2 channels_last bf16": {"channels_last": True, "precision": "bf16"},
}
COMPILED: dict[str, dict[str, Any]] = {
    "clean compiled": {"channels_last": True, "compile": True},
    "apgd-2 compiled": {"channels_last": True, "compile": True},
    "apgd-2 compiled bf16": {"channels_last": True, "compile": True, "precision": "bf16"},
}


def our_step(config: TrialConfig, device: torch.device) -> Callable[[], object]:
    """Returns a call that takes one step in the middle of training, schedules included."""
    state = session(config, device)
    state.model.train()
    x, targets = batch(config, device)
    generator = torch.Generator(device).manual_seed(0)
    turns = iter(range(10**9))

    def step() -> object:
        turn = next(turns)
        progress = (turn % 100) / 100
        return train_step(
            state,
            x,
            targets,
            lr=lr_at(progress, config.optim, batch_size=config.batch_size),
            radius=share_at(progress, config.eps_schedule),
            steps=steps_at(progress, config.steps_schedule, steps=config.attack.steps),
            turn=turn,
            generator=generator,
        )

    return step


def candidates(
    model: dict[str, Any], resolution: int, size: int, device: torch.device, *, compiled: bool
) -> dict[str, Callable[[], object]]:
    """Returns every row of a model's table as a call that takes one step."""

    def ours(**changes: Any) -> Callable[[], object]:
        return our_step(trial(model, resolution, size, **changes), device)

    rows = {
        "clean": ours(attack={"fraction": 0.0}),
        "fgsm": ours(**FGSM),
        "apgd-2": ours(),
        "apgd-2 + ema, clip, schedules": ours(**EXTRAS),
    }
    rows |= {name: ours(compute=compute) for name, compute in FAST.items()}
    if compiled:
        for name, compute in COMPILED.items():
            attack = {"fraction": 0.0} if name.startswith("clean") else {}
            rows[name] = ours(compute=compute, attack=attack)
    if model["family"] == "convnext":
        config = trial(model, resolution, size)
        network = session(config, device).model
        x, targets = batch(config, device)
        for name, with_ema in (("published", True), ("published, best effort", False)):
            step = PublishedStep(network, eps=config.threat.eps, with_ema=with_ema, device=device)
            rows[name] = lambda step=step: step(x, targets)
    return rows


def report(name: str, size: int, seconds: dict[str, list[float]], console: Console) -> None:
    """Prints the table of one model."""
    table = Table(title=f"{name}, batch {size}", title_justify="left")
    for header in ("step", "ms", "images/s", "/ clean", "published / this", "best effort / this"):
        table.add_column(header, justify="left" if header == "step" else "right")
    for row, times in seconds.items():
        base = "clean compiled" if "compiled" in row else "clean"
        cells = [f"{1000 * statistics.median(times):.1f}"]
        cells.append(f"{size / statistics.median(times):.0f}")
        cells.append(f"{ratio(times, seconds[base]):.2f}")
        for theirs in ("published", "published, best effort"):
            cells.append(f"{ratio(seconds[theirs], times):.2f}" if theirs in seconds else "")
        table.add_row(row, *cells)
    console.print(table)
    extras = ratio(seconds["apgd-2 + ema, clip, schedules"], seconds["apgd-2"]) - 1
    console.print(f"ema, clipping and schedules: {extras:+.1%} on apgd-2 (bar +3 %)\n")


def main() -> None:
    """Measures every model of the device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each row takes")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's choice")
    parser.add_argument("--compile", action="store_true", help="rows with torch.compile, too")
    parser.add_argument("--models", default="", help="part of the models' names; empty: all")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device, console = torch.device(options.device), Console(width=120)
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    console.print(
        f"{where}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"timm {timm.__version__}; floors: apgd-2 {8 / 3:.2f}, fgsm {5 / 3:.2f} of clean; "
        f"bars {1.1 * 8 / 3:.2f}, {1.1 * 5 / 3:.2f}\n"
    )
    for name, (model, resolution, size) in (
        CPU_MODELS if device.type == "cpu" else GPU_MODELS
    ).items():
        if options.models not in name:
            continue
        rows = candidates(model, resolution, size, device, compiled=options.compile)
        seconds = time_in_turns(rows, rounds=options.rounds, steps=options.steps, device=device)
        report(f"{name} at {resolution} px", size, seconds, console)


if __name__ == "__main__":
    main()
