import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from autobatch.cli import root
from autobatch.errors import AutobatchError
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


def test_a_unit_is_printed(path):
    assert "Type=notify" in autobatch("daemon", "unit", path=path).output
