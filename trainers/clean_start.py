"""Clean training before a trial, once for all trials that would train the same.

The published models of Singh et al. 2023 (arXiv:2303.01870) begin from clean-trained weights. How
the clean training goes is the search's to say, not the trial's, so that trials of one model share
it whatever recipe they try.
"""

from collections.abc import Callable
from pathlib import Path

from models.clean_start import clean_start_key
from trainers.checkpoint import CleanStart, prune, save_checkpoint
from trainers.config import TrialConfig
from trainers.data.load import Images
from trainers.group import Group
from trainers.loop import fit
from trainers.saving import load_together
from trainers.stop import Request, StoppedError


def clean_start(
    config: TrialConfig,
    folder: Path,
    *,
    recipe: TrialConfig,
    load: Callable[[TrialConfig], Images],
    group: Group,
    ask: Callable[[], Request],
) -> CleanStart:
    """Returns the weights after `config.weights.clean_epochs` epochs without an attack.

    They lie in `folder/KEY`, with a checkpoint after each epoch; what is there is not trained
    again. Trials that begin at the same moment both train them, to the same weights.

    Args:
        recipe: Whose optimiser, augmentation and batch are used.
        load: Opens the train images as a config asks; the trial's own crops would be other ones.
        group, ask: As for `fit`.

    Raises:
        FloatingPointError: If the loss is not finite.
        StoppedError: If it was asked to stop.
        ValueError: If the checkpoint is damaged.
    """
    clean = clean_config(config, recipe=recipe)
    images = load(clean)
    place = folder / _key(clean, images)
    state = load_together(place, clean, group)
    before = 0 if state is None else state.epoch
    if state is None or before < clean.epochs:
        states = fit(
            clean,
            images=images,
            rungs=(),
            evaluate=None,
            group=group,
            resume=state,
            start=None,
            ask=ask,
        )
        for state in states:
            if group.rank == 0:
                save_checkpoint(place, state)
                prune(place, keep=1)
    assert state is not None
    if state.epoch < clean.epochs:
        raise StoppedError(f"stopped in the clean training, after epoch {state.epoch}")
    mine = [epoch.seconds for epoch in state.progress.history if epoch.epoch > before]
    return CleanStart(model=state.model, seconds=sum(mine, 0.0))


def clean_config(config: TrialConfig, *, recipe: TrialConfig) -> TrialConfig:
    """Returns the clean training of the model and the data of `config` by `recipe`.

    What only an attack reads has one value, so that it does not tell trainings apart.
    """
    tree = recipe.model_dump(mode="json")
    mine = config.model_dump(mode="json", include={"data", "model", "compute"})
    constant = {"shape": "constant", "start": 1.0, "delay": 0.0, "ramp": 0.0}
    attack = {
        "name": "pgd",
        "steps": 1,
        "reach": 1.0,
        "noise": 0.0,
        "project": True,
        "loss": "ce",
        "target": "none",
        "fraction": 0.0,
        "also": [],
        "union": "max",
    }
    return TrialConfig.model_validate(
        {
            **tree,
            **mine,
            "attack": attack,
            "objective": {"name": "at", "beta": 0.0},
            "eps_schedule": constant,
            "steps_schedule": constant,
            "weights": {**tree["weights"], "clean_epochs": 0},
            "freeze": "none",
            "non_finite": "stop",
            "ema_horizon": 0.0,
            "epochs": config.weights.clean_epochs,
        }
    )


def _key(clean: TrialConfig, images: Images) -> str:
    tree = clean.model_dump(mode="json")
    data = {"images": images.hash, **tree.pop("data")}
    model = tree.pop("model")
    rates = {name: model[name] for name in ("drop_path", "head_dropout")}
    return clean_start_key(clean.model, data=data, recipe={**tree, **rates})
