"""How the daemon and its searches stand, in lines that a person reads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from autobatch.review.words import count, number, one_line
from autobatch.store.entry import State, Wish
from autobatch.units import format_duration

_LONGEST_REASON = 200


def status_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """Tell the daemon and its searches, as `standing.status` returns them."""
    found = state["daemon"]
    yield f"daemon: process {found['pid']}" if found else "daemon: none; `autobatch daemon start` starts it"
    if state["trouble"]:
        yield one_line(f"trouble: {state['trouble']}")
    yield from (search_line(one) for one in state["searches"]) if state["searches"] else ["The queue is empty."]


def daemon_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """Tell the daemon alone, as `standing.daemon_status` returns it."""
    if state["running"]:
        yield f"daemon: {_process(state['pid'])}{_since(state['since'])}"
    else:
        yield "daemon: none; `autobatch daemon start` starts it"
    yield one_line(f"database: {state['database']}")
    yield one_line(f"log: {state['log']}")
    if state["trouble"]:
        yield one_line(f"trouble: {state['trouble']}")
    yield f"queue: {', '.join(f'{many} {name}' for name, many in state['searches'].items()) or 'empty'}"


def _process(pid: int | None) -> str:
    return f"process {pid}" if pid else "in another container, or just starting"


def _since(since: float | None) -> str:
    if since is None:
        return ""
    begun = datetime.fromtimestamp(since).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f", since {begun} ({format_duration(max(0.0, time.time() - since))})"


def search_line(one: Mapping[str, Any]) -> str:
    """Tell one search of the queue, as `standing.describe` returns it."""
    where = f" on {one['device']}" if one["device"] else ""
    parts = [f"{format_duration(one['worked_s'])} of {format_duration(one['budget_s'])} used"]
    parts += [count(one["trials"], "trial")] if one["trials"] else []
    if one["state"] == State.DONE and one["samples_per_s"]:
        parts.append(f"{number(one['samples_per_s'])} samples/s chosen")
    elif one["best_samples_per_s"]:
        parts.append(f"{number(one['best_samples_per_s'])} samples/s at best")
    if one["probing_since"]:
        parts.append(f"in a probe for {format_duration(max(0.0, time.time() - one['probing_since']))}")
    # what a running search is wanted to do next
    wanted = f" ({one['wanted']} wanted)" if one["worker"] and one["wanted"] != Wish.RUN else ""
    reason = f" - {_short(one_line(one['reason']))}" if one["reason"] else ""
    if (one["retry_at"] or 0) > time.time():
        reason += f" (tried again in {format_duration(one['retry_at'] - time.time())})"
    return f"{one['search']:>4}  {one['state'] + wanted:<9} {one_line(one['model'])}{where}: {', '.join(parts)}{reason}"


def _short(text: str) -> str:
    """Cut a reason, which may quote another process's command line, to what a line can hold; `--json` has it whole."""
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."
