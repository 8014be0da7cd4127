"""Prints, as JSON, how far compiled steps end from eager ones, and how many graphs each captured.

A program of its own: torch.compile cannot trace the shape checks that pytest puts around our code.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from base_trial import base_trial
from torch import Tensor
from torch._dynamo.utils import counters

from trainers.config import TrialConfig
from trainers.data.images import ImageSet
from trainers.data.load import load_train
from trainers.group import alone
from trainers.session import begin_session
from trainers.step import train_step

CPU = torch.device("cpu")
STEPS = 4
SIDES = tuple(range(16, 52, 4))
"""More resolutions than the graphs of one function that torch compiles by itself, which are 8."""


def train(*, compiled: bool) -> tuple[dict[str, Tensor], list[int]]:
    """Returns the weights, and the graphs that Dynamo had captured after each step."""
    # SGD, because Adam's division turns a rounding error into a whole step.
    changes = {
        "compute": {"compile": compiled},
        "threat": {"norm": "l2", "eps": 0.5},
        "optim": {"name": "sgd", "lr": 0.05},
        "attack": {"name": "apgd", "noise": 0.5},
    }
    config = TrialConfig.model_validate(base_trial(**changes))
    images = load_train(config)
    assert isinstance(images, ImageSet)
    state = begin_session(config, images, group=alone(CPU), resume=None, start=None)
    x = images.floats(torch.arange(8))
    targets = torch.nn.functional.one_hot(images.labels[:8], 12).float()
    generator = torch.Generator().manual_seed(0)
    graphs: list[int] = []
    counters.clear()
    state.model.train()
    for step in range(STEPS):
        radius = (step + 1) / STEPS
        train_step(
            state, x, targets, lr=0.05, radius=radius, steps=2, turn=step, generator=generator
        )
        graphs.append(counters["stats"]["unique_graphs"])
    return dict(state.model.state_dict()), graphs


def ramp() -> list[int]:
    """Returns the graphs captured after each resolution of an attack on growing images."""
    attack = {"name": "fgsm", "steps": 1}
    config = TrialConfig.model_validate(base_trial(compute={"compile": True}, attack=attack))
    images = load_train(config)
    assert isinstance(images, ImageSet)
    state = begin_session(config, images, group=alone(CPU), resume=None, start=None)
    x = images.floats(torch.arange(8))
    targets = torch.nn.functional.one_hot(images.labels[:8], 12).float()
    counters.clear()
    graphs: list[int] = []
    for side in SIDES:
        smaller = torch.nn.functional.interpolate(x, size=(side, side))
        state.adversary(smaller, targets, radius=1.0, steps=1, turn=0, generator=torch.Generator())
        graphs.append(counters["stats"]["unique_graphs"])
    return graphs


def main() -> None:
    """Trains twice from the same weights on the same batch."""
    eager, none = train(compiled=False)
    weights, graphs = train(compiled=True)
    start, _ = train(compiled=False)  # and eager steps repeat themselves
    furthest = max(float((weights[name] - eager[name]).abs().max()) for name in eager)
    noise = max(float((start[name] - eager[name]).abs().max()) for name in eager)
    found = {"eager": none, "compiled": graphs, "furthest": furthest, "noise": noise}
    sys.stdout.write(json.dumps({**found, "ramp": ramp()}) + "\n")


if __name__ == "__main__":
    main()
