from __future__ import annotations

import itertools
import json
import signal
import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner

import autobatch.job.run
from autobatch.cli import root
from autobatch.cli.interrupts import orderly_end
from autobatch.errors import EXIT_INTERRUPTED
from autobatch.review.answer import answer_text
from autobatch.settings import Configuration
from autobatch.store.ledger import Ledger

SEARCH = [sys.executable, "-m", "autobatch", "search", "--model=demo", "--device=cpu", "--budget=100s", "--json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_interrupts_once_and_the_end_is_not_broken_off(number):
    before = signal.getsignal(number)
    with orderly_end():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) == before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with orderly_end():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_before_there_is_an_answer_is_two_lines_and_its_exit_code(monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(autobatch.job.run, "prepare", interrupted)

    result = CliRunner().invoke(root, [*SEARCH[3:], "--db", str(tmp_path / "trials.db")])

    assert result.exception.exit_code == EXIT_INTERRUPTED
    assert result.exception.what == "Interrupted."


def test_a_search_told_to_end_while_it_probes_keeps_its_rows_in_order(tmp_path):
    database = tmp_path / "trials.db"
    with subprocess.Popen(
        [*SEARCH, "--db", str(database)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as search:
        _await_probe(search)
        search.send_signal(signal.SIGTERM)
        search.send_signal(signal.SIGINT)
        answer = json.loads(search.communicate(timeout=120)[0])

    assert search.returncode == EXIT_INTERRUPTED
    assert answer["interrupted"]
    with Ledger.open(database) as ledger:
        assert ledger.quarantined(answer["study"]) == []
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT kind FROM ab_probes").fetchall() == [("killed",)]
        assert connection.execute("SELECT state FROM trials").fetchall() == [("FAIL",)]


def test_the_answer_after_a_killed_search_says_what_is_held_back(tmp_path):
    database = tmp_path / "trials.db"
    command = [*SEARCH, "--db", str(database), "--study", "s"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as search:
        _await_probe(search)
        search.kill()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as search:
        _await_probe(search)
        search.send_signal(signal.SIGTERM)
        answer = json.loads(search.communicate(timeout=120)[0])

    [held] = answer["held_back"]
    assert Configuration(held["configuration"]).digest == held["digest"]
    assert held["digest"] in answer_text(answer)


def _await_probe(search):
    said = list(itertools.takewhile(lambda line: " starts: " not in line, search.stderr))
    assert search.poll() is None, said
