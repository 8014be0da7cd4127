"""What is done with a checkpoint: its reference evaluation, and its weights for others."""

from pathlib import Path
from typing import Any

from rich.console import Console

from evaluation.config import ReferenceConfig
from models.config import Layout
from search.commands import read_experiment
from search.errors import UserError
from search.folder import SearchFolder
from search.overrides import override_or_refuse
from trainers.config import TrialConfig, config_hash


def evaluate(checkpoint: Path, overrides: dict[str, Any], console: Console) -> None:
    """Runs the reference AutoAttack on the test split of a checkpoint's task."""
    import torch

    from evaluation.evaluate import evaluate_checkpoint
    from trainers.checkpoint import digest, find_checkpoint, load_model

    try:
        path = find_checkpoint(checkpoint).absolute()
        config, _ = load_model(path)
        reference = override_or_refuse(
            _reference(path, config), overrides, what="the reference evaluation"
        )
        out = path.parent / "evaluations" / f"{digest(path)}-{config_hash(reference)}"
        result = evaluate_checkpoint(
            path,
            reference,
            out,
            device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            on_batch=lambda done, total: console.print(f"attacked {done} of {total} images"),
        )
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    for accuracy in (result.clean, result.robust):
        low, high = accuracy.interval
        console.print(
            f"{accuracy.attack}: {accuracy.value:.4f} [{low:.4f}, {high:.4f}] n={accuracy.n}"
        )
    console.print(
        f"{result.threat.norm} eps={result.threat.eps:.6f}, {result.attack_package}\n"
        f"{out / 'result.json'}",
        soft_wrap=True,
    )


def export(checkpoint: Path, file: Path, layout: Layout, console: Console) -> None:
    """Writes the scored weights of a checkpoint for others to load."""
    from models.layouts import export_weights
    from trainers.checkpoint import load_model

    try:
        config, model = load_model(checkpoint)
        export_weights(model, file.absolute(), layout=layout, config=config.model)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    name = config.model.family if config.model.family != "timm" else config.model.name
    console.print(
        f"{file}: {name}, {config.data.resolution} px, {config.data.num_classes} classes, "
        f"model.normalize={config.model.normalize}",
        soft_wrap=True,
    )


def _reference(checkpoint: Path, config: TrialConfig) -> ReferenceConfig:
    """The settings of the search that the checkpoint lies in; outside one, all test images."""
    for parent in checkpoint.parents:
        if (parent / "config.yaml").is_file():
            return read_experiment(SearchFolder(root=parent)).reference
    images = config.data.test_images
    return ReferenceConfig(version="standard", images=images, batch_size=120, seed=0)
