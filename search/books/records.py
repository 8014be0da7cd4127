"""What is known of a trial: one JSON file per trial, replaced atomically after every report."""

from pathlib import Path
from typing import Any, Literal

from evaluation.diagnoses import Diagnosis
from evaluation.result import EvaluationResult
from models.config import Config
from trainers.atomic import write_atomically
from trainers.config import TrialConfig
from trainers.metrics import Check, Progress

Status = Literal["running", "paused", "completed", "stopped", "diagnosed", "failed"]
"""running: not told to the study yet. paused: it may go on, from its checkpoint. completed: trained
to its last epoch. stopped: over at a rung, after a lost race, or for want of time. diagnosed: ended
by a failure that its curve shows. failed: see `reason`."""


class RungTraining(Config):
    """A training of its own on a rung below (`ladder.kind: ladder`)."""

    rung: int
    """Epochs of the rung."""
    epochs_before: int
    """Epochs whose weights it began with."""
    owner: str = ""
    """Key of the trial that trained it, where this one is a copy; empty: this one."""
    progress: Progress


class TrialRecord(Config):
    """One trial of a search."""

    key: str
    """Run key such as `t00003`; names the trial's folder and never changes."""
    number: int
    """Trial number in the Optuna study."""
    origin: str
    """`recipe:NAME`, `study:NAME`, `copy:KEY`, or the name of the sampler."""
    params: dict[str, Any]
    """The sample: dotted path -> value."""
    config: TrialConfig
    config_hash: str
    status: Status
    reason: str
    """Why it was paused, stopped, diagnosed or failed; empty otherwise."""
    diagnoses: tuple[Diagnosis, ...] = ()
    """All failures that its checks showed, each as it was told last; records of earlier versions
    have none."""
    error: str
    """Traceback of a failed trial; empty otherwise."""
    sessions: int
    """How often the trial was started; more than 1 after a resume."""
    node: str
    """Ray's id of the node its first worker ran on last; empty before the first report."""
    started_at: float | None
    """Unix time of the latest start."""
    startup_s: float | None
    """From the first start, when the trial was handed to Tune, to the end of its first step."""
    finished_at: float | None
    progress: Progress | None
    """Of the training that goes on, or was the last."""
    goal: int | None = None
    """Epoch where it is judged next, or was last; None in records of earlier versions: the last."""
    first: int = 0
    """Its lowest level."""
    bracket: str = ""
    """It is compared with the trials of its own bracket alone."""
    driver: str = ""
    """Who runs it; see `search/books/drivers.py`."""
    devices: float | None = None
    """That it holds while it runs; None in records of earlier versions."""
    retry_of: str = ""
    """Key of the failed trial that it repeats."""
    epochs_before: int = 0
    """Epochs of the rungs below whose weights its training began with."""
    below: tuple[RungTraining, ...] = ()
    """Trainings on the rungs below."""
    gave_way_at: int = 0
    """Epochs of the rung where a copy of a better trial took its place; 0: nowhere."""
    replaces: str = ""
    """Key of the trial whose place it took."""

    @property
    def trainings(self) -> list[tuple[int, Progress]]:
        """(epochs before it, what it reported) of each training: one, or one for each rung."""
        there = [(one.epochs_before, one.progress) for one in self.below]
        return [*there, (self.epochs_before, self.progress)] if self.progress else there

    @property
    def epochs(self) -> int:
        """Epochs finished, counted through to its latest training."""
        ends = [before + p.history[-1].epoch for before, p in self.trainings if p.history]
        return ends[-1] if ends else 0

    @property
    def train_seconds(self) -> float:
        """Seconds of its own training, clean and attacked, without checks and start-up."""
        return sum((progress.train_seconds for progress in self._own), 0.0)

    @property
    def check_seconds(self) -> float:
        """Seconds of its own early checks, of averaged and raw weights."""
        epochs = [epoch for progress in self._own for epoch in progress.history]
        return sum((epoch.check_seconds for epoch in epochs), 0.0)

    @property
    def _own(self) -> list[Progress]:
        own = [one.progress for one in self.below if not one.owner]
        return [*own, self.progress] if self.progress else own

    @property
    def check_share(self) -> float | None:
        """Seconds of early checks over seconds of training; None before any training."""
        return self.check_seconds / self.train_seconds if self.train_seconds else None

    @property
    def checks(self) -> list[tuple[int, Check]]:
        """(epoch, check) of every rung reached."""
        return [
            (before + epoch.epoch, epoch.check)
            for before, progress in self.trainings
            for epoch in progress.history
            if epoch.check is not None
        ]

    @property
    def own_checks(self) -> list[tuple[int, Check]]:
        """(epoch, check) of every rung that it reached itself: a copy has others of its donor."""
        copied = max((one.rung for one in self.below if one.owner), default=0)
        return [(epoch, check) for epoch, check in self.checks if epoch > copied]

    @property
    def last_check(self) -> Check | None:
        """The check at the highest rung reached."""
        return self.checks[-1][1] if self.checks else None

    @property
    def last_raw_check(self) -> Check | None:
        """The check of the raw weights beside `last_check`; None where there is none."""
        history = self.progress.history if self.progress else ()
        return next((e.raw_check for e in reversed(history) if e.check is not None), None)


