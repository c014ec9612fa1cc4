from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

import autobatch.job.run
from autobatch.daemon import on_done, places, worker
from autobatch.daemon.witness import Witness
from autobatch.daemon.worker import Worker
from autobatch.errors import DatabaseError, MachineError, UsageError
from autobatch.review.terminal import PatientStream
from autobatch.search.seams import StopSearch
from autobatch.settings import Configuration
from autobatch.store.entry import State, Wish
from autobatch.store.ledger import Ledger
from autobatch.verdict import Kind, Verdict

ANSWER = {"interrupted": False, "chosen": {"measurements": {"samples_per_s": 9.0}}, "study": "s"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """Signal handlers and the present folder as they were."""
    monkeypatch.chdir(tmp_path)
    kept = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def work(queue, path, submit, monkeypatch):
    """Run an entry whose search is the given function of `autobatch.job.run.run`'s arguments; return the entry."""

    def work(search, *, shares=1, **options):
        monkeypatch.setattr(autobatch.job.run, "run", search)
        entry = submit(**options)
        claimed = queue.claim(queue.item(entry), "cpu")
        Worker(path, entry, claimed.starts, shares).run()
        return queue.item(entry)

    return work


def raising(error):
    def search(*_, **__):
        raise error

    return search


def test_a_search_that_ends_is_done(work):
    item = work(lambda *_, **__: ANSWER)
    assert (item.state, item.answer["study"], item.worker, item.reason) == (State.DONE, "s", None, "")


def test_nothing_that_fits_is_an_answer_too(work):
    item = work(lambda *_, **__: {**ANSWER, "chosen": None, "advice": "a smaller model would"}, on_done="touch ran")
    assert (item.state, item.reason) == (State.DONE, "a smaller model would")
    assert not os.path.exists("ran")  # noqa: PTH110 - in the folder of the search


def test_what_is_held_back_is_named_where_nothing_else_is_left(work, path):
    with Ledger.open(path) as ledger:
        ledger.begin("s", 0, Configuration(), "probe", "search").finish(Verdict(Kind.KILLED_IN_FLIGHT))
    item = work(lambda *_, **__: {**ANSWER, "chosen": None, "advice": "a smaller model would"})
    assert item.reason.startswith("no answer: 1 configuration(s) ran when a process died")
    assert "autobatch release --study s" in item.reason


def test_files_that_are_gone_fail_the_search_in_one_line(work):
    item = work(raising(UsageError("'train.jsonl' cannot be read.", "Check the path.")))
    assert (item.state, item.reason) == (State.FAILED, "'train.jsonl' cannot be read. Check the path.")


def test_a_folder_that_is_gone_fails_the_search(work, tmp_path):
    item = work(raising(AssertionError), folder=str(tmp_path / "gone"))
    assert item.state is State.FAILED
    assert "cannot be entered" in item.reason


@pytest.mark.parametrize("error", [MachineError("NVML: GPU is lost.", "Reset it."), DatabaseError("Full.", "Free it.")])
def test_trouble_of_the_machine_puts_the_search_off(work, error):
    item = work(raising(error))
    assert (item.state, item.setbacks, item.worker) == (State.QUEUED, 1, None)
    assert item.reason == f"{error.what} {error.do}"
    assert item.retry_at is not None


def test_a_gpu_lost_in_a_probe_puts_the_search_off_before_the_next(work):
    def search(_, view, *, check, **__):
        check()
        view.trial_finished(0, Configuration(), Verdict(Kind.GPU_LOST))
        check()
        return ANSWER

    item = work(search)
    assert item.state is State.QUEUED
    assert item.reason.startswith("The GPU was lost.")


def test_a_disk_that_is_full_after_the_last_probe_is_no_answer(work):
    def search(_, view, **__):
        view.trial_finished(0, Configuration(), Verdict(Kind.DISK_FULL))
        return {**ANSWER, "chosen": None}

    assert work(search).reason.startswith("The disk is full.")


def test_a_finished_probe_ends_a_row_of_setbacks(work, queue):
    seen = []

    def search(_, view, *, check, **__):
        queue.change(queue.item(1), setbacks=4)
        check()
        seen.append(queue.item(1).setbacks)
        view.trial_finished(0, Configuration(), Verdict(Kind.CUDA_OOM_TRAIN))
        check()
        seen.append(queue.item(1).setbacks)
        return ANSWER

    work(search)
    assert seen == [4, 0]


@pytest.mark.parametrize(
    ("wish", "state"),
    [(Wish.PAUSE, State.PAUSED), (Wish.STOP, State.STOPPED), (Wish.CANCEL, State.CANCELLED)],
)
def test_a_wish_ends_the_search_before_its_next_probe(work, queue, wish, state):
    def search(*_, check, **__):
        check()
        queue.want(1, wish)
        with pytest.raises(StopSearch):
            check()
        return {**ANSWER, "interrupted": True}

    item = work(search)
    assert (item.state, item.answer["study"]) == (state, "s")


def test_a_drained_search_waits_for_the_next_daemon(work):
    def search(*_, check, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopSearch):
            check()
        return {**ANSWER, "interrupted": True}

    item = work(search)
    assert (item.state, item.setbacks) == (State.QUEUED, 0)


def test_the_second_signal_and_a_cancellation_end_it_at_once(work, queue):
    def search(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it goes on")

    assert work(search).state is State.QUEUED

    def cancelled(*_, **__):
        queue.want(2, Wish.CANCEL)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it goes on")

    assert work(cancelled).state is State.CANCELLED


def test_waiting_is_shown_and_not_counted(work, queue, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("autobatch.job.gate.time", SimpleNamespace(monotonic=lambda: now[0]))

    def search(*_, clock, waits, check, **__):
        now[0] += 10
        with clock.waiting():
            waits("waiting for the card: taken")
            now[0] += 500
            check()
        seen = queue.item(1)
        waits("")
        assert (seen.state, seen.reason) == (State.WAITING, "waiting for the card: taken")
        assert queue.item(1).state is State.RUNNING
        return ANSWER

    assert work(search).worked_s == pytest.approx(10)


def test_what_a_later_start_must_find_again_is_kept(work, queue, monkeypatch):
    monkeypatch.setattr(worker, "host_limit", lambda: SimpleNamespace(bytes=1000))
    jobs = []

    def search(job, *_, known, **__):
        jobs.append(job)
        known("demo-x")
        raise MachineError("Gone.", "Wait.")

    item = work(search, shares=2)
    again = queue.claim(replace(item, retry_at=None), "cpu")
    Worker(queue._database.path, 1, again.starts, 3).run()
    assert [job.host_memory_bytes for job in jobs] == [500, 500]
    assert [job.study for job in jobs] == [None, "demo-x"]
    assert jobs[0].device == "cpu"


def test_a_process_that_lost_its_entry_stops_and_writes_nothing(work, queue):
    def search(*_, check, **__):
        queue.put_back(queue.item(1), "taken for dead")
        with pytest.raises(StopSearch):
            check()
        return {**ANSWER, "interrupted": True}

    item = work(search)
    assert (item.state, item.reason, item.answer) == (State.QUEUED, "taken for dead", None)


def test_a_process_that_comes_too_late_does_nothing(queue, path, submit, monkeypatch):
    monkeypatch.setattr(autobatch.job.run, "run", raising(AssertionError))
    entry = submit()
    claimed = queue.claim(queue.item(entry), "cpu")
    queue.want(entry, Wish.CANCEL)
    Worker(path, entry, claimed.starts, 1).run()
    assert queue.item(entry).state is State.CANCELLED


def test_the_command_for_the_end_runs_where_the_search_was_asked_for(work, tmp_path, path):
    there = tmp_path / "there"
    there.mkdir()
    command = 'echo "$AUTOBATCH_STUDY|$AUTOBATCH_DB|$PWD"; exit 3'
    item = work(lambda *_, **__: ANSWER, on_done=command, folder=str(there))
    assert item.state is State.DONE
    assert item.reason.startswith("its command exited with 3")
    assert places.done_log(path, 1).read_text() == f"s|{path}|{there}\n"


def test_a_command_is_watched_from_its_first_moment(work, monkeypatch):
    start = subprocess.Popen

    def interrupted(*words, **options):
        process = start(*words, **options)
        os.kill(os.getpid(), signal.SIGINT)
        return process

    monkeypatch.setattr(on_done.subprocess, "Popen", interrupted)
    item = work(lambda *_, **__: ANSWER, on_done="sleep 60")
    assert item.state is State.DONE
    assert "was ended by a person" in item.reason


def test_what_cannot_be_written_after_the_command_does_not_run_it_again(work, queue, monkeypatch):
    def refuse(*_):
        raise DatabaseError("Full.", "Free it.")

    monkeypatch.setattr(worker.Queue, "end", refuse)
    with pytest.raises(DatabaseError):
        work(lambda *_, **__: ANSWER, on_done="true")
    assert queue.item(1).state is State.FINISHING


def test_a_log_on_a_full_disk_stops_nothing():
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    view = Witness(PatientStream(SimpleNamespace(write=refuse, flush=refuse)))
    view.message("hello")
    assert list(view.picture.notes) == ["hello"]


def test_a_command_line_that_cannot_be_served_is_one_line(tmp_path):
    (tmp_path / "x.db").write_text("something else")
    command = [sys.executable, "-m", "autobatch.daemon.worker", "x.db", "1", "1", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
