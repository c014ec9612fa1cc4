"""Prepares a database for Optuna's dashboard, and starts the dashboard on it."""

from __future__ import annotations

import importlib.util
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from socketserver import ThreadingMixIn
from types import SimpleNamespace
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna import Study, load_study
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from sqlalchemy import event

from autobatch import attributes
from autobatch.errors import UsageError
from autobatch.review import terminal
from autobatch.review.database import Database
from autobatch.review.notes import MARK, study_note, trial_note
from autobatch.review.report import gather
from autobatch.store import open_storage

STUDIES = 20
"""Studies that are prepared, the newest first."""
NOTED_TRIALS = 200
"""Trials of a study that get a note, the newest first."""


def check_installed() -> None:
    """Raise where the dashboard's own libraries are missing.

    Raises:
        UsageError: they are not installed.

    """
    missing = [name for name in ("optuna_dashboard", "plotly") if importlib.util.find_spec(name) is None]
    if missing:
        what = f"The dashboard is not installed: {' and '.join(missing)} cannot be found."
        raise UsageError(what, "Install it with: pip install 'autobatch[dashboard]'")


def prepare(path: Path) -> list[str]:
    """Write notes, figures and the objective's name into our newest studies, and no other; return their names.

    Raises:
        DatabaseError: the database cannot be read or written.

    """
    # a study without a workload is not a search's: others may have more objectives, of other names
    names = [study.name for study in Database(path).studies() if study.workload][:STUDIES]
    if not names:
        return names
    storage = open_storage(path)
    event.listen(storage.engine, "checkout", _hurry)
    try:
        for name in names:
            _prepare_study(path, name, storage)
    finally:
        storage.engine.dispose()
    return names


def serve(path: Path, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the dashboard until it is interrupted; `ready` is told the address.

    Raises:
        UsageError: the address is taken or cannot be used.

    """
    from optuna_dashboard import wsgi

    application = wsgi(open_storage(path))
    try:
        server = make_server(host, port, application, server_class=_Server, handler_class=_Handler)
    except OSError as error:
        what = f"The dashboard cannot listen on {host}:{port}: {error.strerror}."
        raise UsageError(what, "Choose another --port, or end the program that has this one.") from error
    with server:
        ready(f"http://{host}:{server.server_port}/")
        server.serve_forever()


def run(path: Path, host: str, port: int, *, prepare_only: bool) -> None:
    """Prepare the database and, unless told otherwise, serve the dashboard until it is interrupted.

    Raises:
        DatabaseError: the database cannot be read or written.
        UsageError: the dashboard is not installed, or the address cannot be used.

    """
    check_installed()
    names = prepare(path)
    terminal.say(f"Prepared {len(names)} {'study' if len(names) == 1 else 'studies'} of {path}.", err=True)
    if prepare_only:
        return
    if host not in ("127.0.0.1", "localhost", "::1"):
        terminal.say("Whoever reaches this address can read and change the database.", err=True)
    try:
        serve(
            path, host, port, lambda address: terminal.say(f"The dashboard is at {address} (Ctrl-C ends it).", err=True)
        )
    except KeyboardInterrupt:
        terminal.say("The dashboard has ended; the database is unchanged by that.", err=True)


def _hurry(connection: sqlite3.Connection, *_: object) -> None:
    # hundreds of small commits of what can be written again: after a power loss the last may be missing, no more
    connection.execute("PRAGMA synchronous = NORMAL")


def _prepare_study(path: Path, name: str, storage: BaseStorage) -> None:
    from optuna_dashboard import save_plotly_graph_object

    from autobatch.review.plots import plot

    report = gather(path, name)
    study = load_study(study_name=name, storage=storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([attributes.SAMPLES_PER_S])
    database = Database(path)
    newest = list(database.trials(report.study, limit=NOTED_TRIALS))
    _note(study, study_note(report, newest))
    identities = {trial.number: trial._trial_id for trial in study.get_trials(deepcopy=False)}  # noqa: SLF001 - Optuna has no public one
    for trial in newest:
        # save_note wants a running trial; of it, it uses these three, and notes are kept with the study
        stand_in = SimpleNamespace(storage=storage, study=study, _trial_id=identities[trial.number])
        _note(stand_in, trial_note(trial))
    for figure in report.figures:
        save_plotly_graph_object(study, plot(figure), graph_object_id=f"autobatch-{figure.key}")


def _note(target: Study | SimpleNamespace, body: str) -> None:
    """Write a note, unless it says so already or a person has made it theirs."""
    from optuna_dashboard import get_note, save_note

    present = get_note(target)
    if present != body and (not present or present.startswith(MARK)):
        save_note(target, body)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Leave the terminal alone."""
