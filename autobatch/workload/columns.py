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


def choose(table: Table, path: str, text: str | None, summary: str | None) -> tuple[str, str | None]:
    """Return the columns of text and summary: those asked for, else by their names; the summary may be None.

    Raises:
        UsageError: a column asked for is not there, or none looks like the text.

    """
    for name in (text, summary):
        if name is not None and name not in table.columns:
            raise _missing(name, table, path)
    chosen_summary = summary or _first(SUMMARY_NAMES, table, text)
    chosen_text = text or _first(TEXT_NAMES, table, chosen_summary) or _only_text(table, chosen_summary)
    if chosen_text is None:
        what = f"Which column of {path} holds the text is not plain: it has {_listed(table)}."
        raise UsageError(what, "Name it by --text-column, and the summary's by --summary-column.")
    return chosen_text, chosen_summary


def _first(names: tuple[str, ...], table: Table, taken: str | None) -> str | None:
    by_name = {column.lower(): column for column in reversed(_texts(table)) if column != taken}
    return next((by_name[name] for name in names if name in by_name), None)


def _only_text(table: Table, taken: str | None) -> str | None:
    """Return the one column with text in the first row, if it is one."""
    texts = [column for column in _texts(table) if column != taken]
    return texts[0] if len(texts) == 1 else None


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
