"""Which column holds the text, and which the summary."""

from __future__ import annotations

import difflib

from autobatch.errors import UsageError
from autobatch.workload.tables import Table

TEXT_NAMES = (
    "text", "dialogue", "dialog", "document", "article", "source", "src", "input", "passage", "content", "body", "code",
    "conversation", "prompt", "instruction", "본문", "대화", "원문",
)  # fmt: skip
SUMMARY_NAMES = (
    "summary", "target", "tgt", "output", "highlights", "abstract", "docstring", "label", "labels", "response",
    "completion", "headline", "title", "요약", "요약문",
)  # fmt: skip
_REQUESTS = frozenset({"prompt", "instruction"})
"""Columns that hold all of a text, or only the request made of another column."""
_TOGETHER = (("instruction", "input"), ("instruction", "context"))
"""Columns that trainings read as one text; the second is often empty."""
_JOIN = "+"


def choose(table: Table, path: str, text: str | None, summary: str | None) -> tuple[str, str | None]:
    """Return the columns of text and summary: those asked for, else by their names; the summary may be None.

    Columns that are read as one text are named with a `+` between.

    Raises:
        UsageError: a column asked for is not there, or which one is the text is not plain.

    """
    asked = parts(table, text) if text is not None else ()
    for name in (*asked, *(() if summary is None else (summary,))):
        if name not in table.columns:
            raise _missing(name, table, path)
    chosen_summary = summary or next(iter(_named(SUMMARY_NAMES, table, asked)), None)
    chosen_text = text or _together(table, chosen_summary) or _one_text(table, chosen_summary)
    if chosen_text is None:
        what = f"Which column of {path} holds the text is not plain: it has {_listed(table)}."
        do = "Name it by --text-column, more than one with a + between, and the summary's by --summary-column."
        raise UsageError(what, do)
    return chosen_text, chosen_summary


def parts(table: Table, name: str) -> tuple[str, ...]:
    """Return the columns that a name stands for: the one called so, or those that it joins."""
    return (name,) if name in table.columns else tuple(name.split(_JOIN))


def _together(table: Table, taken: str | None) -> str | None:
    row = table.row(0)
    by_name = {column.lower(): column for column in reversed(table.columns) if column != taken}
    for names in _TOGETHER:
        first, second = (by_name.get(name) for name in names)
        if first and second and isinstance(row.get(first), str) and isinstance(row.get(second), str | None):
            return f"{first}{_JOIN}{second}"
    return None


def _one_text(table: Table, taken: str | None) -> str | None:
    """Return the first column that is called like a text, else the only one with text; None where it is not plain."""
    named = _named(TEXT_NAMES, table, (taken,))
    if len(named) > 1 and any(column.lower() in _REQUESTS for column in named):
        return None
    texts = [column for column in _texts(table) if column != taken]
    return named[0] if named else texts[0] if len(texts) == 1 else None


def _named(names: tuple[str, ...], table: Table, taken: tuple[str | None, ...]) -> list[str]:
    """Return the columns of text that have one of these names, in the order of the names."""
    by_name = {column.lower(): column for column in reversed(_texts(table)) if column not in taken}
    return [by_name[name] for name in names if name in by_name]


def _texts(table: Table) -> list[str]:
    row = table.row(0)
    return [column for column in table.columns if isinstance(row.get(column), str)]


def _missing(name: str, table: Table, path: str) -> UsageError:
    near = difflib.get_close_matches(name, table.columns, n=1)
    do = f"Did you mean {near[0]!r}?" if near else "Name one of these by --text-column or --summary-column."
    return UsageError(f"{path} has no column {name!r}: it has {_listed(table)}.", do)


def _listed(table: Table) -> str:
    shown = [repr(column) for column in table.columns[:12]]
    more = len(table.columns) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") if shown else "no column of text"
