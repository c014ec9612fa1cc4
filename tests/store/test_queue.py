from dataclasses import replace

import pytest

from autobatch.errors import UsageError
from autobatch.store.database import Database
from autobatch.store.entry import State, Wish
from autobatch.store.owner import Process
from autobatch.store.queue import Queue


@pytest.fixture
def queue(tmp_path):
    database = Database(tmp_path / "trials.db")
    yield Queue(database)
    database.close()


def at_work(queue, entry=None):
    """An entry with this process as its living worker."""
    entry = entry or queue.submit({"model": "kobart"})
    claimed = queue.claim(queue.item(entry), "cpu")
    return queue.register(entry, claimed.starts, Process.current())


def dead(process):
    return replace(process, start_time_ticks=process.start_time_ticks - 1)


def test_entries_keep_their_order_and_their_job(queue):
    first = queue.submit({"model": "kobart"}, on_done="true", device="cpu")
    second = queue.submit({"model": "t5"})
    assert [item.entry_id for item in queue.items()] == [first, second]
    found = queue.item(first)
    assert (found.job, found.on_done, found.device) == ({"model": "kobart"}, "true", "cpu")
    assert found.state is State.QUEUED


def test_an_entry_is_claimed_once(queue):
    item = queue.item(queue.submit({"model": "kobart"}))
    assert queue.claim(item, "cpu").starts == 1
    assert queue.claim(item, "cpu") is None


def test_a_paused_entry_is_not_claimed_until_it_is_resumed(queue):
    item = queue.item(queue.submit({"model": "kobart"}))
    queue.want(item.entry_id, Wish.PAUSE)
    assert queue.item(item.entry_id).state is State.PAUSED
    assert queue.claim(item, "cpu") is None
    queue.want(item.entry_id, Wish.RUN)
    assert queue.claim(item, "cpu") is not None


@pytest.mark.parametrize(("wish", "state"), [(Wish.STOP, State.STOPPED), (Wish.CANCEL, State.CANCELLED)])
def test_what_nobody_works_on_is_ended_at_once(queue, wish, state):
    entry = queue.submit({"model": "kobart"})
    queue.want(entry, wish)
    assert queue.item(entry).state is state
    with pytest.raises(UsageError, match="is over"):
        queue.want(entry, Wish.RUN)


def test_what_is_worked_on_is_left_to_its_worker(queue):
    item = at_work(queue)
    queue.want(item.entry_id, Wish.CANCEL)
    now = queue.item(item.entry_id)
    assert (now.state, now.wanted) == (State.RUNNING, Wish.CANCEL)
    assert queue.put_back(item, "interrupted") is State.CANCELLED
    assert queue.item(item.entry_id).worker is None


@pytest.mark.parametrize("wish", [Wish.RUN, Wish.PAUSE, Wish.STOP])
def test_cancelling_is_not_taken_back(queue, wish):
    item = at_work(queue)
    queue.want(item.entry_id, Wish.CANCEL)
    with pytest.raises(UsageError, match="is being cancelled") as caught:
        queue.want(item.entry_id, wish)
    assert "same command" in caught.value.do
    queue.want(item.entry_id, Wish.CANCEL)
    assert queue.put_back(item, "interrupted") is State.CANCELLED


def test_a_dead_workers_entry_is_settled_by_the_wish(queue):
    entry = queue.submit({"model": "kobart"})
    claimed = queue.claim(queue.item(entry), "cpu")
    queue.register(entry, claimed.starts, dead(Process.current()))
    queue.want(entry, Wish.CANCEL)
    assert queue.item(entry).state is State.CANCELLED


def test_a_process_that_comes_too_late_is_turned_away(queue):
    entry = queue.submit({"model": "kobart"})
    late = queue.claim(queue.item(entry), "cpu")
    queue.put_back(late, "its process died")
    assert queue.register(entry, late.starts, Process.current()) is None
    again = queue.claim(queue.item(entry), "cpu")
    assert queue.register(entry, late.starts, Process.current()) is None
    assert queue.register(entry, again.starts, Process.current()) is not None


def test_a_process_is_turned_away_from_what_a_person_cancelled_while_it_started(queue):
    entry = queue.submit({"model": "kobart"})
    claimed = queue.claim(queue.item(entry), "cpu")
    queue.want(entry, Wish.CANCEL)
    assert queue.register(entry, claimed.starts, Process.current()) is None
    assert queue.item(entry).state is State.CANCELLED


def test_a_worker_that_lost_its_entry_changes_nothing(queue):
    old = at_work(queue)
    queue.put_back(old, "taken for dead")
    new = at_work(queue, old.entry_id)
    assert not queue.end(old, State.DONE, "", {"chosen": None})
    assert queue.put_back(old, "interrupted") is None
    assert queue.item(old.entry_id) == new


def test_whoever_takes_a_worker_for_dead_that_has_just_registered_changes_nothing(queue):
    entry = queue.submit({"model": "kobart"})
    seen = queue.claim(queue.item(entry), "cpu")
    queue.register(entry, seen.starts, Process.current())
    assert queue.put_back(seen, "its process died", setback=True) is None
    assert queue.item(entry).state is State.RUNNING


def test_a_pause_that_was_taken_back_puts_the_entry_back(queue):
    item = at_work(queue)
    queue.want(item.entry_id, Wish.PAUSE)
    queue.want(item.entry_id, Wish.RUN)
    assert queue.put_back(item, "interrupted") is State.QUEUED


def test_setbacks_wait_longer_each_time_and_a_person_ends_the_wait(queue):
    entry = queue.submit({"model": "kobart"})
    waits = []
    for _ in range(3):
        item = at_work(queue, entry)
        queue.put_back(item, "the GPU was lost", setback=True)
        now = queue.item(entry)
        waits.append(now.retry_at - (now.started_at or 0))
    assert queue.item(entry).setbacks == 3
    assert waits == sorted(waits)
    assert waits[2] - waits[1] > 2
    queue.want(entry, Wish.RUN)
    assert queue.item(entry).retry_at is None


def test_a_wait_longer_than_any_is_of_a_clock_that_was_set_back(queue):
    item = at_work(queue)
    queue.put_back(item, "the GPU was lost", setback=True)
    put_off = queue.item(item.entry_id)
    assert 0 < put_off.put_off_s <= 2
    assert replace(put_off, retry_at=put_off.retry_at + 3600).put_off_s == 0
    assert replace(put_off, retry_at=put_off.retry_at - 3).put_off_s == 0
    assert replace(put_off, state=State.RUNNING).put_off_s == 0


def test_a_finished_entry_leaves_the_unfinished(queue):
    item = at_work(queue)
    assert queue.end(item, State.DONE, "", {"chosen": None})
    assert queue.items(unfinished=True) == []
    assert queue.item(item.entry_id).answer == {"chosen": None}
    assert queue.item(item.entry_id).worker is None


def test_only_the_command_of_a_finished_search_can_be_ended(queue):
    item = at_work(queue)
    queue.change(item, state=State.FINISHING, answer={"chosen": {}})
    with pytest.raises(UsageError, match="is done"):
        queue.want(item.entry_id, Wish.PAUSE)
    queue.want(item.entry_id, Wish.CANCEL)
    assert queue.item(item.entry_id).state is State.FINISHING


def test_an_unknown_entry_is_said(queue):
    with pytest.raises(UsageError, match="no search 7"):
        queue.item(7)
