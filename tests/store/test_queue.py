import pytest

from autobatch.errors import UsageError
from autobatch.store.database import Database
from autobatch.store.owner import Process
from autobatch.store.queue import Queue, State, Wish


@pytest.fixture
def queue(tmp_path):
    database = Database(tmp_path / "trials.db")
    yield Queue(database)
    database.close()


def test_entries_keep_their_order_and_their_job(queue):
    first = queue.submit({"model": "kobart"}, on_done="true")
    second = queue.submit({"model": "t5"})
    assert [item.entry_id for item in queue.items()] == [first, second]
    assert queue.item(first).job == {"model": "kobart"}
    assert queue.item(first).on_done == "true"
    assert queue.item(first).state is State.QUEUED


def test_an_entry_is_claimed_once(queue):
    entry = queue.submit({"model": "kobart"})
    assert queue.claim(entry, "cpu")
    assert not queue.claim(entry, "cpu")
    assert queue.item(entry).starts == 1


def test_a_paused_entry_is_not_claimed(queue):
    entry = queue.submit({"model": "kobart"})
    queue.want(entry, Wish.PAUSE)
    assert not queue.claim(entry, "cpu")
    queue.want(entry, Wish.RUN)
    assert queue.claim(entry, "cpu")


@pytest.mark.parametrize(("wish", "state"), [(Wish.STOP, State.STOPPED), (Wish.CANCEL, State.CANCELLED)])
def test_what_nobody_works_on_is_ended_at_once(queue, wish, state):
    entry = queue.submit({"model": "kobart"})
    queue.want(entry, wish)
    assert queue.item(entry).state is state
    with pytest.raises(UsageError, match="is over"):
        queue.want(entry, Wish.RUN)


def test_what_is_worked_on_is_left_to_its_worker(queue):
    entry = queue.submit({"model": "kobart"})
    queue.claim(entry, "cpu")
    queue.update(entry, worker=Process.current())
    queue.want(entry, Wish.CANCEL)
    assert queue.item(entry).state is State.RUNNING
    assert queue.item(entry).wanted is Wish.CANCEL
    assert queue.item(entry).worker.is_alive


def test_a_finished_entry_leaves_the_unfinished(queue):
    entry = queue.submit({"model": "kobart"})
    queue.claim(entry, "cpu")
    queue.finish(entry, State.DONE, "", {"chosen": None})
    assert queue.items(unfinished=True) == []
    assert queue.item(entry).answer == {"chosen": None}
    assert queue.item(entry).worker is None


def test_an_unknown_entry_is_said(queue):
    with pytest.raises(UsageError, match="no search 7"):
        queue.item(7)
