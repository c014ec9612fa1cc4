from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autobatch.errors import MachineError
from autobatch.isolation import cgroup, device, proc, watch
from autobatch.isolation import runner as runner_module
from autobatch.machine.gpus import Gpu
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import ALLOCATOR, Configuration
from autobatch.verdict import Kind

PLAN = Plan(max_seconds=60.0)
GIB = 1 << 30


def seen_by(journal):
    return json.loads(Path(journal.facts["folder"], "seen.json").read_text())


def left_of(runner):
    return [pid for pid in proc.marked(runner.parent.mark) if pid != runner.parent.pid]


def test_a_probe_that_runs_is_ok_with_its_figures(make_runner, journal):
    verdict = make_runner("succeed").run(Configuration(), PLAN, journal)
    assert verdict.kind == Kind.OK
    assert verdict.measurements.samples_per_s == 8.0
    assert verdict.measurements.startup_s.keys() == {"fork", "imports"}
    assert 0 < sum(verdict.measurements.startup_s.values()) < verdict.duration_s


def test_the_request_is_what_was_asked(make_runner, journal):
    configuration = Configuration(per_device_train_batch_size=4)
    limits = Limits(device_bytes=GIB, host_bytes=2 * GIB)
    make_runner("succeed", seed=5, limits=limits).run(configuration, PLAN, journal)
    request = ProbeRequest.from_json(Path(journal.facts["folder"], "request.json").read_text())
    assert (request.configuration, request.limits, request.seed) == (configuration, limits, 5)
    assert replace(request.plan, max_seconds=PLAN.max_seconds) == PLAN
    assert 50.0 < request.plan.max_seconds <= PLAN.max_seconds
    assert request.folder == journal.facts["folder"]


def test_the_journal_learns_of_the_process_before_it_runs(make_runner, journal):
    def started(facts):
        journal.facts = dict(facts)
        assert proc.is_same(facts["pid"], facts["start_time_ticks"])
        assert not Path(facts["folder"], "entered.json").exists()
        assert all(Path(path, "cgroup.procs").read_text().split() == [str(facts["pid"])] for path in facts["cgroups"])

    journal.started = started
    assert make_runner("succeed").run(Configuration(), PLAN, journal).ok
    assert journal.facts["boot_id"] == proc.boot_id()
    assert "vmstat.oom_kill" in journal.facts["counters"]
    json.dumps(journal.facts)


def test_what_the_parents_imports_take_is_no_time_of_the_probes(make_runner, journal, monkeypatch, tmp_path):
    runner = make_runner("succeed")
    ensure = runner.parent.ensure
    monkeypatch.setattr(runner.parent, "ensure", lambda: (time.sleep(0.2), ensure()))

    assert runner.run(Configuration(), Plan(max_seconds=30.0), journal).ok

    requests = [json.loads(path.read_text()) for path in tmp_path.rglob("request.json")]
    assert [request["plan"]["max_seconds"] < 29.9 for request in requests] == [True]


def test_the_child_leads_a_session_and_offers_itself_to_the_kernel(make_runner, journal):
    make_runner("succeed").run(Configuration(), PLAN, journal)
    seen = seen_by(journal)
    assert seen["leads_session"]
    assert seen["oom_score_adj"] == 1000
    assert Path("/proc/self/oom_score_adj").read_text().strip() != "1000"


@pytest.mark.parametrize("value", ["", "expandable_segments:True"])
def test_allocator_settings_are_the_configurations(make_runner, journal, value):
    make_runner("succeed").run(Configuration({ALLOCATOR: value}), PLAN, journal)
    environment = seen_by(journal)["environment"]
    assert environment["PYTORCH_ALLOC_CONF"] == environment["PYTORCH_CUDA_ALLOC_CONF"] == (value or None)
    assert environment["OMP_NUM_THREADS"]


def test_a_hang_is_ended_with_all_its_processes(make_runner, journal):
    runner = make_runner("scatter", hang_s=1.2)
    verdict = runner.run(Configuration(), PLAN, journal)
    assert verdict.kind == Kind.HANG
    assert journal.intents == ["hang"]
    assert verdict.evidence["phase"] == "build"
    assert journal.samples[0]["host_bytes"] > 0
    assert verdict.evidence["process_states"] == "S"
    assert left_of(runner) == []
    assert not any(Path(path).exists() for path in journal.facts["cgroups"])


def test_one_that_waits_for_a_batch_which_shared_memory_refused_is_ended_soon(make_runner, journal, monkeypatch):
    monkeypatch.setattr(watch, "_OOM_GRACE_S", 0.5)
    verdict = make_runner("starve").run(Configuration(), PLAN, journal)
    assert verdict.kind == Kind.SHM_FULL
    assert journal.intents == ["shm"]
    assert verdict.duration_s < 30


def test_without_a_cgroup_the_tree_dies_too(make_runner, journal):
    runner = make_runner("scatter", hang_s=1.2, use_cgroup=False)
    verdict = runner.run(Configuration(), PLAN, journal)
    assert verdict.kind == Kind.HANG
    assert verdict.evidence["cgroup"] == "none"
    assert left_of(runner) == []


def test_workers_left_by_a_probe_that_ran_are_ended(make_runner, journal):
    runner = make_runner("leave_workers")
    assert runner.run(Configuration(), PLAN, journal).ok
    assert left_of(runner) == []


