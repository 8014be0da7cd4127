"""`rampart evaluate`: a checkpoint under a protocol, by our engine or by the reference package."""

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from evaluation.config import EvaluationConfig, ReferenceConfig
from evaluation.result import EvaluationResult
from search.commands.searches import read_experiment
from search.errors import UserError
from search.folder import SearchFolder
from search.lock import locked
from search.overrides import override_or_refuse, parse_overrides
from search.resources import WorkersConfig
from trainers.config import TrialConfig, config_hash

if TYPE_CHECKING:
    import torch

    from evaluation.shard import ShardPayload
    from evaluation.task import Task

SECONDS_BETWEEN_LINES = 10.0
SHARD = WorkersConfig(
    workers=1, min_workers=1, cpus_per_worker=1, gpus_per_worker=0, worker_restarts=0
)
"""What each shard holds, besides a GPU where there are some."""


def evaluate(arguments: argparse.Namespace, console: Console) -> None:
    """Evaluates a checkpoint; a call that was interrupted goes on, a finished one is shown.

    Args:
        arguments: `checkpoint`, `protocol`, `engine`, `shards` (0: one for each device or core),
            `address`, `data` and `overrides`.

    Raises:
        UserError: For whatever the user can do about.
    """
    import torch

    from evaluation.task import load_task
    from trainers.checkpoint import digest, find_checkpoint, read_checkpoint

    overrides = parse_overrides(arguments.overrides)
    try:
        path = find_checkpoint(Path(arguments.checkpoint)).absolute()
        trial = read_checkpoint(path).config
        config = override_or_refuse(
            _defaults(path, trial, arguments.protocol), overrides, what="the evaluation"
        )
        _check_engine(config, trial, arguments)
        task = load_task(path, config, data=arguments.data, threads=torch.get_num_threads())
        out = path.parent / "evaluations" / f"{digest(path)}-{_key(config, arguments.engine)}"
        if not (out / "result.json").exists():
            _check(task, config, console)
        out.mkdir(parents=True, exist_ok=True)
        with locked(out, again="the same command"):
            if arguments.engine == "pyautoattack":
                result = _by_package(task, config, out, console)
            else:
                result = _by_engine(path, task, config, out, arguments, console)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    _show(result, out, console)


def _key(config: EvaluationConfig, engine: str) -> str:
    """Names what decides the outcome: the batch size only does in the package."""
    if engine == "rampart":
        config = config.model_copy(update={"batch_size": 1})
    return f"{config_hash(config)}-{engine}"


def _defaults(checkpoint: Path, trial: TrialConfig, protocol: str) -> EvaluationConfig:
    """What is evaluated where the command line says nothing: all images, or the search's."""
    import torch

    from evaluation.protocols import TRAINED, named_protocol

    known = named_protocol(
        protocol, trained_threat=trial.threat, test_images=trial.data.test_images
    )
    images, seed, batch_size = known.n, 0, 256 if torch.cuda.is_available() else 64
    for parent in checkpoint.parents:
        folder = SearchFolder(root=parent.parent)
        is_of_search = parent.name in (folder.trials.name, folder.promoted.name)
        if is_of_search and folder.config.is_file() and protocol == TRAINED:
            reference = read_experiment(folder).reference
            images, seed = reference.images, reference.seed
            break
    return EvaluationConfig(
        protocol=protocol,
        images=images,
        resolution=trial.data.resolution,
        version=known.version,
        batch_size=batch_size,
        precision="fp32",
        compile=False,
        seed=seed,
    )


def _check_engine(
    config: EvaluationConfig, trial: TrialConfig, arguments: argparse.Namespace
) -> None:
    """Raises UserError or ValueError for what the engine cannot do."""
    from evaluation.shard import attacks_for

    if arguments.shards < 0:
        raise UserError(
            f"--shards must be at least 1, or 0 for one for each GPU or core, got "
            f"{arguments.shards}"
        )
    if arguments.engine == "rampart":
        attacks_for(config, trial)  # refuses those that it does not run
        return
    is_shared = arguments.shards > 1 or arguments.address is not None
    if is_shared or config.precision != "fp32" or config.compile:
        raise UserError(
            "the package runs in one process, in float32 and without compilation; leave --shards, "
            "--address, precision and compile out, or take --engine rampart"
        )


def _check(task: "Task", config: EvaluationConfig, console: Console) -> None:
    """Refuses what no attack should begin with, and prints warnings."""
    from evaluation.shard import check_task

    device = _device()
    task.model.to(device)
    for warning in check_task(task, config, device=device):
        console.print(f"warning: {warning}", soft_wrap=True)


