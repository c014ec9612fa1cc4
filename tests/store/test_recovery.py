from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from autobatch import attributes
from autobatch.isolation import cgroup, proc
from autobatch.isolation.parent import MARK
from autobatch.machine import cgroups
from autobatch.machine.cgroups import CgroupPaths, Group
from autobatch.settings import Configuration
from autobatch.store import open_storage, read, rows
from autobatch.store.ledger import Ledger
from autobatch.store.mark import Mark
from autobatch.store.owner import Process
from autobatch.store.recovery import close_dead, recover
from autobatch.verdict import Kind, Verdict

STUDY = "kobart"


@pytest.fixture
def study(path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(path)
    study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
    study.set_user_attr(attributes.WORKLOAD, "{}")
    yield study
    storage.engine.dispose()


def own_by(path, process, **changes):
    """Give every row to another process."""
    with Ledger.open(path) as ledger, ledger.database.transaction() as connection:
        other = replace(process, **changes)
        connection.execute(
            "UPDATE ab_owners SET boot_id = ?, pid_namespace = ?, pid = ?, start_time_ticks = ?, ended_at = NULL",
            (other.boot_id, other.pid_namespace, other.pid, other.start_time_ticks),
        )


def test_a_killed_search_leaves_its_row_a_verdict_with_the_evidence(path, begin, killed):
    def act():
        entry = begin(Ledger.open(path), 5, 8)
        entry.started({"pid": 2**22 + 1, "start_time_ticks": 1, "boot_id": "b", "cgroup": "/x"})
        entry.sample({"host_bytes": 123, "phase": "worst_case"})
        entry.intent("above 95 % of the limit")

    pid = killed(act)
    with Ledger.open(path) as ledger:
        [probe] = close_dead(ledger)
        assert close_dead(ledger) == ()
        assert ledger.quarantined(STUDY) == [Configuration(per_device_train_batch_size=8)]
    verdict = probe.verdict
    assert verdict.kind is Kind.KILLED_IN_FLIGHT
    assert verdict.evidence["cause"] == "the search was killed"
    assert verdict.evidence["search_pid"] == pid
    assert verdict.evidence["started"]["cgroup"] == "/x"
    assert verdict.evidence["last_samples"][-1]["host_bytes"] == 123
    assert verdict.evidence["intents"] == ["above 95 % of the limit"]
    assert verdict.evidence["orphans_killed"] == []


def test_its_orphans_are_killed_first(path, begin, killed):
    def act():
        entry = begin(Ledger.open(path))
        environment = {**os.environ, MARK: f"{os.getpid()}-x"}
        child = subprocess.Popen(["sh", "-c", "sleep 600 & wait"], env=environment, start_new_session=True)
        entry.started(
            {"pid": child.pid, "start_time_ticks": proc.stat(child.pid).start_ticks, "boot_id": proc.boot_id()}
        )

    pid = killed(act)
    with Ledger.open(path) as ledger:
        [probe] = close_dead(ledger)
    assert len(probe.verdict.evidence["orphans_killed"]) >= 1
    assert probe.verdict.evidence["orphans_left"] == []
    assert proc.marked(f"{MARK}={pid}-") == []


def test_orphans_are_killed_though_no_probe_was_in_flight(path, begin, killed):
    def act():
        begin(Ledger.open(path)).finish(Verdict(Kind.OK))
        environment = {**os.environ, MARK: f"{os.getpid()}-x"}
        subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True)

    pid = killed(act)
    with Ledger.open(path) as ledger:
        assert close_dead(ledger) == ()
    assert proc.marked(f"{MARK}={pid}-") == []


def test_a_process_that_was_just_being_started_is_found_too(path, begin, killed):
    def act():
        ledger = Ledger.open(path)
        begin(ledger)
        environment = {**os.environ, MARK: f"{os.getpid()}-x"}
        if os.fork() == 0:
            time.sleep(0.3)
            os.execvpe("sleep", ["sleep", "600"], environment)

    pid = killed(act)
    with Ledger.open(path) as ledger:
        [probe] = close_dead(ledger)
    assert len(probe.verdict.evidence["orphans_killed"]) == 1
    assert proc.marked(f"{MARK}={pid}-") == []


