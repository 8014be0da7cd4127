"""One run without a search: what its YAML file says, and where its folder keeps what."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from evaluation.config import EarlyCheckConfig
from evaluation.diagnosis_config import DiagnosisConfig
from models.config import Config
from search.live.log_targets import LogTarget
from search.resources import WorkersConfig, check_workers
from trainers.config import CheckpointsConfig, TrialConfig


class TrainingConfig(Config):
    """One run: a trial, how it is validated, and what it holds and keeps."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Folder of the run under `runs_dir`."""
    runs_dir: str
    """Relative paths start at the working directory; on a cluster, storage that every node sees."""
    trial: TrialConfig
    validation: EarlyCheckConfig
    """After every epoch, on the select split; the best epoch by it keeps its checkpoint."""
    diagnosis: DiagnosisConfig
    """When the curve of its validation is flagged; here nothing ends training."""
    resources: WorkersConfig
    checkpoints: CheckpointsConfig
    log_to: tuple[LogTarget, ...]
    """Beside metrics.csv and metrics.parquet, which are always written."""

    @model_validator(mode="after")
    def _trial_can_run(self) -> "TrainingConfig":
        check_workers(self.trial, self.resources)
        select = self.trial.data.select_images
        if self.validation.images > select:
            raise ValueError(
                f"validation.images ({self.validation.images}) must not exceed "
                f"trial.data.select_images ({select})"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class TrainingFolder:
    """Paths of one run; `root` is absolute."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved `TrainingConfig`."""
        return self.root / "run.yaml"

    @property
    def checkpoints(self) -> Path:
        """See `trainers/checkpoint.py`."""
        return self.root / "checkpoint"

    @property
    def clean_start(self) -> Path:
        """The clean training before it, if there is one."""
        return self.root / "clean"

    @property
    def manifests(self) -> Path:
        """Which images it trains on and is validated on."""
        return self.root / "manifests"

    @property
    def progress(self) -> Path:
        """What its workers reported last, as JSON."""
        return self.root / "progress.json"

    @property
    def ray(self) -> Path:
        """Files of Ray's own; nothing here is read again."""
        return self.root / ".ray"
