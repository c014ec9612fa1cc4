"""A case of the main job: its time, its row and its database."""

import sqlite3
from contextlib import closing

import pytest

from benchmarks import forks, live, processes
from benchmarks.common import Deadline

CHOSEN = {
    "configuration": {"per_device_train_batch_size": 8},
    "measurements": {"samples_per_s": 50.0, "step_s": 0.5, "device_peak_used_bytes": 2 * live.GIB},
}


def case(tmp_path, *words, seconds=100.0, model="demo", card=""):
    options = live.command().parse_args(["--case", model, "--device", "cpu", *words])
    return live.Case(live.Row(model, card), options, Deadline(seconds, lambda: 0.0), tmp_path)


@pytest.fixture
def asked(monkeypatch):
    """Answer every search, and remember what was asked for."""
    budgets = []

    def search(self, budget_s):  # noqa: ARG001 - as the method's
        budgets.append(round(budget_s, 3))
        return {"chosen": CHOSEN, "probes": 7, "stopped": "enough"}

    monkeypatch.setattr(live.Case, "search", search)
    monkeypatch.setattr(live.Case, "train", lambda self: None)  # noqa: ARG005 - nothing is trained
    return budgets


def test_a_search_has_most_of_the_time_of_its_case(tmp_path, asked):
    one = case(tmp_path)
    one.run()
    assert asked == [70.0]
    assert (one.row.probes, one.row.promised_step_s, one.row.promised_peak_gib) == (7, 0.5, 2.0)


def test_a_budget_that_is_asked_for_is_kept(tmp_path, asked):
    case(tmp_path, "--budget", "45s").run()
    assert asked == [45.0]


def test_a_search_that_fails_leaves_its_words(tmp_path, monkeypatch):
    failed = processes.Done(3, "", "autobatch: it is in use\n", timed_out=False)
    monkeypatch.setattr(processes, "start", lambda _: type("Started", (), {"finish": lambda *_: failed})())
    monkeypatch.setattr(forks, "import_once", lambda: None)
    one = case(tmp_path)
    one.run()
    assert "in use" in one.row.note
    assert one.row.real_step_s == 0.0


@pytest.mark.parametrize(("card", "name"), [("24GiB", "live-demo-24GiB"), ("", "live-demo")])
def test_a_case_has_a_name_for_its_file(card, name):
    assert live.Row("demo", card).name == name


def test_a_kept_database_has_what_was_not_yet_merged(tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.db")) as open_database:
        open_database.execute("PRAGMA journal_mode = WAL")
        open_database.execute("CREATE TABLE x (y)")
        open_database.execute("INSERT INTO x VALUES (7)")
        open_database.commit()
        live.keep(tmp_path / "a.db", tmp_path / "b.db")
    with closing(sqlite3.connect(tmp_path / "b.db")) as kept:
        assert kept.execute("SELECT y FROM x").fetchall() == [(7,)]
