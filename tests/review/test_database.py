import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import recorded

from autobatch.errors import DatabaseError, UsageError
from autobatch.review.database import Database
from autobatch.settings import Configuration


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("db") / "trials 100% #1.db"
    recorded.make(path)
    return path


def test_studies_are_counted_and_the_best_is_feasible(path):
    (study,) = Database(path).studies()
    assert (study.name, study.model, study.trials) == (recorded.STUDY, "llama-3.2-korean-3b", 10)
    assert study.best_samples_per_s == pytest.approx(16 / 1.32)
    assert study.device_limit_gib == 24
    assert study.safe_limit_gib == pytest.approx(20.4)
    assert study.safe_host_gib == pytest.approx(48)


def test_parameters_are_read_as_optuna_reads_them(path):
    database = Database(path)
    ours = {trial.number: trial for trial in database.trials(database.study())}
    theirs = optuna.load_study(study_name=recorded.STUDY, storage=recorded.storage(path)).trials
    assert len(ours) == len(theirs)
    for trial in theirs:
        assert trial.params.items() <= ours[trial.number].settings.items()
        assert ours[trial.number].attributes == trial.user_attrs
        assert ours[trial.number].value == trial.value
        assert ours[trial.number].start_s == pytest.approx(trial.datetime_start.timestamp())


def test_settings_have_what_is_fixed_and_the_accumulation_that_follows(path):
    database = Database(path)
    trial = database.trial(database.study(), 4)
    settings = trial.settings
    assert settings["method"] == "lora"
    assert settings["gradient_accumulation_steps"] == 2
    assert Configuration(settings).micro_batch == 8


def test_newest_first_limited_and_failed(path):
    database = Database(path)
    study = database.study()
    assert [trial.number for trial in database.trials(study, limit=3)] == [9, 8, 7]
    failed = list(database.trials(study, failed=True))
    assert [trial.number for trial in failed] == [8, 5, 2, 1]
    assert all(trial.failed for trial in failed)
    assert not any(trial.failed for trial in database.trials(study) if trial.number not in {8, 5, 2, 1})


def test_the_best_are_feasible_and_in_order(path):
    database = Database(path)
    best = database.best_trials(database.study(), 3)
    assert [trial.number for trial in best] == [9, 4, 3]


def test_verdicts_are_counted(path):
    database = Database(path)
    assert database.verdicts(database.study())["cuda_oom_train"] == 2


def test_an_unknown_study_or_trial_names_the_next_step(path):
    database = Database(path)
    with pytest.raises(UsageError) as caught:
        database.study("another")
    assert recorded.STUDY in caught.value.do
    with pytest.raises(UsageError, match="no trial 99"):
        database.trial(database.study(), 99)


def test_what_is_no_database_of_ours_is_said_and_left_alone(tmp_path: Path):
    with pytest.raises(DatabaseError, match="no database"):
        Database(tmp_path / "none.db").studies()
    text = tmp_path / "text.db"
    text.write_text("not a database, but long enough to have a header of its own " * 20)
    with pytest.raises(DatabaseError, match="not an SQLite database"):
        Database(text).studies()
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(DatabaseError, match="holds no studies"):
        Database(empty).studies()
    assert empty.stat().st_size == 0


def test_a_database_without_studies_says_so(tmp_path: Path):
    recorded.storage(tmp_path / "new.db")
    database = Database(tmp_path / "new.db")
    assert database.studies() == []
    with pytest.raises(UsageError, match="holds no study"):
        database.study()


def test_another_programs_database_is_said_to_be_one(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(DatabaseError, match="another program"):
        Database(tmp_path / "other.db").studies()
