"""What a training needs to know, as JSON text. Light: every driver and controller imports it."""

from evaluation.config import EarlyCheckConfig
from models.config import Config
from search.books.rungs import RungRace
from search.resources import WorkersConfig
from trainers.config import CheckpointsConfig, TrialConfig


class DriverPayload(Config):
    """What a driver needs, as JSON text."""

    key: str
    """Of the trial or full run."""
    run: str
    """Name of this session of it for Ray; no other has it."""
    trial: TrialConfig
    rungs: tuple[int, ...]
    early_check: EarlyCheckConfig
    race: RungRace | None
    """None: no decision hangs on a check, so that each sees all its images."""
    resources: WorkersConfig
    checkpoints: CheckpointsConfig
    checkpoint: str
    """Folder of the trial's checkpoints; absolute, on storage that every node sees."""
    clean_starts: str
    """Folder that the trials of a search share for clean-trained weights; absolute."""
    manifests: str
    """Folder that they share for the lists of their images; absolute."""
    clean_recipe: TrialConfig
    """How clean trainings go: the base of the search."""
    storage: str
    """Folder for Ray Train's own files; absolute."""
