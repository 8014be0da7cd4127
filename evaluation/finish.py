"""From the journals of an evaluation to its files: the result, the table, the examples."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from evaluation.config import EvaluationConfig
from evaluation.engine.journal import Found, read_example, read_journals
from evaluation.engine.stages import EvaluationAttack, Stage, attack_title, stages_of
from evaluation.examples import EXAMPLES, write_examples
from evaluation.per_image import ImageResult, results_of, write_images
from evaluation.progress import MISCLASSIFIED, ROBUST, refuse_mismatch
from evaluation.result import EvaluationResult
from evaluation.shard import EngineIdentity, attacks_for, identity_of
from evaluation.task import Task
from trainers.atomic import write_atomically
from trainers.config import config_hash

RESULT, IMAGES, TIMING = "result.json", "images.parquet", "timing.json"


def finish(
    task: Task, config: EvaluationConfig, *, state: Path, out: Path, device: torch.device
) -> EvaluationResult:
    """Writes `result.json`, `images.parquet`, `examples.npz` and `timing.json`; removes `state`.

    The files depend on the model, the images and the config alone; `timing.json` does not.

    Args:
        task: Its model is on `device`.

    Raises:
        ValueError: If an image is not decided yet.
    """
    attacks, found = attacks_for(config, task.trial), read_journals(state)
    stages = stages_of(attacks)
    results = results_of(found.clean.values(), stages, found.outcomes)
    if len(results) != len(task.images):
        raise ValueError(f"{len(task.images) - len(results)} images have not been looked at yet")
    result = _result(task, config, attacks, results, device=device)
    write_images(out / IMAGES, results)
    broken = [one for one in results if one.outcome not in (ROBUST, MISCLASSIFIED)][:EXAMPLES]
    shape = tuple(task.images.images.shape[1:])
    adversarial = {
        one.image: torch.from_numpy(
            read_example(state, one.image, _stage_of(one, found, stages), shape).copy()
        )
        for one in broken
    }
    robust = [one.image for one in results if one.outcome == ROBUST]
    write_examples(
        out / "examples.npz",
        task.model,
        task.images,
        adversarial=adversarial,
        robust=robust,
        device=device,
    )
    write_atomically(out / TIMING, json.dumps({"seconds": round(found.seconds, 1)}) + "\n")
    # Last, because a result that is there means that everything else is.
    write_atomically(out / RESULT, result.model_dump_json(indent=2) + "\n")
    shutil.rmtree(state, ignore_errors=True)
    return result


def read_finished(
    task: Task, config: EvaluationConfig, *, out: Path, device: str
) -> EvaluationResult | None:
    """Returns the finished result in `out`, if there is one.

    Raises:
        ValueError: If it is of another evaluation.
    """
    path = out / RESULT
    if not path.exists():
        return None
    result = EvaluationResult.model_validate_json(path.read_bytes())
    identity = identity_of(task, config, device=device)
    expected = _identifying(task, config, identity)
    refuse_mismatch(path, found=result.model_dump(mode="json"), expected=expected)
    return result


def _identifying(task: Task, config: EvaluationConfig, identity: EngineIdentity) -> dict[str, Any]:
    fields = identity.model_dump(mode="json")
    names = ("attack_package", "attacks", "model_hash", "data_hash", "threat", "precision", "seed")
    return {name: fields[name] for name in names} | {
        "attack": attack_title(config.version, config.attacks),
        "split": task.split,
        "config_hash": config_hash(task.trial),
    }


def _result(
    task: Task,
    config: EvaluationConfig,
    attacks: tuple[EvaluationAttack, ...],
    results: list[ImageResult],
    *,
    device: torch.device,
) -> EvaluationResult:
    identity = identity_of(task, config, device=str(device))
    count = Counter(one.outcome for one in results)
    fields = _identifying(task, config, identity) | {
        "schema_version": 2,
        "is_clean_correct": [one.outcome != MISCLASSIFIED for one in results],
        "is_robust": [one.outcome == ROBUST for one in results],
        "broken_by": {attack.name: count[attack.name] for attack in attacks},
        "largest_perturbation": max(one.norm for one in results),
    }
    return EvaluationResult.model_validate_json(json.dumps(fields))


def _stage_of(one: ImageResult, found: Found, stages: tuple[Stage, ...]) -> int:
    """Returns the number of the stage that broke an image."""
    return next(
        stage.number
        for stage in stages
        if (end := found.outcomes.get((one.image, stage.number))) and end.is_broken
    )
