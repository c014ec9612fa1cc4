"""What becomes of an entry whose process is gone without having said so."""

from __future__ import annotations

from autobatch.daemon.words import UNSEEN_END
from autobatch.isolation import proc
from autobatch.store.entry import Item, State, Wish
from autobatch.store.orphans import kill_orphans
from autobatch.store.queue import Queue

LARGEST_SETBACKS = 10
"""A search whose process died this often, with no probe finished in between, is given up."""


def settle(queue: Queue, item: Item, *, is_known: bool) -> str:
    """End what a dead process left running, and put its entry to where it belongs; return what was found, in words.

    Args:
        queue: with the entry in it.
        item: the entry, as it was read after its process was found gone.
        is_known: whether this daemon started that process. One that another daemon was about to start when it was
            killed itself may never have been there, and is no fault of the search.

    """
    if item.worker is not None:
        kill_orphans(item.worker, None)
    if item.state is State.FINISHING:
        queue.end(item, State.DONE, UNSEEN_END)
        return UNSEEN_END
    if item.worker is not None and item.worker.boot_id != proc.boot_id():
        reason, setback = "the machine was restarted; it goes on where it was", False
    elif item.worker is None and not is_known:
        reason, setback = "the daemon died while it started this; it goes on where it was", False
    else:
        reason, setback = "its process died; it goes on where it was", True
    if setback and item.wanted is Wish.RUN and item.setbacks + 1 >= LARGEST_SETBACKS:
        reason = f"its process died {item.setbacks + 1} times in a row: see `autobatch logs {item.entry_id}`"
        queue.end(item, State.FAILED, reason)
    else:
        queue.put_back(item, reason, setback=setback)
    return reason
