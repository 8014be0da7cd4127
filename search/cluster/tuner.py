"""Tune as a messenger: it starts drivers and carries reports; the `Ledger` decides."""

import logging
import time
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, RunConfig, TuneConfig, TuneError, Tuner
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from search.books.ledger import Ledger
from search.books.spending import DEFAULT_NODE, Clock, price_of
from search.books.trial_payload import trial_payload
from search.cluster.connect import node_types
from search.cluster.driver import FAILURE, Failure, drive_trial
from search.cluster.reaper import reap
from search.config import ExperimentConfig
from search.errors import NothingToShowError
from search.folder import SearchFolder
from trainers.metrics import NODE, PROGRESS, Progress

DRIVER_RESOURCES = {"node:__internal_head__": 0.001}
"""Drivers sit on the head node and take no CPU; Tune refuses a request for nothing at all."""


LOOK_S = 0.5
"""Between two looks at books that others may have changed."""


def run_trials(
    folder: SearchFolder, experiment: ExperimentConfig, ledger: Ledger, clock: Clock
) -> None:
    """Runs every trial that the ledger still wants, until a cap of the budget is met."""
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
            callbacks=[LedgerCallback(ledger, clock, experiment.budget.prices)],
            stop=CapStopper(ledger),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except TuneError as error:  # with the traceback of whatever was raised in our callbacks
        cause = str(error).strip().splitlines()[-1]
        raise NothingToShowError(
            f"the search ended early: {cause}; `rampart resume NAME` goes on with it"
        ) from error


class LedgerSearcher(Searcher):
    """Hands the ledger's next trial to Tune, whatever id Tune gave it."""

    def __init__(self, ledger: Ledger, folder: SearchFolder, experiment: ExperimentConfig) -> None:
        """Metric and mode stay unset: Tune does not need to understand the results."""
        super().__init__()
        self._ledger = ledger
        self._folder = folder
        self._experiment = experiment
        self._next_look = 0.0

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Returns the payload of the next trial, None while only what runs can bring one, or
        FINISHED, which Searcher's own type forgets."""
        del trial_id
        if time.monotonic() < self._next_look:
            return None
        record = self._ledger.next_trial()
        if record is None:
            if self._ledger.is_finished:
                return Searcher.FINISHED
            self._next_look = time.monotonic() + LOOK_S
            return None
        run = f"{record.key}-{record.sessions}-{time.time_ns():x}"
        payload = trial_payload(self._folder, self._experiment, self._ledger, record, run=run)
        return {"key": record.key, "run": run, "payload": payload.model_dump_json()}

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

    def __init__(self, ledger: Ledger, clock: Clock, prices: dict[str, float]) -> None:
        """Keeps no state of its own."""
        self._ledger = ledger
        self._clock, self._prices = clock, prices

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """The driver ended, by itself or because the ledger stopped the trial."""
        del iteration, trials, info
        self._ledger.finish(trial.config["key"])

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """The driver itself died or raised."""
        del iteration, trials, info
        text = Path(trial.error_file).read_text().strip() if trial.error_file else "no message"
        self._ledger.fail(trial.config["key"], f"driver: {text.splitlines()[-1]}", text)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Each turn of Tune's loop."""
        del iteration, trials, info
        reap()
        if self._clock.is_due():
            self._clock.tick(price_per_hour=self._price() if self._prices else 0.0)

    def _price(self) -> float:
        # A node that came meanwhile may have no price: the start refuses only those of then.
        prices = {DEFAULT_NODE: max(self._prices.values()), **self._prices}
        return price_of(node_types(), prices)


class CapStopper(Stopper):
    """Ends Tune's run when a cap of the budget is met; what runs then can be resumed."""

    def __init__(self, ledger: Ledger) -> None:
        """Asks the ledger now and then."""
        self._ledger = ledger
        self._next_look = 0.0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stops no single trial: the scheduler does."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Tune's question in each turn of its loop."""
        if time.monotonic() < self._next_look:
            return False
        self._next_look = time.monotonic() + LOOK_S
        return bool(self._ledger.cap)