def write_record(path: Path, record: TrialRecord) -> None:
    """Replaces the file at `path` atomically."""
    write_atomically(path, record.model_dump_json(indent=1))


def read_record(path: Path) -> TrialRecord:
    """Returns the record in the file at `path`."""
    return TrialRecord.model_validate_json(path.read_text())


def read_records(folder: Path) -> list[TrialRecord]:
    """Returns the records of the trials under `folder`, by number."""
    paths = sorted(folder.glob("*/record.json"))
    return sorted(map(read_record, paths), key=lambda record: record.number)


class FullRun(Config):
    """A full-scale run of a promoted trial, or of the untuned default beside it; or a stage before
    the full run."""

    key: str
    """Key of the trial, or `default`; repetition i is `KEY-si`."""
    repeat: int = 0
    """Which repetition it is; its training seed is that of the first, plus this."""
    stage: int | None = None
    """Which stage before the full run it is, from 1; None for the full run."""
    parent: str = ""
    """What let it go on: the folder of a trial or of a stage, within the search's; empty for the
    default, and in records of earlier versions."""
    study: str
    trial_number: int | None
    """Trial number in the study; None for the default."""
    origin: str
    """Of the trial: `recipe:NAME` or the sampler's name; `default` for the default."""
    trial_config_hash: str | None
    """Hash of the promoted trial's config, before the full run's overrides."""
    trial_diagnoses: tuple[Diagnosis, ...] = ()
    """Failures that the promoted trial was flagged with; see `TrialRecord`."""
    config: TrialConfig
    """What the full run trained."""
    config_hash: str
    commit: str
    """Commit of Rampart, with `+changes` when the working tree differed; `unknown` outside git."""
    versions: dict[str, str]
    """Versions of python, torch, timm, ray, optuna, pyautoattack."""
    hardware: str
    status: Status
    reason: str
    diagnoses: tuple[Diagnosis, ...] = ()
    """Failures that its own checks showed; they end no full run."""
    progress: Progress | None

    @property
    def recipe(self) -> str:
        """Key of the trial, or `default`: what the repetitions of a run share."""
        return self.key.removesuffix(f"-s{self.repeat}")

    @property
    def train_seconds(self) -> float:
        """Seconds of training, clean and attacked, without checks and start-up."""
        return self.progress.train_seconds if self.progress else 0.0

    @property
    def last_check(self) -> Check | None:
        """Its latest early check, on the select split."""
        history = self.progress.history if self.progress else ()
        return next((e.check for e in reversed(history) if e.check is not None), None)


Promoted = tuple[FullRun, EvaluationResult | None]
"""A full run, and the reference result once there is one."""


def write_full_run(folder: Path, run: FullRun) -> None:
    """Replaces the record of a full run under `folder` atomically."""
    write_atomically(folder / run.key / "record.json", run.model_dump_json(indent=1))


def read_promoted(folder: Path) -> list[Promoted]:
    """Returns the full runs under `folder` with their results: trials by key, then the default."""
    promoted: list[Promoted] = []
    for path in sorted(folder.glob("*/record.json")):
        run = FullRun.model_validate_json(path.read_text())
        outcome = path.with_name("result.json")
        is_there = outcome.exists()
        result = EvaluationResult.model_validate_json(outcome.read_text()) if is_there else None
        promoted.append((run, result))
    return sorted(promoted, key=lambda pair: (pair[0].trial_number is None, pair[0].key))