@pytest.fixture(params=[1, 2])
def hierarchy(request, tmp_path, monkeypatch):
    """A folder that stands for the one hierarchy of cgroups, of either version."""
    base = tmp_path / "cgroup"
    base.mkdir()
    group = Group(base, base, request.param)
    paths = CgroupPaths(f"v{request.param}", group, group, group if request.param == 2 else None)
    monkeypatch.setattr(cgroups, "read", lambda: paths)
    return base


def note_cgroup(entry, directory):
    """Make a cgroup and write it down as that of a probe which has begun."""
    directory.mkdir()
    entry.started({"pid": 2**22 + 1, "start_time_ticks": 1, "boot_id": "b", "cgroups": [str(directory)]})


def test_the_cgroups_of_a_killed_search_are_removed(path, begin, killed, hierarchy):
    def act():
        ledger = Ledger.open(path)
        ended = begin(ledger, 0, 1)
        note_cgroup(ended, hierarchy / "autobatch-1-x-0001")
        ended.finish(Verdict(Kind.OK))
        note_cgroup(begin(ledger, 1, 2), hierarchy / "autobatch-1-x-0002")
        note_cgroup(begin(ledger, 2, 3), hierarchy / "another")

    killed(act)
    (hierarchy / "autobatch-2-y-0001").mkdir()
    with Ledger.open(path) as ledger:
        assert len(close_dead(ledger)) == 2
    assert sorted(left.name for left in hierarchy.iterdir()) == ["another", "autobatch-2-y-0001"]


def test_the_kernels_cgroups_of_a_killed_search_are_removed(path, begin, killed):
    group = cgroup.create(f"autobatch-test-{time.monotonic_ns()}", 64 << 20, pids_max=32)
    if group is None:
        pytest.skip("cgroups may not be made here")
    names = list(map(str, group.directories))
    killed(lambda: begin(Ledger.open(path)).started({"cgroups": names}))
    with Ledger.open(path) as ledger:
        close_dead(ledger)
    left = [directory for directory in group.directories if directory.exists()]
    group.remove()
    assert left == []


def test_a_cgroup_that_was_busy_is_removed_at_a_later_start(path, begin, killed, hierarchy, monkeypatch):
    monkeypatch.setattr(cgroup, "_REMOVAL_S", 0.05)
    directory = hierarchy / "autobatch-1-x-0001"
    killed(lambda: note_cgroup(begin(Ledger.open(path)), directory))
    (directory / "file").touch()
    with Ledger.open(path) as ledger:
        assert len(close_dead(ledger)) == 1
        assert directory.exists()
        (directory / "file").unlink()
        close_dead(ledger)
    assert not directory.exists()


def test_the_cgroups_of_a_living_search_stay(path, ledger, begin, hierarchy):
    note_cgroup(begin(ledger), hierarchy / "autobatch-1-x-0001")
    with Ledger.open(path) as other:
        close_dead(other)
    assert (hierarchy / "autobatch-1-x-0001").exists()


@pytest.mark.parametrize("facts", ["no JSON", "[]", '{"cgroups": 5}', '{"cgroups": [5, null, "autobatch-\\u0000"]}'])
@pytest.mark.usefixtures("hierarchy")
def test_a_damaged_row_keeps_no_search_from_beginning(path, begin, killed, facts):
    def act():
        ledger = Ledger.open(path)
        entry = begin(ledger)
        entry.started({})
        entry.finish(Verdict(Kind.OK))
        with ledger.database.transaction() as connection:
            connection.execute("UPDATE ab_events SET facts = ?", (facts,))

    killed(act)
    with Ledger.open(path) as ledger:
        assert close_dead(ledger) == ()


