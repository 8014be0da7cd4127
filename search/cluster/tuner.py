"""Tune as a messenger: it starts drivers and carries reports; the `Ledger` decides."""

import logging
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, RunConfig, TuneConfig, Tuner
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.cluster.driver import FAILURE, DriverPayload, Failure, drive_trial
from search.cluster.reaper import reap
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.ledger import Ledger
from search.rungs import RungRace
from trainers.metrics import NODE, PROGRESS, Progress

DRIVER_RESOURCES = {"node:__internal_head__": 0.001}
"""Drivers sit on the head node and take no CPU; Tune refuses a request for nothing at all."""


def run_trials(folder: SearchFolder, experiment: ExperimentConfig, ledger: Ledger) -> None:
    """Runs every trial that the ledger still wants."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are rows of the table
    tuner = Tuner(
        tune.with_resources(drive_trial, tune.PlacementGroupFactory([DRIVER_RESOURCES])),
        tune_config=TuneConfig(
            search_alg=LedgerSearcher(ledger, folder, experiment),
            scheduler=LedgerScheduler(ledger),
            num_samples=-1,
            max_concurrent_trials=experiment.resources.concurrent_trials,
            trial_dirname_creator=lambda trial: f"{trial.config['key']}-{trial.trial_id}",
        ),
        run_config=RunConfig(
            name=experiment.name,
            storage_path=str(folder.ray),
            callbacks=[LedgerCallback(ledger)],
            verbose=0,
        ),
    )
    tuner.fit()


class LedgerSearcher(Searcher):
    """Hands the ledger's next trial to Tune, whatever id Tune gave it."""

    def __init__(self, ledger: Ledger, folder: SearchFolder, experiment: ExperimentConfig) -> None:
        """Metric and mode stay unset: Tune does not need to understand the results."""
        super().__init__()
        self._ledger = ledger
        self._folder = folder
        self._experiment = experiment

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Returns the payload of the next trial, or FINISHED, which Searcher's own type forgets."""
        del trial_id
        record = self._ledger.next_trial()
        if record is None:
            return Searcher.FINISHED
        ladder = self._experiment.ladder
        payload = DriverPayload(
            key=record.key,
            trial=record.config,
            rungs=ladder.rungs,
            early_check=self._experiment.early_check,
            race=RungRace(
                scores=str(self._folder.rung_scores), reduction=ladder.reduction, race=ladder.race
            ),
            resources=self._experiment.resources,
            checkpoints=self._experiment.checkpoints,
            checkpoint=str(self._folder.trials / record.key / "checkpoint"),
            clean_starts=str(self._folder.clean_starts),
            manifests=str(self._folder.manifests),
            clean_recipe=self._experiment.base,
            storage=str(self._folder.ray / "train"),
        )
        return {"key": record.key, "payload": payload.model_dump_json()}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Does nothing: the callback files how a trial ended."""
        del trial_id, result, error

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: a resumed search reads the books, not Tune's pickles."""
        del checkpoint_path

    def restore(self, checkpoint_path: str) -> None:
        """Is never called: see `save`."""
        del checkpoint_path


class LedgerScheduler(FIFOScheduler):
    """Files every report and stops the trials that the ledger stops."""

    def __init__(self, ledger: Ledger) -> None:
        """Keeps no state of its own."""
        super().__init__()
        self._ledger = ledger

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's question after each report: CONTINUE or STOP."""
        del tune_controller
        key = trial.config["key"]
        if FAILURE in result:
            failure = Failure.model_validate_json(result[FAILURE])
            self._ledger.fail(key, failure.reason, failure.error)
            return TrialScheduler.STOP
        progress = Progress.model_validate_json(result[PROGRESS])
        goes_on = self._ledger.report(key, progress, node=result[NODE])
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP


class LedgerCallback(Callback):
    """Files starts and ends, and frees the workers of trials that are over."""

    def __init__(self, ledger: Ledger) -> None:
        """Remembers whose workers to free."""
        self._ledger = ledger
        self._over: set[str] = set()

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """The driver ended, by itself or because the ledger stopped the trial."""
        del iteration, trials, info
        self._ledger.finish(trial.config["key"])
        self._over.add(trial.config["key"])

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """The driver itself died or raised."""
        del iteration, trials, info
        text = Path(trial.error_file).read_text().strip() if trial.error_file else "no message"
        self._ledger.fail(trial.config["key"], f"driver: {text.splitlines()[-1]}", text)
        self._over.add(trial.config["key"])

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Each turn of Tune's loop: a controller may note workers after its trial stopped."""
        del iteration, trials, info
        if self._over:
            reap(self._over)