def _by_package(
    task: "Task", config: EvaluationConfig, out: Path, console: Console
) -> EvaluationResult:
    from evaluation.evaluate import evaluate_task

    reference = ReferenceConfig(
        version=config.version,
        attacks=config.attacks,
        images=config.images,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    return evaluate_task(
        task,
        reference,
        out,
        device=_device(),
        on_batch=lambda done, total: console.print(f"attacked {done} of {total} images"),
    )


def _by_engine(
    checkpoint: Path,
    task: "Task",
    config: EvaluationConfig,
    out: Path,
    arguments: argparse.Namespace,
    console: Console,
) -> EvaluationResult:
    import torch

    from evaluation.finish import finish, read_finished
    from evaluation.shard import ShardPayload, claim_state, identity_of, run_shard

    state, device = out / "state", _device()
    if finished := read_finished(task, config, out=out, device=device.type):
        shutil.rmtree(state, ignore_errors=True)  # killed just before its removal
        return finished

    def payloads(shards: int, device: str) -> list[ShardPayload]:
        identity = identity_of(task, config, device=device)
        claim_state(state, identity)
        return [
            ShardPayload(
                checkpoint=str(checkpoint),
                config=config,
                data=arguments.data and str(Path(arguments.data).absolute()),
                identity=identity,
                state=str(state),
                shard=shard,
                shards=shards,
                device=device,
                threads=1,
            )
            for shard in range(shards)
        ]

    progress = _Progress(task.trial, config, state, console)
    if arguments.shards == 1 and arguments.address is None:
        run_shard(payloads(1, device.type)[0], progress.tell)
    else:
        _on_ray(payloads, config.images, arguments, progress)
    torch.set_num_threads(1)  # as the shards: the examples are shown to the model again
    return finish(task, config, state=state, out=out, device=device)


def _on_ray(
    payloads: Callable[[int, str], list["ShardPayload"]],
    images: int,
    arguments: argparse.Namespace,
    progress: "_Progress",
) -> None:
    """Runs a shard for each GPU of the cluster or, where it has none, for each core."""
    from search.cluster.connect import connected
    from search.cluster.shards import capacity, run_shards

    with connected(arguments.address, SHARD, concurrent=1):
        device, most = capacity()
        shards = arguments.shards or min(most, images)
        resources = SHARD.model_copy(update={"gpus_per_worker": float(device == "cuda")})
        run_shards(payloads(shards, device), resources, on_poll=progress.tell)


class _Progress:
    """Tells every now and then how far an evaluation has come, from its journals."""

    def __init__(
        self, trial: TrialConfig, config: EvaluationConfig, state: Path, console: Console
    ) -> None:
        from evaluation.engine.stages import stages_of
        from evaluation.shard import attacks_for

        attacks = attacks_for(config, trial)
        self._stages = stages_of(attacks)
        self._images = config.images
        self._state = state
        self._console = console
        self._started = self._told = time.monotonic()
        self._before = self._estimate().done

    def tell(self) -> None:
        """Prints a line, if the last one is some seconds old."""
        now = time.monotonic()
        if now - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told = now
        done = self._estimate()
        left = done.seconds_left(now - self._started, done_before=self._before)
        eta = f", about {left / 60:.0f} min left" if left == left else ""
        self._console.print(
            f"{done.decided} of {done.images} images decided, {done.standing} robust so far, "
            f"{done.share:.0%} of the work{eta}",
            soft_wrap=True,
        )

    def _estimate(self) -> Any:
        from evaluation.engine.journal import read_journals
        from evaluation.progress_estimate import estimate

        return estimate(read_journals(self._state), self._stages, images=self._images)


def _device() -> "torch.device":
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _show(result: EvaluationResult, out: Path, console: Console) -> None:
    for accuracy in (result.clean, result.robust):
        low, high = accuracy.interval
        console.print(
            f"{accuracy.attack}: {accuracy.value:.4f} [{low:.4f}, {high:.4f}] n={accuracy.n}"
        )
    broken = ", ".join(f"{name} {count}" for name, count in result.broken_by.items())
    console.print(
        f"broken first by: {broken}\n"
        f"{result.threat.norm} eps={result.threat.eps:.6f}, {result.split} images, "
        f"{result.attack_package}\n{out / 'result.json'}",
        soft_wrap=True,
    )
