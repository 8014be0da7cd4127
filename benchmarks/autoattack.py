"""Our engine against the reference package, on one model and the same images, in one run.

`python -m benchmarks.autoattack` trains the demo's base recipe on the embedded photographs, then
attacks the test images by `pyautoattack` as its users run it, and by shards of ours, one process
with one thread for each core. Prints the wall time of each part of version standard, the ratios,
and how many robust flags differ. Bars (issue 6): APGD-CE and APGD-T at most 0.7, all of it at most
0.85 on a CPU; at most 0.4 % of the flags differ in linf and l2, 1 % in l1; two shards at least 1.6
times as fast as one.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from evaluation.autoattack import SEQUENCES, build_package
from evaluation.config import EvaluationConfig, ReferenceConfig
from evaluation.engine.journal import read_journals
from evaluation.engine.stages import EvaluationAttack, Stage, stages_of, version_attacks
from evaluation.per_image import results_of
from evaluation.progress import ROBUST
from evaluation.shard import ShardPayload, identity_of, run_shard
from evaluation.task import Task
from search.load import load_experiment
from search.overrides import parse_overrides, with_overrides
from trainers.checkpoint import load_model, save_checkpoint
from trainers.config import TrialConfig
from trainers.data.load import load_held_out, load_train
from trainers.group import alone
from trainers.loop import fit
from trainers.threat import ThreatModel

CPU = torch.device("cpu")
DEMO = Path("search/configs/demo.yaml")
PARTS = {"apgd": ("apgd-ce", "apgd-t"), "fab-t": ("fab-t",), "square": ("square",)}
RADII = {"linf": 4 / 255, "l2": 0.5, "l1": 8.0}
"""At which the model keeps a part of its accuracy, for images of 32 pixels."""


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What one side found, and the wall time of each part in seconds."""

    is_robust: npt.NDArray[np.bool_]
    seconds: dict[str, float]


def train(trial: TrialConfig, folder: Path) -> Path:
    """Trains `trial` and saves its last state."""
    states = fit(
        trial,
        images=load_train(trial),
        rungs=(),
        evaluate=None,
        group=alone(CPU),
        resume=None,
        start=None,
    )
    *_, last = states
    save_checkpoint(folder, last)
    return folder


def by_package(task: Task, threat: ThreatModel, *, batch_size: int) -> Attacked:
    """Runs the package on all images at once, one attack of version standard after another."""
    x, y = task.images.floats(torch.arange(len(task.images))), task.images.labels
    config = ReferenceConfig(version="standard", images=len(y), batch_size=batch_size, seed=0)
    package = build_package(task.model, x, threat, config, CPU)
    with torch.no_grad():
        standing = torch.cat([task.model(part) for part in x.split(batch_size)]).argmax(1) == y
    seconds = dict.fromkeys(PARTS, 0.0)
    for name in SEQUENCES["standard"]:
        index = standing.nonzero().squeeze(1)
        package.attacks_to_run = [name]
        started = time.perf_counter()
        _, said = package.run_standard_evaluation(x[index], y[index], batch_size=batch_size)
        part = next(part for part, names in PARTS.items() if name in names)
        seconds[part] += time.perf_counter() - started
        standing[index[said != y[index]]] = False
    return Attacked(is_robust=standing.numpy(), seconds=seconds)


def by_engine(checkpoint: Path, task: Task, *, lanes: int, shards: int) -> Attacked:
    """Runs all shards, each in a process of its own.

    What a process spends on starting, importing and reading images is left out, as it is for the
    package. A part takes as long as it does in the slowest shard.
    """
    stages = stages_of(attacks_of(task))
    config = EvaluationConfig(
        protocol="trained",
        images=len(task.images),
        resolution=task.trial.data.resolution,
        version="standard",
        batch_size=lanes,
        precision="fp32",
        compile=False,
        seed=0,
    )
    with tempfile.TemporaryDirectory() as state:
        payloads = [
            ShardPayload(
                checkpoint=str(checkpoint),
                config=config,
                data="",
                identity=identity_of(task, config, device="cpu"),
                state=state,
                shard=shard,
                shards=shards,
                device="cpu",
                threads=1,
            )
            for shard in range(shards)
        ]
        with multiprocessing.get_context("spawn").Pool(shards) as pool:
            pool.map(run_one, [payload.model_dump_json() for payload in payloads], chunksize=1)
        found = read_journals(Path(state))
        times = [part_seconds(path, stages) for path in Path(state).glob("*.jsonl")]
    results = results_of(found.clean.values(), stages, found.outcomes)
    return Attacked(
        is_robust=np.array([one.outcome == ROBUST for one in results]),
        seconds={part: max(each[part] for each in times) for part in PARTS},
    )


