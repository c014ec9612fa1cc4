from types import SimpleNamespace

import pytest
import recorded

from autobatch.job.request import Job
from autobatch.job.run import _scene
from autobatch.review.standing import LedgerWatch, known_best
from autobatch.settings import Configuration
from autobatch.store.ledger import Ledger
from autobatch.verdict import Kind, Verdict


@pytest.fixture
def now():
    return [0.0]


def test_the_newest_sample_of_the_probe_at_work(tmp_path, now):
    with Ledger.open(tmp_path / "trials.db") as ledger:
        watch = LedgerWatch(tmp_path / "trials.db", "study", lambda: now[0])
        assert watch() == {}
        entry = ledger.begin("study", 0, Configuration(), "probe", "search")
        entry.sample({"device_bytes": 1, "phase": "build"})
        entry.started({"pid": 1})
        now[0] += 1
        assert watch() == {"device_bytes": 1, "phase": "build"}
        entry.finish(Verdict(Kind.OK))
        now[0] += 1
        assert watch() == {}


def test_it_reads_twice_a_second_at_most(tmp_path, now):
    with Ledger.open(tmp_path / "trials.db") as ledger:
        watch = LedgerWatch(tmp_path / "trials.db", "study", lambda: now[0])
        watch()
        ledger.begin("study", 0, Configuration(), "probe", "search").sample({"phase": "build"})
        now[0] += 0.4
        assert watch() == {}


def test_another_studys_probe_is_not_shown(tmp_path):
    with Ledger.open(tmp_path / "trials.db") as ledger:
        ledger.begin("another", 0, Configuration(), "probe", "search").sample({"phase": "build"})
        assert LedgerWatch(tmp_path / "trials.db", "study")() == {}


def test_a_database_that_cannot_be_read_is_no_news(tmp_path):
    assert LedgerWatch(tmp_path / "none.db", "study")() == {}
    (tmp_path / "text.db").write_text("no database" * 100)
    assert LedgerWatch(tmp_path / "text.db", "study")() == {}


def test_the_best_of_a_study_so_far_is_its_fastest_training(tmp_path):
    study = recorded.make(tmp_path / "trials.db")
    # an evaluation's value is carried from a training, and it measured none itself
    study.add_trial(recorded.create_trial(value=99.0, user_attrs={"verdict": "ok"}))
    best = known_best(tmp_path / "trials.db", recorded.STUDY)
    assert (best.trial, best.samples_per_s) == (9, pytest.approx(16 / 1.32))
    assert best.settings["per_device_train_batch_size"] == 8
    assert known_best(tmp_path / "trials.db", "another") is None


def test_a_search_that_is_resumed_begins_with_the_best_it_knew(tmp_path):
    recorded.make(tmp_path / "trials.db")
    prepared = SimpleNamespace(study=recorded.STUDY, workload=recorded.WORKLOAD, limits=recorded.LIMITS)
    job = Job(model="demo", budget_s=60.0, database=str(tmp_path / "trials.db"))
    assert _scene(job, prepared).best.trial == 9
