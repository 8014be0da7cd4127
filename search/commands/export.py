"""`rampart export`: the weights of a checkpoint, for others."""

from pathlib import Path

from rich.console import Console

from models.config import Layout
from search.errors import UserError


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
