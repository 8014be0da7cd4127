"""From a checkpoint to `result.json`: the number that is published, and its evidence.

`out/` holds `result.json`, `examples.npz` and, while work is going on, `result.partial.json`.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from evaluation.autoattack import ATTACKS, reference_autoattack, reference_identity
from evaluation.config import ReferenceConfig
from evaluation.examples import write_examples
from evaluation.progress import ReferenceIdentity, ReferenceProgress, refuse_mismatch
from evaluation.result import EvaluationResult
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
    model.to(device)
    images = _test_images(trial, config)
    identity = reference_identity(model, images, trial.threat, config)
    if (out / "result.json").exists():
        (out / "result.partial.json").unlink(missing_ok=True)  # killed just before its removal
        return _read_finished(out / "result.json", identity, trial)
    out.mkdir(parents=True, exist_ok=True)
    return _evaluate(model, images, trial, config, out, device, on_batch)


def _test_images(trial: TrialConfig, config: ReferenceConfig) -> ImageSet:
    if config.images > trial.data.test_images:
        raise ValueError(
            f"images ({config.images}) must not exceed the checkpoint's data.test_images "
            f"({trial.data.test_images}); ask for fewer images, or train with a larger test split"
        )
    return load_held_out(trial.data, "test", threads=torch.get_num_threads()).first(config.images)


def _evaluate(
    model: nn.Module,
    images: ImageSet,
    trial: TrialConfig,
    config: ReferenceConfig,
    out: Path,
    device: torch.device,
    on_batch: Callable[[int, int], None],
) -> EvaluationResult:
    partial = out / "result.partial.json"
    progress = reference_autoattack(
        model, images, trial.threat, config, partial=partial, device=device, on_batch=on_batch
    )
    result = _result_of(progress, trial)
    write_examples(out / "examples.npz", model, images, progress, device=device)
    # Last, because a result that is there means that everything else is.
    write_atomically(out / "result.json", (result.model_dump_json(indent=2) + "\n").encode())
    partial.unlink()
    return result


def _result_of(progress: ReferenceProgress, trial: TrialConfig) -> EvaluationResult:
    identity = progress.identity
    return EvaluationResult(
        schema_version=1,
        attack=_attack_name(identity.config),
        attack_package=identity.attack_package,
        threat=identity.threat,
        split="test",
        data_hash=identity.data_hash,
        model_hash=identity.model_hash,
        config_hash=config_hash(trial),
        seed=identity.config.seed,
        is_clean_correct=progress.is_clean_correct,
        is_robust=progress.is_robust,
        broken_by={name: progress.outcomes.count(name) for name in ATTACKS},
        largest_perturbation=max(progress.perturbations),
        seconds=progress.seconds,
    )


def _attack_name(config: ReferenceConfig) -> str:
    return f"autoattack-{config.version}"


def _read_finished(path: Path, identity: ReferenceIdentity, trial: TrialConfig) -> EvaluationResult:
    """Returns the result at `path` if it answers the same question; batch size is not asked."""
    result = EvaluationResult.model_validate_json(path.read_bytes())
    expected = {
        "attack": _attack_name(identity.config),
        "attack_package": identity.attack_package,
        "threat": identity.threat.model_dump(mode="json"),
        "data_hash": identity.data_hash,
        "model_hash": identity.model_hash,
        "config_hash": config_hash(trial),
        "seed": identity.config.seed,
    }
    refuse_mismatch(path, found=result.model_dump(mode="json"), expected=expected)
    return result