def run_one(text: str) -> None:
    """Runs a shard; what `Pool` calls."""
    run_shard(ShardPayload.model_validate_json(text), lambda: None)


def part_seconds(journal: Path, stages: Sequence[Stage]) -> dict[str, float]:
    """Returns how long each part took in the process of a journal; parts follow each other."""
    part_of = {name: part for part, names in PARTS.items() for name in names}
    ends = dict.fromkeys(PARTS, 0.0)
    for line in map(json.loads, journal.read_bytes().splitlines()):
        if "outcome" in line:
            part = part_of[stages[line["outcome"]["stage"]].attack.name]
            ends[part] = max(ends[part], line["seconds"])
    seconds: dict[str, float] = {}
    latest = 0.0
    for part, end in ends.items():
        seconds[part] = max(end - latest, 0.0)
        latest = max(latest, end)
    return seconds


def attacks_of(task: Task) -> tuple[EvaluationAttack, ...]:
    """Returns the attacks of version standard."""
    classes = task.trial.data.num_classes
    return version_attacks("standard", task.threat.norm, num_classes=classes)


def load(checkpoint: Path, images: int) -> Task:
    """Reads the model and its first test images."""
    trial, model = load_model(checkpoint)
    return Task(
        trial=trial,
        model=model.eval(),
        images=load_held_out(trial.data, "test", threads=1).first(images),
        threat=trial.threat,
        split="test",
    )


def compare(task: Task, checkpoint: Path, *, batch_size: int, lanes: int, cores: int) -> Table:
    """Attacks by both sides and by one shard alone, and returns a row for each part."""
    theirs = by_package(task, task.threat, batch_size=batch_size)
    ours = by_engine(checkpoint, task, lanes=lanes, shards=cores)
    alone_ = by_engine(checkpoint, task, lanes=lanes, shards=1)
    assert np.array_equal(ours.is_robust, alone_.is_robust)
    n, differing = len(ours.is_robust), int((ours.is_robust != theirs.is_robust).sum())
    table = Table(
        title=f"{task.threat.norm} eps={task.threat.eps:.4g}, n={n}: robust "
        f"{ours.is_robust.mean():.2%}, package {theirs.is_robust.mean():.2%}, {differing} flags "
        f"differ ({differing / n:.2%})"
    )
    for header in ("part", "package, s", f"{cores} shards, s", "ratio", "1 shard, s", "1 / shards"):
        table.add_column(header, justify="right")
    total = sum(theirs.seconds.values())
    rows = [(part, *(side.seconds[part] for side in (theirs, ours, alone_))) for part in PARTS]
    rows.append(("all", *(sum(side.seconds.values()) for side in (theirs, ours, alone_))))
    for part, package, engine, single in rows:
        table.add_row(
            f"{part} ({package / total:.0%} of the package's)",
            f"{package:.1f}",
            f"{engine:.1f}",
            f"{engine / package:.2f}",
            f"{single:.1f}",
            f"{single / engine:.2f}",
        )
    return table


def main() -> None:
    """Trains a model for each norm, attacks it and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--norms", default="linf,l2,l1")
    parser.add_argument("--images", type=int, default=240, help="of the test split")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64, help="of the package")
    parser.add_argument("--lanes", type=int, default=64, help="batch size of each of our shards")
    parser.add_argument("overrides", nargs="*", metavar="dotted.path=value", help="of the trial")
    options = parser.parse_args()
    demo, console = load_experiment(DEMO, {}).base, Console(width=120)
    cores = len(os.sched_getaffinity(0))
    for norm in options.norms.split(","):
        changes = {"threat": {"norm": norm, "eps": RADII[norm]}, "epochs": options.epochs}
        changes |= {"data.test_images": options.images} | parse_overrides(options.overrides)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = train(with_overrides(demo, changes), Path(folder) / "model")
            task = load(checkpoint, options.images)
            console.print(
                compare(
                    task,
                    checkpoint,
                    batch_size=options.batch_size,
                    lanes=options.lanes,
                    cores=cores,
                )
            )


if __name__ == "__main__":
    main()