def test_a_probe_that_is_too_large_does_not_take_us_along(make_runner, journal):
    small = Limits(host_bytes=200 << 20)
    runner = make_runner("succeed", limits=small)
    runner._entry = "benchmarks.faults.classification_entries:eats"
    verdict = runner.run(Configuration(), PLAN, journal)
    assert verdict.kind in (Kind.HOST_OOM, Kind.WATCHDOG_MEMORY)
    assert verdict.evidence["host_limit_bytes"] == 200 << 20


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_the_journal_raises_gets_out_and_nothing_is_left(make_runner, journal, error):
    def sample(_):
        raise error

    journal.sample = sample
    runner = make_runner("scatter")
    with pytest.raises(error):
        runner.run(Configuration(), PLAN, journal)
    assert left_of(runner) == []
    assert journal.intents == (["interrupt"] if error is KeyboardInterrupt else [])
    assert make_runner("succeed").run(Configuration(), PLAN, type(journal)()).ok


def test_a_parent_that_dies_beneath_a_probe_leaves_nothing_and_no_verdict(make_runner, journal):
    runner = make_runner("scatter")
    runner.parent.ensure()

    def sample(facts):
        if facts["phase"]:
            os.kill(runner.parent.pid, 9)

    journal.sample = sample
    verdict = runner.run(Configuration(), PLAN, journal)
    assert verdict.kind == Kind.NO_VERDICT
    assert proc.marked(runner.parent.mark) == []
    assert make_runner("succeed").run(Configuration(), PLAN, type(journal)()).ok


@pytest.mark.parametrize("use_cgroup", [True, False])
def test_a_parent_that_dies_before_a_probe_is_let_go_leaves_nothing_and_no_verdict(make_runner, journal, use_cgroup):
    runner = make_runner("succeed", use_cgroup=use_cgroup)
    runner.parent.ensure()
    dead = runner.parent.pid

    def started(facts):
        journal.facts = dict(facts)
        os.kill(dead, 9)
        while runner.parent.pid is not None:
            time.sleep(0.01)

    journal.started = started
    verdict = runner.run(Configuration(), PLAN, journal)
    assert verdict.kind == Kind.NO_VERDICT
    assert not Path(journal.facts["folder"], "entered.json").exists()
    assert proc.marked(runner.parent.mark) == []
    assert not any(Path(path).exists() for path in journal.facts["cgroups"])
    assert runner.run(Configuration(), PLAN, type(journal)()).ok
    assert runner.parent.pid not in (None, dead)


class FailingCard:
    """A card whose driver answers nothing but errors."""

    gpu = Gpu(0, "card", "GPU-1", 80 * GIB, (9, 0), "1")

    def fail(self):
        raise MachineError("NVML: Unknown Error.", "Check that `nvidia-smi` works here.")

    memory_used_bytes = processes = loads = xids = fail


def test_a_card_that_cannot_be_read_is_no_end_of_a_probe(make_runner, journal, monkeypatch):
    monkeypatch.setattr(device, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(device, "_RELEASE_S", 0.1)
    verdict = make_runner("succeed", gpu=FailingCard()).run(Configuration(), PLAN, journal)
    assert verdict.kind == Kind.OK
    assert verdict.measurements.device_peak_used_bytes is None
    assert verdict.evidence["device"] == {"total_bytes": 80 * GIB}


def test_no_cgroup_stays_where_watching_the_card_is_interrupted(make_runner, journal, monkeypatch):
    made, create = [], cgroup.create

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cgroup, "create", lambda *args: made.append(create(*args)) or made[-1])
    monkeypatch.setattr(runner_module, "DeviceWatch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_runner("succeed", gpu=FailingCard()).run(Configuration(), PLAN, journal)
    if made == [None]:
        pytest.skip("cgroups may not be made here")
    assert not any(directory.exists() for group in made for directory in group.directories)


def test_a_cgroup_that_cannot_be_entered_is_done_without(make_runner, journal, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(cgroup.ProbeGroup, "add", refuse)
    verdict = make_runner("succeed").run(Configuration(), PLAN, journal)
    assert verdict.ok
    assert journal.facts["cgroup"] is None


def test_a_folder_that_cannot_be_written_is_said(make_runner, journal, monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    runner = make_runner("succeed")
    runner.parent.ensure()
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(MachineError, match="No space left on device"):
        runner.run(Configuration(), PLAN, journal)


def test_a_probe_goes_before_its_neighbours_fill_the_container(make_runner, journal, monkeypatch):
    runner = make_runner("scatter", limits=Limits(host_bytes=GIB))
    runner.parent.ensure()
    rooms = iter([8 * GIB, 8 * GIB, GIB])
    monkeypatch.setattr(watch, "headroom_bytes", lambda _: next(rooms, 100 << 20))
    verdict = runner.run(Configuration(), PLAN, journal)
    assert verdict.kind == Kind.HOST_OOM_ANCESTOR
    assert journal.intents == ["squeezed"]


def test_a_users_exception_is_kept(make_runner, journal):
    verdict = make_runner("fail").run(Configuration(), PLAN, journal)
    assert verdict.kind == Kind.USER_ERROR
    assert 'int("three labels")' in verdict.evidence["exception"]["traceback"]


def test_time_that_is_up_ends_it(make_runner, journal):
    began = time.monotonic()
    verdict = make_runner("scatter").run(Configuration(), Plan(max_seconds=1.5), journal)
    assert verdict.kind in (Kind.TIMEOUT, Kind.HANG)
    assert time.monotonic() - began < 10


def test_a_search_that_runs_probes_imports_no_torch():
    code = "import sys, autobatch.isolation.runner; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
