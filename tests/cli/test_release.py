from __future__ import annotations

import optuna
import pytest
from click.testing import CliRunner

from autobatch.cli import root
from autobatch.errors import DatabaseError, UsageError
from autobatch.settings import Configuration
from autobatch.store import open_storage
from autobatch.store.ledger import Ledger
from autobatch.verdict import Kind, Verdict

KILLER = Configuration(per_device_train_batch_size=8)


@pytest.fixture
def release(tmp_path):
    """A database of two studies, of which the one worked on last holds a configuration back; run the command on it."""
    path = tmp_path / "trials.db"
    storage = open_storage(path)
    for name in ("first", "last"):
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        study.tell(study.ask(), 1.0)
    storage.engine.dispose()
    with Ledger.open(path) as ledger:
        ledger.begin("last", 0, KILLER, "probe", "search").finish(Verdict(Kind.KILLED_IN_FLIGHT))
    return lambda *words: CliRunner().invoke(root, ["release", "--db", str(path), *words])


def test_it_lists_and_releases_what_the_study_worked_on_last_holds_back(release):
    assert KILLER.digest in release().output
    assert "micro-batch 8" in release().output
    assert release(KILLER.digest).exit_code == 0
    assert release().output == "Nothing of study last is held back.\n"


def test_a_study_may_be_named(release):
    assert release("--study", "first").output == "Nothing of study first is held back.\n"
    assert KILLER.digest in release("--study", "last").output
    assert isinstance(release("--study", "first", KILLER.digest).exception, UsageError)


@pytest.mark.parametrize("name", ["another", "\udced\udc95"])
def test_a_study_or_a_configuration_that_there_is_not_is_an_error(release, name):
    assert isinstance(release("--study", name).exception, UsageError)
    assert isinstance(release(name).exception, UsageError)


def test_a_database_that_there_is_not_is_one_of_the_databases_errors_and_is_not_made(tmp_path):
    error = CliRunner().invoke(root, ["release", "--db", str(tmp_path / "none.db")]).exception
    assert isinstance(error, DatabaseError)
    assert not list(tmp_path.iterdir())
