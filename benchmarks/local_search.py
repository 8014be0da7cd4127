"""A whole search without Ray: the same books, decisions and trainings, in processes of this host.

For benchmarks and kill tests, where starting Ray for each trial would cost more than the trial. The
books (`search/books/ledger.py`) do not know the difference; a killed one is resumed by calling it
again.
"""

import traceback
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from search.books.drivers import registered
from search.books.ledger import Ledger
from search.books.spending import Clock
from search.books.study import create_study, open_study
from search.books.trial_payload import trial_payload
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.payload import DriverPayload
from trainers.metrics import Progress

_SPAWN = get_context("spawn")


@dataclass(frozen=True, kw_only=True)
class _Worker:
    process: BaseProcess
    pipe: Connection


def run_locally(folder: SearchFolder, experiment: ExperimentConfig, *, workers: int) -> Ledger:
    """Runs or resumes the trials of a search to its budget; returns its books.

    Args:
        workers: Processes of `resources.cpus_per_worker` threads, one trial each.
    """
    if not folder.study.exists():
        folder.root.mkdir(parents=True, exist_ok=True)
        create_study(folder, experiment)
    with registered(folder) as driver:
        clock = Clock(folder.sittings / f"{driver}.json", cluster="")
        ledger = Ledger(
            folder,
            experiment,
            open_study(folder, experiment),
            on_change=lambda _: None,
            driver=driver,
        )
        pool = [_start() for _ in range(workers)]
        try:
            _serve(folder, experiment, ledger, pool, clock)
        finally:
            for worker in pool:
                worker.process.kill()
        ledger.suspend()
        if not ledger.cap:
            ledger.rest()
    return ledger


def _serve(
    folder: SearchFolder,
    experiment: ExperimentConfig,
    ledger: Ledger,
    pool: list[_Worker],
    clock: Clock,
) -> None:
    busy: dict[Connection, str] = {}
    while True:
        for worker in pool:
            if worker.pipe not in busy and (record := ledger.next_trial()):
                payload = trial_payload(folder, experiment, ledger, record, run=record.key)
                worker.pipe.send(payload.model_dump_json())
                busy[worker.pipe] = record.key
        if not busy:
            return
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)
            _answer(ledger, pipe, busy)
        clock.tick(price_per_hour=0.0)


def _answer(ledger: Ledger, pipe: Connection, busy: dict[Connection, str]) -> None:
    kind, text = pipe.recv()
    key = busy[pipe]
    if kind == "progress":
        pipe.send(ledger.report(key, Progress.model_validate_json(text), node="here"))
        return
    if kind == "failed":
        ledger.fail(key, text.strip().splitlines()[-1], text)
    else:
        ledger.finish(key)
    del busy[pipe]


def _start() -> _Worker:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process=process, pipe=ours)


def _work(pipe: Connection) -> None:
    """Trains what the parent sends, one payload after the other."""
    from trainers.stop import StoppedError

    while True:
        try:
            payload = DriverPayload.model_validate_json(pipe.recv())
        except EOFError:
            return
        try:
            _train(payload, pipe)
        except StoppedError:
            pipe.send(("ended", ""))
        except Exception:  # noqa: BLE001 # a failed trial is a row of the books
            pipe.send(("failed", traceback.format_exc()))
        else:
            pipe.send(("ended", ""))


def _train(payload: DriverPayload, pipe: Connection) -> None:
    import torch

    from search.checking import check_of
    from trainers.data.load import load_train
    from trainers.group import alone
    from trainers.run import Place, run_trial

    torch.set_num_threads(payload.resources.cpus_per_worker)
    stops: list[bool] = []

    def report(progress: Progress) -> None:
        pipe.send(("progress", progress.model_dump_json()))
        if not pipe.recv():
            stops.append(True)

    run_trial(
        payload.trial,
        Place(
            checkpoints=Path(payload.checkpoint),
            clean_starts=Path(payload.clean_starts),
            manifests=Path(payload.manifests),
        ),
        load=load_train,
        group=alone(torch.device("cpu")),
        checkpoints=payload.checkpoints,
        clean_recipe=payload.clean_recipe,
        rungs=payload.rungs,
        evaluate=check_of(payload),
        must_stop=lambda: bool(stops),
        report=report,
    )
