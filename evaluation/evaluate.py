"""From a checkpoint to `result.json`: the number that is published, and its evidence.

`out/` holds `result.json`, `examples.npz`, `timing.json` and, while work is going on,
`result.partial.json`.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from evaluation.autoattack import reference_autoattack, reference_identity, sequence_of
from evaluation.config import ReferenceConfig
from evaluation.engine.stages import EvaluationAttack, attack_title, version_attacks
from evaluation.examples import write_examples
from evaluation.progress import ReferenceIdentity, ReferenceProgress, refuse_mismatch
from evaluation.result import EvaluationResult
from evaluation.task import Task
from trainers.atomic import write_atomically
from trainers.checkpoint import load_model
from trainers.config import TrialConfig, config_hash
from trainers.data.images import ImageSet
from trainers.data.load import load_held_out


def evaluate_checkpoint(
    checkpoint: Path,
    config: ReferenceConfig,
    out: Path,
    *,
    device: torch.device,
    on_batch: Callable[[int, int], None],
) -> EvaluationResult:
    """Runs the reference on the test split; a second call returns the finished result.

    Args:
        checkpoint: What `trainers.checkpoint.load_model` reads.
        out: Created if absent. A killed evaluation goes on from what it finds there.
        on_batch: Told (images finished, images in all) after each batch.

    Raises:
        ValueError: If the test split is smaller than `config.images`, or `out` holds another
            evaluation.
    """
    trial, model = load_model(checkpoint)
    task = Task(
        trial=trial,
        model=model,
        images=_test_images(trial, config),
        threat=trial.threat,
        split="test",
    )
    return evaluate_task(task, config, out, device=device, on_batch=on_batch)


def evaluate_task(
    task: Task,
    config: ReferenceConfig,
    out: Path,
    *,
    device: torch.device,
    on_batch: Callable[[int, int], None],
) -> EvaluationResult:
    """Does the work of `evaluate_checkpoint` for any model, threat and images."""
    task.model.to(device)
    images = task.images.first(config.images)
    identity = reference_identity(task.model, images, task.threat, config)
    if (out / "result.json").exists():
        (out / "result.partial.json").unlink(missing_ok=True)  # killed just before its removal
        return _read_finished(out / "result.json", identity, task)
    out.mkdir(parents=True, exist_ok=True)
    return _evaluate(task, images, config, out, device, on_batch)


def _test_images(trial: TrialConfig, config: ReferenceConfig) -> ImageSet:
    if config.images > trial.data.test_images:
        raise ValueError(
            f"images ({config.images}) must not exceed the checkpoint's data.test_images "
            f"({trial.data.test_images}); ask for fewer images, or train with a larger test split"
        )
    return load_held_out(trial.data, "test", threads=torch.get_num_threads()).first(config.images)


def _evaluate(
    task: Task,
    images: ImageSet,
    config: ReferenceConfig,
    out: Path,
    device: torch.device,
    on_batch: Callable[[int, int], None],
) -> EvaluationResult:
    partial = out / "result.partial.json"
    progress = reference_autoattack(
        task.model, images, task.threat, config, partial=partial, device=device, on_batch=on_batch
    )
    result = _result_of(progress, task)
    write_examples(
        out / "examples.npz",
        task.model,
        images,
        adversarial={example.index: example.x_adv for example in progress.examples},
        robust=[i for i, is_robust in enumerate(progress.is_robust) if is_robust],
        device=device,
    )
    timing = {"seconds": round(progress.seconds, 1)}
    write_atomically(out / "timing.json", json.dumps(timing) + "\n")
    # Last, because a result that is there means that everything else is.
    write_atomically(out / "result.json", result.model_dump_json(indent=2) + "\n")
    partial.unlink()
    return result


def _result_of(progress: ReferenceProgress, task: Task) -> EvaluationResult:
    identity = progress.identity
    fields = {
        "schema_version": 2,
        "attacks": _attacks(identity.config, task),
        "precision": "fp32",
        "attack": _attack_name(identity.config),
        "attack_package": identity.attack_package,
        "threat": identity.threat,
        "split": task.split,
        "data_hash": identity.data_hash,
        "model_hash": identity.model_hash,
        "config_hash": config_hash(task.trial),
        "seed": identity.config.seed,
        "is_clean_correct": progress.is_clean_correct,
        "is_robust": progress.is_robust,
        "broken_by": {name: progress.outcomes.count(name) for name in sequence_of(identity.config)},
        "largest_perturbation": max(progress.perturbations),
    }
    return EvaluationResult.model_validate(fields)


def _attacks(config: ReferenceConfig, task: Task) -> tuple[EvaluationAttack, ...]:
    """Returns the attacks in our words; those of version plus have none for untargeted FAB."""
    if config.version in ("custom", "plus"):
        return config.attacks
    classes = task.trial.data.num_classes
    return version_attacks(config.version, task.threat.norm, num_classes=classes)


def _attack_name(config: ReferenceConfig) -> str:
    return attack_title(config.version, config.attacks)


def _read_finished(path: Path, identity: ReferenceIdentity, task: Task) -> EvaluationResult:
    """Returns the result at `path` if it answers the same question; batch size is not asked."""
    result = EvaluationResult.model_validate_json(path.read_bytes())
    expected = {
        "attack": _attack_name(identity.config),
        "attack_package": identity.attack_package,
        "threat": identity.threat.model_dump(mode="json"),
        "data_hash": identity.data_hash,
        "model_hash": identity.model_hash,
        "config_hash": config_hash(task.trial),
        "seed": identity.config.seed,
    }
    refuse_mismatch(path, found=result.model_dump(mode="json"), expected=expected)
    return result
