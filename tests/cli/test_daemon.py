import json
import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
from click.testing import CliRunner

from autobatch.cli import root
from autobatch.daemon import presence
from autobatch.errors import AutobatchError, DatabaseError
from autobatch.store.database import Database
from autobatch.store.queue import Queue


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trials.db"


@pytest.fixture
def queue(path):
    database = Database(path)
    queue = Queue(database)
    queue.submit({"model": "demo", "budget_s": 600.0}, None, "cpu")
    yield queue
    database.close()


def autobatch(*arguments, path):
    return CliRunner().invoke(root, [*arguments, "--db", str(path)])


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["status"], 4, "no database"),
        (["queue"], 4, "no database"),
        (["logs"], 4, "no database"),
        (["cancel", "1"], 4, "no database"),
        (["daemon", "stop"], 4, "no database"),
    ],
)
def test_without_a_database_commands_say_so_and_make_nothing(arguments, code, what, path):
    error = autobatch(*arguments, path=path).exception
    assert isinstance(error, AutobatchError)
    assert (error.exit_code, what in error.what) == (code, True)
    assert error.do
    assert not list(path.parent.iterdir())


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("command", ["pause", "resume", "stop", "cancel", "logs"])
def test_a_search_that_is_not_there_is_said(command, path):
    error = autobatch(command, "7", path=path).exception
    assert isinstance(error, AutobatchError)
    assert (error.exit_code, error.what) == (2, "There is no search 7 in the queue.")


@pytest.mark.usefixtures("queue")
def test_the_queue_is_listed_for_people_and_scripts(path):
    text = autobatch("queue", path=path).output
    assert "daemon: none; `autobatch daemon start` starts it" in text
    assert "   1  queued    demo: 0 s of 10 min used" in text
    assert json.loads(autobatch("queue", "--json", path=path).output)[0]["state"] == "queued"
    assert json.loads(autobatch("status", "--json", path=path).output)["daemon"] is None


@pytest.mark.usefixtures("queue")
def test_each_command_says_what_it_did(path):
    assert "is paused before it began" in autobatch("pause", "1", path=path).output
    assert "paused by a person" in autobatch("status", path=path).output
    assert autobatch("resume", "1", path=path).output == "Search 1 (demo) goes on.\n"
    assert "is cancelled" in autobatch("cancel", "1", path=path).output
    assert "The queue is empty." in autobatch("queue", path=path).output
    assert "No daemon works on" in autobatch("daemon", "stop", path=path).output
    assert isinstance(autobatch("pause", "1", path=path).exception, AutobatchError)


def test_names_are_shown_without_what_a_terminal_would_obey(path, queue):
    queue.submit({"model": "red\x1b[31m\nmodel", "budget_s": 600.0}, None, "cpu")
    shown = autobatch("status", path=path).output + autobatch("pause", "2", path=path).output
    assert "\x1b" not in shown
    assert "red\ufffd[31m model: 0 s of 10 min" in shown
    assert "Search 2 (red\ufffd[31m model) is paused" in shown


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("arguments", [["status", "--watch", "--json"], ["logs", "-f", "1"]])
def test_looking_on_ends_quietly_with_ctrl_c(arguments, path):
    command = [sys.executable, "-m", "autobatch", *arguments, "--db", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if arguments[0] == "status":
        assert json.loads(process.stdout.readline())["searches"][0]["search"] == 1
    else:
        time.sleep(2)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


@pytest.fixture
def foreign(tmp_path):
    """Return files that autobatch did not make, alone in a folder: a database of Optuna's, and a text."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db")
    optuna.create_study(storage=storage, study_name="theirs").add_trial(optuna.trial.create_trial(value=1.0))
    storage.engine.dispose()
    (folder / "notes.txt").write_text("not a database")
    return folder


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_database_of_optunas_alone_has_an_empty_queue(foreign):
    done = autobatch("status", path=foreign / "optuna.db")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "The queue is empty.")
    assert json.loads(autobatch("queue", "--json", path=foreign / "optuna.db").output) == []


@pytest.mark.parametrize("arguments", [["status"], ["pause", "1"], ["cancel", "1"], ["logs", "1"], ["daemon", "stop"]])
def test_foreign_files_are_left_as_they_are(foreign, arguments):
    before = contents(foreign)
    for name in before:
        autobatch(*arguments, path=foreign / name)
    assert contents(foreign) == before


def test_starting_on_a_foreign_file_leaves_nothing_beside_it(foreign):
    before = contents(foreign)
    error = autobatch("daemon", "start", path=foreign / "notes.txt").exception
    assert isinstance(error, DatabaseError)
    assert isinstance(autobatch("daemon", "run", path=foreign / "notes.txt").exception, DatabaseError)
    assert contents(foreign) == before


@pytest.mark.usefixtures("queue")
def test_the_daemon_itself_is_told(path):
    done = autobatch("daemon", "status", path=path)
    assert done.exit_code == 3
    assert "daemon: none; `autobatch daemon start` starts it\n" in done.output
    holder = Database(path)
    presence.take(holder)
    try:
        # locks are told between open files, so our own is told to us as another's
        done = autobatch("daemon", "status", path=path)
        state = json.loads(autobatch("daemon", "status", "--json", path=path).output)
    finally:
        holder.close()
    assert done.exit_code == 0
    assert f"daemon: process {os.getpid()}, since " in done.output
    assert f"database: {path}\n" in done.output
    assert "queue: 1 queued\n" in done.output
    assert (state["running"], state["pid"], state["database"]) == (True, os.getpid(), str(path))
    assert (state["searches"], state["log"]) == ({"queued": 1}, f"{path}.queue/daemon.log")


def test_without_a_database_there_is_no_daemon_to_tell_of(path):
    error = autobatch("daemon", "status", path=path).exception
    assert isinstance(error, DatabaseError)
    assert not list(path.parent.iterdir())


def test_a_unit_is_printed(path):
    assert "Type=notify" in autobatch("daemon", "unit", path=path).output
