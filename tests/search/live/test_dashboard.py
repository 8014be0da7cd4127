"""Optuna's dashboard on a study, over HTTP."""

import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIServer

import pytest
from records_factory import ATTACK, experiment, record, search_folder

from search.books.study import create_study, open_study
from search.errors import UserError
from search.live.dashboard import HOST, serve, trial_columns
from search.space.space import suggest

COMMAND = """
import signal, sys
from pathlib import Path
from rich.console import Console
from search.live.dashboard import dashboard
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from search.folder import SearchFolder
dashboard(SearchFolder(root=Path(sys.argv[1])), port=0, console=Console())
"""


@contextmanager
def answering(server: WSGIServer) -> Generator[str]:
    """Serves from a thread; yields the address."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def test_the_dashboard_shows_a_running_trial_with_our_columns(tmp_path: Path) -> None:
    folder, config = search_folder(tmp_path), experiment(tmp_path)
    create_study(folder, config)
    with answering(serve(folder, port=0)) as address:
        study = open_study(folder, config)
        trial = study.ask()
        suggest(trial, config.space)
        one = record(trial.number, status="running", epochs=5, origin="recipe:canonical")
        for name, value in trial_columns(one, devices=2.0).items():
            trial.set_user_attr(name, value)

        (summary,) = get(f"{address}/api/studies")["study_summaries"]
        detail = get(f"{address}/api/studies/{summary['study_id']}?after=0")
        with urllib.request.urlopen(f"{address}/dashboard", timeout=10) as page:
            assert b"<title>Optuna Dashboard" in page.read()

    assert summary["study_name"] == "photos"
    (shown,) = detail["trials"]
    assert shown["state"] == "Running"
    attrs = {item["key"]: item["value"] for item in shown["user_attrs"]}
    check = one.last_check
    assert check is not None
    assert attrs == {
        "recipe": "canonical",
        "key": "t00000",
        "origin": "recipe:canonical",
        "status": "running",
        "epoch": "5",
        "robust": str(check.robust.value),
        "clean": str(check.clean.value),
        "n": "120",
        "attack": ATTACK,
        "params_m": "0.5",
        "device_seconds": str(2 * (6.0 + 5 * 10.0 + 2.0)),  # start-up, epochs, check at rung 3
        "reason": "",
    }


def test_a_trial_before_its_first_step_has_no_accuracies() -> None:
    columns = trial_columns(record(3, status="failed", epochs=0, reason="no GPU"), devices=1.0)

    assert columns == {
        "key": "t00003",
        "origin": "tpe",
        "status": "failed",
        "epoch": 0,
        "device_seconds": 0.0,
        "reason": "no GPU",
    }


def test_the_command_prints_the_address_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    create_study(folder, experiment(tmp_path))

    command = [sys.executable, "-c", COMMAND, str(folder.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        word, address, *rest = process.stdout.readline().decode().split()
        try:
            (study,) = get(f"{address}/api/studies")["study_summaries"]
        finally:
            process.send_signal(signal.SIGINT)

        assert process.wait(timeout=30) == -signal.SIGINT
    assert (word, " ".join(rest)) == ("dashboard", "(Ctrl-C ends it)")
    assert study["study_name"] == "photos"


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    create_study(folder, experiment(tmp_path))
    with serve(folder, port=0) as first, pytest.raises(UserError, match="take --port 0") as caught:
        serve(folder, port=first.server_port)

    assert f"port {first.server_port} of {HOST} cannot be used: Address already" in str(
        caught.value
    )
