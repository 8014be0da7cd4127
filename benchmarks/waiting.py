"""The share of a training step that waits for images: `python -m benchmarks.waiting`.

Steps at 224 px on one core, so that a second one is left to a reading process: APGD-2 on a model
that trains far slower than a core reads, and a clean step on a toy that trains about as fast. An
epoch's first batch is not counted: reading begins with it. Stores and loaders take turns.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks.loading import SIDE, stored_images, write_stores
from benchmarks.trials import CONVNEXT_SMALL, session, trial
from trainers.data.images import Batch
from trainers.step import train_step

TOY = {**CONVNEXT_SMALL, "stem": "patch", "stem_stride": 16, "depths": [1, 1], "widths": [16, 32]}
STEPS: dict[str, tuple[dict[str, Any], float, int, int]] = {
    "convnext 24-192, apgd-2": (CONVNEXT_SMALL, 1.0, 4, 6),
    "toy, clean": (TOY, 0.0, 32, 12),
}
"""Model, share of a batch that is attacked, batch, and batches of an epoch."""
IMAGES = 400
Pixels = Iterator[tuple[Tensor, Tensor]]


def trainer(
    model: dict[str, Any], attacked: float, batch: int
) -> Callable[[Tensor, Tensor], object]:
    """Returns a call that takes one step on uint8 images and their labels."""
    config = trial(model, SIDE, batch, attack={"fraction": attacked})
    state = session(config, torch.device("cpu"))
    state.model.train()
    generator = torch.Generator().manual_seed(0)
    turns = iter(range(10**9))

    def step(pixels: Tensor, labels: Tensor) -> object:
        x = pixels.to(torch.float32) / 255
        targets = one_hot(labels, config.data.num_classes).to(torch.float32)
        return train_step(
            state,
            x,
            targets,
            lr=1e-3,
            radius=1.0,
            steps=2,
            turn=next(turns),
            generator=generator,
        )

    return step


def train(step: Callable[[Tensor, Tensor], object], stream: Pixels) -> tuple[float, float]:
    """Trains on a stream; returns the seconds of waiting for a batch, and of all, of one step."""
    step(*next(stream))
    waited, steps, started = 0.0, 0, time.perf_counter()
    while True:
        asked = time.perf_counter()
        batch = next(stream, None)
        if batch is None:
            return waited / steps, (asked - started) / steps
        waited += time.perf_counter() - asked
        step(*batch)
        steps += 1


def streams(root: Path, batch: int, batches: int) -> dict[str, Callable[[int], Pixels]]:
    """Returns for each store and number of loaders a call that begins an epoch."""
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0))
    plan = [Batch(index=index, side=SIDE) for index in order.split(batch)[:batches]]
    noise = torch.randint(256, (batch, 3, SIDE, SIDE), dtype=torch.uint8)
    from_memory = [(noise, torch.arange(batch) % 10)] * batches
    begin: dict[str, Callable[[int], Pixels]] = {"memory": lambda epoch: iter(from_memory)}
    for name, (kind, path) in write_stores(root, IMAGES).items():
        for loaders in (0, 1):
            images = stored_images(kind, path, loaders=loaders)
            begin[f"{name}, loaders={loaders}"] = lambda epoch, images=images: images.stream(
                plan, epoch=epoch
            )
    return begin


def main() -> None:
    """Prints what of a step is waiting, and images per second, for each store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", default="", help="part of the steps' names; empty: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, (model, attacked, batch, batches) in STEPS.items():
        if options.steps not in name:
            continue
        step = trainer(model, attacked, batch)
        print(f"{name}, batch {batch}")  # noqa: T201
        with tempfile.TemporaryDirectory() as scratch:
            candidates = streams(Path(scratch), batch, batches)
            rounds: dict[str, list[tuple[float, float]]] = {each: [] for each in candidates}
            for epoch in range(options.rounds + 1):
                for each, begin in candidates.items():
                    rounds[each].append(train(step, begin(epoch)))
        for each, (_, *measured) in rounds.items():  # the first round starts processes
            share = statistics.median(waited / whole for waited, whole in measured)
            speed = batch / statistics.median(whole for _, whole in measured)
            print(f"  {each:38s} {share:6.1%} waiting  {speed:6.1f} images/s")  # noqa: T201


if __name__ == "__main__":
    main()
