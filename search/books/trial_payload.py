"""From a trial that the ledger has opened to what its training needs to know."""

from search.books.ledger import Ledger
from search.books.records import TrialRecord
from search.books.rungs import RungRace
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.payload import DriverPayload


def trial_payload(
    folder: SearchFolder,
    experiment: ExperimentConfig,
    ledger: Ledger,
    record: TrialRecord,
    *,
    run: str,
) -> DriverPayload:
    """Returns what takes a trial that the ledger has opened to its goal."""
    ladder = experiment.ladder
    races = experiment.objectives == ("robust",) and ladder.decide in ("promote", "stop")
    return DriverPayload(
        key=record.key,
        run=run,
        trial=ledger.training(record),
        rungs=ladder.rungs if ladder.kind == "asha" else (),
        early_check=experiment.early_check,
        race=RungRace(
            scores=str(folder.rung_scores),
            reduction=ladder.reduction,
            epochs_before=record.epochs_before,
            race=ladder.race,
        )
        if races
        else None,
        resources=experiment.resources,
        checkpoints=experiment.checkpoints,
        checkpoint=str(ledger.checkpoints(record)),
        clean_starts=str(folder.clean_starts),
        manifests=str(folder.manifests),
        clean_recipe=experiment.base,
        storage=str(folder.ray / "train"),
    )
