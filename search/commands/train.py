"""`rampart train`: one config, from its start or from its last checkpoint to its last epoch."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from search.books.diagnosing import diagnose_history, diagnosis_text, latest_of_each, new_among
from search.cluster.connect import connected
from search.cluster.driver import Failure
from search.cluster.full_runs import FullRunPayload, run_full
from search.errors import NothingToShowError, UserError
from search.live.log_targets import require_installed
from search.live.run_logs import run_logs
from search.load import dump_config, load_training
from search.lock import locked
from search.payload import DriverPayload
from search.places import create_root, refuse_folder
from search.plan.preflight import check_run
from search.training import TrainingConfig, TrainingFolder
from trainers.atomic import write_atomically
from trainers.differences import differing_paths
from trainers.metrics import EpochMetrics, Progress, best_epoch


def train(
    config: TrainingConfig, *, is_resumed: bool, address: str | None, console: Console
) -> None:
    """Trains to the last epoch; a run that is over is only told of.

    Raises:
        UserError: If the run cannot be begun, or not gone on with, as it is asked for.
        NothingToShowError: If training failed.
    """
    folder = TrainingFolder(root=Path(config.runs_dir) / config.name)
    try:
        require_installed(config.log_to)
    except ValueError as error:
        raise UserError(str(error)) from error
    if is_resumed:
        _check_same(folder, config)
    else:
        refuse_folder(folder.root, way_on="--resume goes on with it")
        check_run(config.trial)
    with connected(address, config.resources, concurrent=1):
        if not is_resumed:
            create_root(folder.root, lambda draft: _write_config(draft, config))
        with locked(folder.root, again="rampart train CONFIG --resume"):
            _write_config(folder.root, config)
            console.print(f"run {config.name}: {folder.root}", soft_wrap=True)
            _run(folder, config, console)
    progress = _read_progress(folder)
    assert progress is not None  # training reports every epoch
    _print_end(folder, config, progress, console)


def _run(folder: TrainingFolder, config: TrainingConfig, console: Console) -> None:
    failures: list[Failure] = []

    def on_end(payload: FullRunPayload, failure: Failure | None) -> None:
        del payload
        failures.extend([failure] if failure else [])

    with ExitStack() as stack:
        try:
            follow = stack.enter_context(_followed(folder, config, console))
        except ValueError as error:  # W&B or MLflow refuses
            raise UserError(f"{error}; then `rampart train {folder.config} --resume`") from error
        run_full([_payload(folder, config)], concurrent=1, on_end=on_end, on_poll=follow)
        follow()
        if failures:
            raise NothingToShowError(
                f"{failures[0].reason}; `rampart train {folder.config} --resume` goes on from the "
                "last checkpoint"
            )


def _payload(folder: TrainingFolder, config: TrainingConfig) -> FullRunPayload:
    driver = DriverPayload(
        key=config.name,
        run=config.name,
        trial=config.trial,
        rungs=tuple(range(1, config.trial.epochs)),
        early_check=config.validation,
        race=None,
        resources=config.resources,
        checkpoints=config.checkpoints,
        checkpoint=str(folder.checkpoints),
        clean_starts=str(folder.clean_start),
        clean_recipe=config.trial,
        manifests=str(folder.manifests),
        storage=str(folder.ray),
    )
    return FullRunPayload(driver=driver, reference=None, folder=str(folder.root))


@contextmanager
def _followed(
    folder: TrainingFolder, config: TrainingConfig, console: Console
) -> Generator[Callable[[], None]]:
    """Gives a function that logs and prints what the workers reported since it was called last."""
    told = _read_progress(folder)
    with run_logs(
        config.trial,
        folder.root,
        name=config.name,
        diagnosis=config.diagnosis,
        log_to=config.log_to,
    ) as log:

        def follow() -> None:
            nonlocal told
            progress = _read_progress(folder)
            if progress is None or progress == told:
                return
            log(progress)
            for line in _news(config, told, progress):
                console.print(line, soft_wrap=True)
            told = progress

        if told is not None:
            log(told)  # a kill may have come before
        yield follow


def _news(config: TrainingConfig, before: Progress | None, now: Progress) -> Iterator[str]:
    """Yields a line for each event, each epoch and each diagnosis that was not told yet.

    A diagnosis is told again only after an epoch without it.
    """
    yield from (event for event in now.events if before is None or event not in before.events)
    found = diagnose_history(config.trial, now.history, config.diagnosis)
    for epochs in range(len(before.history) if before else 0, len(now.history)):
        yield _epoch_line(config, now.history[: epochs + 1])
        epoch = now.history[epochs].epoch
        for one in new_among(found[epoch], found.get(epoch - 1, ())):
            yield f"diagnosis: {diagnosis_text(one)}"


def _read_progress(folder: TrainingFolder) -> Progress | None:
    if not folder.progress.exists():
        return None
    return Progress.model_validate_json(folder.progress.read_text())


def _epoch_line(config: TrainingConfig, history: Sequence[EpochMetrics]) -> str:
    last, epochs = history[-1], config.trial.epochs
    seconds = sum(epoch.seconds + epoch.check_seconds for epoch in history)
    left = seconds / len(history) * (epochs - last.epoch)
    return (
        f"epoch {last.epoch}/{epochs} loss={last.train_loss:.3f} "
        f"train_acc={last.train_accuracy:.3f} {_check_text(last)} left={left:.0f}s"
    )


def _check_text(epoch: EpochMetrics) -> str:
    assert epoch.check is not None  # every epoch is validated
    robust = epoch.check.robust
    low, high = robust.interval
    return (
        f"clean={epoch.check.clean.value:.3f} robust={robust.value:.3f} [{low:.3f}, {high:.3f}] "
        f"({robust.attack}, n={robust.n})"
    )


def _print_end(
    folder: TrainingFolder, config: TrainingConfig, progress: Progress, console: Console
) -> None:
    best = next(e for e in progress.history if e.epoch == best_epoch(progress.history))
    found = diagnose_history(config.trial, progress.history, config.diagnosis)
    flags = "".join(f"diagnosis   {diagnosis_text(one)}\n" for one in latest_of_each(found))
    console.print(
        f"\nbest epoch {best.epoch}: {_check_text(best)}\n"
        f"{flags}"
        f"checkpoints {folder.checkpoints} (best.pt, and the last epoch)\n"
        f"metrics     {folder.root / 'metrics.csv'} (and .parquet)\n"
        f"next        rampart evaluate {folder.checkpoints / 'best.pt'}",
        soft_wrap=True,
    )


def _check_same(folder: TrainingFolder, config: TrainingConfig) -> None:
    """Raises UserError unless the folder's run is this one; resources and logs may differ."""
    if not folder.config.is_file():
        raise UserError(f"no run at {folder.root}; without --resume it begins")
    before = load_training(folder.config, {})
    differing = [
        *differing_paths(before.trial, config.trial),
        *differing_paths(before.validation, config.validation),
    ]
    if differing:
        raise UserError(
            f"{folder.root} is another run: {'; '.join(differing)}; take {folder.config}, or give "
            "this one another name"
        )


def _write_config(root: Path, config: TrainingConfig) -> None:
    write_atomically(TrainingFolder(root=root).config, dump_config(config))
