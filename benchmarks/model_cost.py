"""How long the cost of a model takes before training: `python -m benchmarks.model_cost`.

Seconds of `models.cost.cost` at 224 pixels and 1000 classes, on the meta device, so on the CPU
alone: median of three after a warm-up. Bar: 1 s for each model.
"""

import statistics
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.timing import time_in_turns
from models.cost import cost
from models.named import named_model

NAMES = ("convnext_large", "vit_b", "xcit_s12", "xcit_l12", "swin_b", "resnet50")
ROUNDS = 3


def main() -> None:
    """Prints a row for each model."""
    counts = {
        name: partial(cost, named_model(name, stem="own"), num_classes=1000, resolution=224)
        for name in NAMES
    }
    seconds = time_in_turns(counts, rounds=ROUNDS, steps=1, device=torch.device("cpu"))
    table = Table(title=f"torch {torch.__version__}", title_justify="left")
    table.add_column("model")
    table.add_column("seconds", justify="right")
    for name, each in seconds.items():
        table.add_row(name, f"{statistics.median(each):.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
