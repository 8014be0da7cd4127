"""`rampart analyse CHECKPOINT KIND`: one analysis of a checkpoint, with its files and a picture."""

from pathlib import Path
from typing import Any

from rich.console import Console

from evaluation.analyses.config import KINDS, SemanticsConfig, TransferConfig, timm_judge
from evaluation.analyses.defaults import default_config
from models.config import Config
from search.errors import UserError, did_you_mean
from search.overrides import override_or_refuse

PICTURE = "picture.png"


def analyse(checkpoint: Path, kind: str, overrides: dict[str, Any], console: Console) -> None:
    """Runs one analysis, or shows its finished result; draws the picture where it is missing.

    Raises:
        UserError: If there is no such kind, checkpoint or field, or if the kind refuses the models,
            the images or the settings.
    """
    if kind not in KINDS:
        raise UserError(
            f"an analysis must be one of {', '.join(KINDS)}, got {kind!r}"
            f"{did_you_mean(kind, list(KINDS))}"
        )
    try:
        _analyse(checkpoint, kind, overrides, console)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def _analyse(checkpoint: Path, kind: str, overrides: dict[str, Any], console: Console) -> None:
    import torch

    from evaluation.analyses.analyse import RESULT, analyse, read_arrays
    from evaluation.analyses.subject import checkpoints_of, load_subject, models_digest
    from search.analysis.pictures import analysis_figure
    from search.analysis.tables import analysis_table
    from search.report.pictures import save_picture
    from trainers.checkpoint import read_checkpoint
    from trainers.config import config_hash

    paths = checkpoints_of(kind, checkpoint)
    trial = read_checkpoint(paths[0]).config
    config = _absolute(
        override_or_refuse(default_config(kind, trial), overrides, what=f"the analysis {kind}")
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = load_subject(paths, config, device=device)
    folder = f"{kind}-{models_digest(loaded.models)}-{config_hash(config)}"
    out = paths[0].parent / "analyses" / folder
    result = analyse(kind, loaded, config, out, report=lambda line: _print(console, line))
    if not (out / PICTURE).exists():
        classes = trial.data.class_names
        save_picture(analysis_figure(result, read_arrays(out), classes=classes), out / PICTURE)
    console.print(analysis_table(result))
    for file in (RESULT, PICTURE):
        _print(console, str(out / file))


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def _absolute(config: Config) -> Config:
    """Returns `config` with the paths of other models made absolute."""
    match config:
        case TransferConfig():
            paths = tuple(str(Path(path).absolute()) for path in config.others)
            return config.model_copy(update={"others": paths})
        case SemanticsConfig():
            judges = tuple(_absolute_judge(judge) for judge in config.judges)
            return config.model_copy(update={"judges": judges})
        case _:
            return config


def _absolute_judge(judge: str) -> str:
    named = timm_judge(judge)
    return f"{named[0]}:{named[1].absolute()}" if named else str(Path(judge).absolute())
