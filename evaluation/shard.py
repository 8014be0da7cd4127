"""One shard of an evaluation: every k-th image, attacked by one process, told to the journals."""

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from evaluation.config import EvaluationConfig
from evaluation.engine.clean import Clean
from evaluation.engine.engine import Engine, Outcome, SearchConfig
from evaluation.engine.journal import Found, Journal, read_journals
from evaluation.engine.stages import EvaluationAttack, Stage, stages_of, version_attacks
from evaluation.memory import keep_freed_memory
from evaluation.model_check import check_inputs
from evaluation.per_image import is_decided
from evaluation.progress import refuse_mismatch
from evaluation.task import Task, load_task, protocol_of
from evaluation.weights import model_hash
from models.config import Config
from trainers.atomic import write_atomically
from trainers.config import TrialConfig
from trainers.threat import ThreatModel

CHECKED = 128
"""Images on which inputs and outputs of the model are checked before anything is attacked."""
IDENTITY = "identity.json"


class EngineIdentity(Config):
    """All that decides the outcome; what was found under another identity is not continued."""

    attack_package: str
    model_hash: str
    data_hash: str
    threat: ThreatModel
    attacks: tuple[EvaluationAttack, ...]
    precision: str
    compile: bool
    device: str
    seed: int


class ShardPayload(Config):
    """What the process of a shard needs, as JSON text."""

    checkpoint: str
    config: EvaluationConfig
    data: str
    """As `load_task` takes it."""
    identity: EngineIdentity
    """Of the whole evaluation, as who started it sees it."""
    state: str
    """Folder of the journals; absolute, on storage that every node sees."""
    shard: int
    """From 0; it takes every image whose place is `shard` modulo `shards`."""
    shards: int
    device: str
    threads: int
    """Of the process. With one, a CPU's sums do not depend on how many shards there are."""


def run_shard(payload: ShardPayload, on_write: Callable[[], None]) -> None:
    """Attacks what is missing of a shard's images.

    Args:
        on_write: Called after each line of the journal.

    Raises:
        ValueError: If the journals or the checkpoint are of another evaluation.
        RuntimeError: If an attack leaves the ball or the box.
    """
    torch.set_num_threads(payload.threads)
    keep_freed_memory()
    mine_of_all = slice(payload.shard, None, payload.shards)
    task = load_task(
        Path(payload.checkpoint),
        payload.config,
        data=payload.data,
        threads=payload.threads,
        part=mine_of_all,
    )
    state, device = Path(payload.state), torch.device(payload.device)
    here = payload.identity.model_copy(update={"model_hash": model_hash(task.model)})
    claim_state(state, here)
    task.model.to(device)
    found, stages = read_journals(state), stages_of(attacks_for(payload.config, task.trial))
    numbers = range(payload.config.images)[mine_of_all]
    mine = [
        image
        for image in numbers
        if image not in found.clean or not is_decided(found.clean[image], stages, found.outcomes)
    ]
    if mine:
        search = SearchConfig(
            batch_size=payload.config.batch_size,
            precision=payload.config.precision,
            compile=payload.config.compile,
            seed=payload.config.seed,
        )
        engine = Engine(
            task.model, task.images, task.threat, search, numbers=numbers, device=device
        )
        _attack(engine, stages, found, mine, state, on_write)


def attacks_for(config: EvaluationConfig, trial: TrialConfig) -> tuple[EvaluationAttack, ...]:
    """Returns the attacks of `config.version`, in order.

    Raises:
        ValueError: If they are not ours.
    """
    if config.version == "custom":
        return config.attacks
    if config.version == "plus":
        raise ValueError(
            "version plus has untargeted FAB, which this engine does not run; take --engine "
            "pyautoattack, or another version"
        )
    norm = protocol_of(config, trial).threat.norm
    return version_attacks(config.version, norm, num_classes=trial.data.num_classes)


def identity_of(task: Task, config: EvaluationConfig, *, device: str) -> EngineIdentity:
    """Returns what ties an evaluation to its files."""
    return EngineIdentity(
        attack_package=f"rampart {version('rampart')}",
        model_hash=model_hash(task.model),
        data_hash=task.images.hash,
        threat=task.threat,
        attacks=attacks_for(config, task.trial),
        precision=config.precision,
        compile=config.compile,
        device=torch.device(device).type,
        seed=config.seed,
    )


def check_task(task: Task, config: EvaluationConfig, *, device: torch.device) -> tuple[str, ...]:
    """Checks a sample of what will be attacked; returns warnings, raises ValueError."""
    sample = torch.arange(min(len(task.images), CHECKED))
    return check_inputs(
        task.model,
        task.images.floats(sample).to(device),
        task.images.labels[sample].to(device),
        task.threat,
        num_classes=task.trial.data.num_classes,
        # Those of a version of AutoAttack are as many as there are classes for.
        targets=max((attack.targets for attack in config.attacks), default=0),
    )


def claim_state(state: Path, identity: EngineIdentity) -> None:
    """Writes the identity into an empty folder, or compares it with the one that is there.

    Raises:
        ValueError: If the folder is of another evaluation.
    """
    path = state / IDENTITY
    if not path.exists():
        write_atomically(path, identity.model_dump_json(indent=2) + "\n")
        return
    there = EngineIdentity.model_validate_json(path.read_bytes())
    found, expected = (one.model_dump(mode="json") for one in (there, identity))
    refuse_mismatch(path, found=found, expected=expected)


def _attack(
    engine: Engine,
    stages: tuple[Stage, ...],
    found: Found,
    mine: list[int],
    state: Path,
    on_write: Callable[[], None],
) -> None:
    started, journal = time.perf_counter(), Journal(state)

    def write(what: Clean | Outcome, x_adv: Tensor | None) -> None:
        journal.write(what, x_adv, seconds=time.perf_counter() - started)
        on_write()

    try:
        new = [image for image in mine if image not in found.clean]
        fresh = engine.look(new, targets=max(stage.rank for stage in stages))
        for one in fresh:
            write(one, None)
        known = [found.clean[image] for image in mine if image in found.clean]
        engine.attack(known + fresh, stages, known=found.known, on_outcome=write)
    finally:
        journal.close()
