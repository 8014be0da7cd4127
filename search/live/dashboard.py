"""`rampart dashboard NAME`: Optuna's dashboard on the study, live, with columns of ours."""

from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from rich.console import Console

from search.books.records import TrialRecord
from search.books.spending import busy_seconds
from search.books.storage import open_storage
from search.errors import UserError
from search.folder import SearchFolder
from search.load import load_experiment

HOST = "127.0.0.1"
"""The dashboard can delete studies and asks for no password, so nobody else may reach it."""


class _Server(ThreadingMixIn, WSGIServer):
    """One thread for each request: an importance plot must not hold up the table."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing: the page asks several times a second."""


def dashboard(folder: SearchFolder, *, port: int, console: Console) -> None:
    """Serves the dashboard of a search, also while it runs, until Ctrl-C.

    Args:
        port: 0 takes a free one.

    Raises:
        UserError: If the port is taken, or the storage cannot be used.
    """
    with serve(folder, port=port) as server:
        console.print(f"dashboard http://{HOST}:{server.server_port} (Ctrl-C ends it)")
        server.serve_forever()


def serve(folder: SearchFolder, *, port: int) -> WSGIServer:
    """Returns the server, which listens already and answers once it is told to serve."""
    from optuna_dashboard import wsgi

    experiment = load_experiment(folder.config, {})
    app = wsgi(open_storage(folder, experiment.storage))
    try:
        return make_server(HOST, port, app, server_class=_Server, handler_class=_Quiet)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"port {port} of {HOST} cannot be used: {reason}; name another with --port, or "
            "take --port 0 for any that is free"
        ) from error


def trial_columns(record: TrialRecord, *, devices: float) -> dict[str, object]:
    """Returns what the dashboard shows of a trial beside its parameters: its user attributes.

    Args:
        devices: That one trial holds.
    """
    columns: dict[str, object] = {
        "key": record.key,
        "origin": record.origin,
        "status": record.status,
        "epoch": record.epochs,
        "device_seconds": round(busy_seconds(record) * devices, 1),
        "reason": record.reason,
    }
    if check := record.last_check:
        columns |= {
            "robust": check.robust.value,
            "clean": check.clean.value,
            "n": check.robust.n,
            "attack": check.robust.attack,
        }
    if record.progress:
        columns |= {"params_m": record.progress.params_m}
    return columns
