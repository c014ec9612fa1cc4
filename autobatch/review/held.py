"""What a search holds back in words: what was running when an earlier one was killed, and how to let it be tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Any

from autobatch.review import words


def held_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Say what is held back, and the command that releases it; nothing where nothing is."""
    held = answer.get("held_back") or []
    if not held:
        return
    many = words.count(len(held), "configuration")
    yield f"Held back: {many} that ran when a search was killed, and whatever needs as much memory."
    for one in held:
        yield f"  {words.configuration(one['configuration'], brief=True)}"
        yield f"    to have it tried again: autobatch release {one['digest']}{place(answer)}"


def place(answer: Mapping[str, Any]) -> str:
    """Return the options that name the study of an answer, and its database where that is not the usual one."""
    database = answer.get("database")
    where = f" --db {quote(str(database))}" if database and database != "trials.db" else ""
    return f" --study {quote(str(answer.get('study')))}{where}"
