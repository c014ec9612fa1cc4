import json
from dataclasses import replace

import pytest

from autobatch.daemon import control
from autobatch.errors import DatabaseError, MachineError, UsageError
from autobatch.job import script
from autobatch.job.request import Job
from autobatch.store.entry import State, Wish
from autobatch.store.lock import GpuLock
from autobatch.store.owner import Process


@pytest.fixture
def item(queue, submit):
    """An entry, with a living worker or without one."""

    def item(*, at_work: bool = False):
        entry = submit()
        if at_work:
            claimed = queue.claim(queue.item(entry), "cpu")
            return queue.register(entry, claimed.starts, Process.current())
        return queue.item(entry)

    return item


@pytest.mark.parametrize(
    ("wanted", "at_work", "text"),
    [
        (Wish.PAUSE, True, "pauses after the probe at work"),
        (Wish.PAUSE, False, "is paused before it began"),
        (Wish.STOP, True, "ends after the probe at work; what was measured is kept"),
        (Wish.STOP, False, "is ended"),
        (Wish.CANCEL, True, "is cancelled, its probe ended"),
        (Wish.CANCEL, False, "is cancelled; what was"),
        (Wish.RUN, True, "was not paused; nothing changed"),
    ],
)
def test_a_command_says_plainly_what_it_did(item, wanted, at_work, text):
    said = control.said(item(at_work=at_work), wanted)
    assert said.startswith("Search 1 (demo) ")
    assert text in said


def test_a_paused_search_is_said_to_go_on(queue, item):
    entry = item().entry_id
    queue.want(entry, Wish.PAUSE)
    assert control.said(queue.want(entry, Wish.RUN), Wish.RUN) == "Search 1 (demo) goes on."


def test_a_stop_that_is_taken_back_is_said(queue, item):
    entry = item(at_work=True).entry_id
    queue.want(entry, Wish.STOP)
    assert control.said(queue.want(entry, Wish.RUN), Wish.RUN) == "Search 1 (demo) goes on: `stop` is taken back."


def test_one_that_was_put_off_is_said_to_be_tried_at_once(queue, item):
    one = item(at_work=True)
    queue.put_back(one, "the GPU was lost", setback=True)
    assert control.said(queue.want(one.entry_id, Wish.RUN), Wish.RUN) == "Search 1 (demo) is tried again at once."


def test_a_command_that_nobody_watches_is_not_said_to_be_ended(queue, item):
    one = item(at_work=True)
    queue.change(one, state=State.FINISHING, worker=replace(one.worker, start_time_ticks=1))
    assert control.said(queue.item(1), Wish.CANCEL) == "Search 1 (demo) was done; nobody watches its command any more."


def test_only_the_command_is_ended_of_what_is_done(queue, item):
    one = item(at_work=True)
    queue.change(one, state=State.FINISHING)
    assert "the command for its end is ended" in control.said(queue.item(1), Wish.CANCEL)


def test_cancelling_wakes_the_worker(path, item, monkeypatch):
    told = []
    monkeypatch.setattr(control.proc, "kill", lambda pids, number: told.append((pids, number)))
    one = item(at_work=True)
    control.wish(path, one.entry_id, Wish.STOP)
    assert told == []
    control.wish(path, one.entry_id, Wish.CANCEL)
    assert told == [([one.worker.pid], control.signal.SIGINT)]


def test_commands_for_what_is_not_there(path, queue):
    assert queue.items() == []
    with pytest.raises(UsageError, match="no search 4"):
        control.wish(path, 4, Wish.CANCEL)
    with pytest.raises(DatabaseError, match="no database"):
        control.wish(path.with_name("other.db"), 1, Wish.CANCEL)
    with pytest.raises(DatabaseError, match="no database"):
        control.stop(path.with_name("other.db"))
    assert not path.with_name("other.db").exists()
    assert control.stop(path) is False


def test_a_job_that_cannot_be_served_is_not_queued(path):
    with pytest.raises(UsageError, match="kobert"):
        control.submit(path, Job(model="kobert", budget_s=60), None)
    assert not path.exists()


@pytest.mark.parametrize("name", ["x" * 230, "half\udc80"])
def test_a_model_whose_name_gives_none_to_a_study_is_not_queued(path, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 100, **sizes}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="no name of a study"):
        control.submit(path, Job(model=str(folder), budget_s=60, device="cpu"), None)
    assert not path.exists()


def test_a_script_is_looked_at_only_while_the_card_is_free(path, queue, monkeypatch):
    def look(*_):
        raise UsageError("The script fails.", "Correct it.")

    monkeypatch.setattr(control, "start", lambda _: None)
    monkeypatch.setattr(script, "look", look)
    job = Job("train.py", 60.0, device="cpu", script=("python", "train.py"))

    with pytest.raises(UsageError, match="The script fails"):
        control.submit(path, job, None)
    with GpuLock("cpu"):
        assert control.submit(path, job, None) == 1
    assert queue.item(1).job["study"] is None


def test_a_search_is_queued_though_no_daemon_can_be_started(path, queue, monkeypatch):
    def refuse(_):
        raise MachineError("The daemon did not start.", "Look.")

    monkeypatch.setattr(control, "start", refuse)
    with pytest.raises(MachineError, match="Search 1 is queued, but no daemon works"):
        control.submit(path, Job(model="demo", budget_s=60, device="cpu"), None)
    queued = queue.item(1)
    assert queued.job["database"] == str(path)
    assert queued.device == "cpu"


def test_a_daemon_that_does_not_come_up_is_said(path, monkeypatch):
    monkeypatch.setattr(control, "run_command", lambda _: ["false"])
    with pytest.raises(MachineError, match="did not start"):
        control.start(path)


def test_a_strangers_file_is_said_before_anything_starts(path):
    path.write_text("something else")
    with pytest.raises(DatabaseError):
        control.start(path)
    assert path.read_text() == "something else"
