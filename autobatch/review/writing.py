"""Writes a report where it is wanted."""

from __future__ import annotations

from pathlib import Path

from autobatch.errors import UsageError
from autobatch.export import files
from autobatch.review import terminal, words
from autobatch.review.report import Report, gather


def write_page(database: Path, study: str | None, page: Path) -> None:
    """Write the HTML page, whole or not at all, and over nothing but an older one.

    Raises:
        DatabaseError: the database cannot be read.
        UsageError: there is no such study, or the page cannot be written, or is another's file.

    """
    from autobatch.review.page import html

    _refuse_foreign(page)
    # a name that is no UTF-8 is half of a surrogate pair here
    files.write(page, html(gather(database, study)).encode(errors="replace").decode())
    terminal.say(f"Wrote {page}.", err=True)


def _refuse_foreign(page: Path) -> None:
    from autobatch.review.page import is_page

    with files.said_of(page):
        files.refuse_unwritable(page)
        if page.exists() and page.stat().st_size and not is_page(page):
            what = f"{page} is there already, and is no report of autobatch."
            raise UsageError(what, "Name another file, or move that one away.")


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
