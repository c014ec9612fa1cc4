from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys

import optuna
import pytest

from autobatch.errors import DatabaseError
from autobatch.settings import Configuration
from autobatch.store import mark as marks
from autobatch.store import open_storage
from autobatch.store.ledger import Ledger
from autobatch.store.storage import open_storage as open_with

WRITER = """
import sys, optuna
from autobatch.store import open_storage
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = open_storage(sys.argv[1])
study = optuna.create_study(storage=storage, study_name="s", direction="maximize", load_if_exists=True)
for n in range(int(sys.argv[2])):
    trial = study.ask()
    trial.suggest_int("x", 1, 9)
    trial.set_user_attr("n", n)
    study.tell(trial, 1.0)
"""


@pytest.fixture
def storage(path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(path)
    yield storage
    storage.engine.dispose()


@pytest.fixture
def study(storage):
    return optuna.create_study(storage=storage, study_name="s", direction="maximize")


def test_its_connections_are_as_durable_as_ours(storage, path):
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_shares_the_file_with_the_ledger_in_either_order(tmp_path):
    for first, second in ((open_storage, Ledger.open), (Ledger.open, open_storage)):
        path = tmp_path / first.__module__ / "trials.db"
        opened = first(path), second(path)
        connection = sqlite3.connect(path)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        connection.close()
        assert {"ab_probes", "trials", "alembic_version"} <= tables
        del opened


def test_an_existing_study_of_optunas_own_is_adopted(tmp_path):
    path = tmp_path / "optuna.db"
    own = optuna.create_study(storage=f"sqlite:///{path}", study_name="old")
    own.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert len(optuna.load_study(storage=open_storage(path), study_name="old").trials) == 2


def test_processes_may_write_at_once_from_the_very_first_moment(path):
    command = [sys.executable, "-c", WRITER, str(path), "6"]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    assert [writer.communicate(timeout=120)[1] for writer in writers] == [b""] * 3
    trials = optuna.load_study(storage=open_storage(path), study_name="s").trials
    assert sorted(trial.number for trial in trials) == list(range(18))
    assert all(trial.user_attrs and trial.value == 1.0 for trial in trials)


def test_a_read_then_write_survives_another_writer_between(storage, study, path):
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM trials").scalar() == 0
        with Ledger.open(path) as ledger:
            ledger.begin("s", 0, Configuration(), "probe", "search")
        connection.exec_driver_sql("UPDATE studies SET study_name = 't'")
        connection.commit()
    assert study._storage.get_all_studies()[0].study_name == "t"


def test_losing_optunas_last_commit_is_noticed(study, path, tmp_path):
    trial = study.ask()
    study._storage._backend.engine.dispose()
    shutil.copytree(path.parent, tmp_path / "before")
    study.tell(trial, 1.0)
    expected = marks.expected(path)
    study._storage._backend.engine.dispose()
    shutil.copy(tmp_path / "before" / path.name, path)
    assert expected.commits > marks.expected(tmp_path / "before" / path.name).commits
    with pytest.raises(DatabaseError, match="commits are missing"):
        open_storage(path)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE])
def test_a_commit_that_the_disk_refused_is_not_expected_later(storage, study, path, monkeypatch, code):
    def refuse(connection):
        if not connection.dbapi_connection.in_transaction:  # it has only read
            return
        error = sqlite3.OperationalError("the disk refused")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(storage.engine.dialect, "do_commit", refuse)
    with pytest.raises(DatabaseError):
        study.ask()
    monkeypatch.undo()
    reopened = open_storage(path)
    again = optuna.load_study(storage=reopened, study_name="s")
    assert again.ask().number == 0
    reopened.engine.dispose()
    with sqlite3.connect(path) as connection:
        held = connection.execute("SELECT commits FROM ab_database").fetchone()
    assert held == (marks.expected(path).commits,)


def test_a_database_deleted_in_use_is_an_error(study, path):
    path.unlink()
    with pytest.raises(DatabaseError, match="deleted or replaced"):
        study.ask()


def test_a_locked_database_is_an_error(path):
    storage = open_with(path, busy_s=0.1)
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match="locked by another program"):
        study.ask()
    other.close()
    assert study.ask().number == 0


def test_a_duplicate_study_is_still_optunas_own_error(storage, study):
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):
        optuna.create_study(storage=storage, study_name=study.study_name)


def test_another_version_of_optunas_tables_is_an_error(study, path):
    study._storage._backend.engine.dispose()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = 'v99'")
    connection.commit()
    connection.close()
    with pytest.raises(DatabaseError, match="another version of Optuna"):
        open_storage(path)
