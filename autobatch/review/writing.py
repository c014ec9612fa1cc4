"""Writes a report where it is wanted."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from autobatch.errors import UsageError
from autobatch.review import terminal, words
from autobatch.review.report import Report, gather


def write_page(database: Path, study: str | None, page: Path) -> None:
    """Write the HTML page, whole or not at all.

    Raises:
        DatabaseError: the database cannot be read.
        UsageError: there is no such study, or the page cannot be written.

    """
    from autobatch.review.page import html

    text = html(gather(database, study))
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(page)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UsageError(f"{page} cannot be written: {error.strerror}.", "Name a file in a folder of yours.") from error
    terminal.say(f"Wrote {page}.", err=True)


def print_report(database: Path, study: str | None, form: str | None) -> None:
    """Print the report as text, `markdown` or `json`.

    Raises:
        DatabaseError: the database cannot be read.
        UsageError: there is no such study.

    """
    from autobatch.review.markdown import markdown

    report = gather(database, study)
    writers = {"json": Report.to_json, "markdown": markdown}
    terminal.say(writers.get(form or "", text)(report).rstrip("\n"))


def text(report: Report) -> str:
    """Return the answer and how far to trust it."""
    trust = [f"  {line}" for line in report.trust]
    parts = [
        f"{report.study.name}: {words.count(report.study.trials, 'trial')}",
        "",
        *report.lines,
        "How far to trust this:",
        *trust,
    ]
    return words.clean("\n".join(parts))