def test_what_a_living_search_has_in_flight_is_left_alone(path, ledger, begin):
    begin(ledger)
    with Ledger.open(path) as other:
        assert close_dead(other) == ()
    assert read.probe(path, STUDY, 0)[0].probe.ended_at is None


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"boot_id": "another"}, "the machine was restarted"),
        ({"pid_namespace": "1:1"}, "the search's container ended"),
        ({"start_time_ticks": 1}, "the search was killed"),
    ],
)
def test_the_cause_is_told_from_boot_and_namespace(path, ledger, begin, changes, cause):
    begin(ledger)
    ledger.database.close()
    own_by(path, Process.current(), **changes)
    with Ledger.open(path) as other:
        [probe] = close_dead(other)
    assert probe.verdict.evidence["cause"] == cause


def test_another_programs_running_trials_are_left_alone(path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(path)
    study = optuna.create_study(storage=storage, study_name="mine")
    study.ask()
    with Ledger.open(path) as ledger:
        recover(ledger, storage)
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING]
    storage.engine.dispose()


def test_a_search_in_another_living_container_is_left_alone(path, ledger, begin):
    begin(ledger)
    with ledger.database.reading() as connection:
        [owner] = rows.owners(connection)
    own_by(path, Process.current(), pid_namespace="1:1")
    with Ledger.open(path) as other:
        assert close_dead(other) == ()
    ledger.database.close()
    held = Mark(path)
    held.hold(owner)
    with Ledger.open(path) as other:
        assert close_dead(other) == ()
        held.close()
        assert len(close_dead(other)) == 1


def test_a_search_that_ended_in_order_leaves_nothing_to_recover(path, begin):
    with Ledger.open(path) as ledger:
        begin(ledger).finish(Verdict(Kind.OK))
    with Ledger.open(path) as ledger, ledger.database.reading() as connection:
        assert rows.owners(connection) == {}


def test_optunas_running_trials_are_failed_or_handed_back_to_be_told(path, study, begin, killed):
    def act():
        ledger = Ledger.open(path)
        begin(ledger, 0, 1).finish(Verdict(Kind.OK))
        begin(ledger, 1, 2)

    for _ in range(3):
        study.ask()
    killed(act)
    with Ledger.open(path) as ledger:
        recovery = recover(ledger, study._storage)
        assert [probe.trial_number for probe in recovery.killed] == [1]
        assert [probe.trial_number for probe in recovery.untold] == [0]
        assert recovery.untold[0].verdict.ok
        study.tell(0, 12.0)
        assert recover(ledger, study._storage) == replace(recovery, killed=(), untold=())
    trials = study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]
    assert trials[1].user_attrs[attributes.VERDICT] == Kind.KILLED_IN_FLIGHT
    assert trials[1].user_attrs[attributes.DIGEST] == recovery.killed[0].digest
    assert attributes.VERDICT not in trials[2].user_attrs


def test_trials_of_a_living_search_go_on(path, study, ledger, begin):
    first, second = study.ask(), study.ask()
    begin(ledger, first.number)
    with Ledger.open(path) as other:
        recovery = recover(other, study._storage)
    assert (recovery.killed, recovery.untold) == ((), ())
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING] * 2
    assert second.number == 1


def test_a_recovery_killed_halfway_is_completed_by_the_next(path, study, begin, killed):
    trial = study.ask()
    killed(lambda: begin(Ledger.open(path), trial.number))
    with Ledger.open(path) as ledger:
        close_dead(ledger)
    with Ledger.open(path) as ledger:
        assert recover(ledger, study._storage).untold == ()
    assert study.get_trials()[0].state is TrialState.FAIL


def test_two_recoveries_at_once_tell_of_a_probe_once(path, begin, killed):
    killed(lambda: begin(Ledger.open(path)))
    script = (
        "import sys; from autobatch.store.ledger import Ledger; from autobatch.store.recovery import close_dead\n"
        "print(len(close_dead(Ledger.open(sys.argv[1]))))"
    )
    both = [subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) for _ in range(2)]
    assert sorted(int(process.communicate(timeout=60)[0]) for process in both) == [0, 1]


def test_recovering_is_quick(path, begin, killed):
    killed(lambda: begin(Ledger.open(path)))
    began = time.monotonic()
    with Ledger.open(path) as ledger:
        close_dead(ledger)
    assert time.monotonic() - began < 5
