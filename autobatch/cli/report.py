"""`report`: one study, from the answer to how far it may be trusted."""

from __future__ import annotations

from pathlib import Path

import click

from autobatch.errors import UsageError


@click.command()
@click.option(
    "--db",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("trials.db"),
    show_default=True,
    help="Database of the search.",
)
@click.option("--study", metavar="NAME", help="Study to report; the one worked on last unless told.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one page with figures that needs no network.",
)
@click.option("--markdown", "form", flag_value="markdown", help="Print Markdown.")
@click.option("--json", "form", flag_value="json", help="Print JSON, the figures' data included.")
def report(db: Path, study: str | None, page: Path | None, form: str | None) -> None:
    """Report a study: the answer, its evidence, what failed and why, and how far to trust it."""
    if page is not None and form is not None:
        raise UsageError(f"--html and --{form} were both given.", "Give one of them; run the command twice for both.")
    from autobatch.review.writing import print_report, write_page

    if page is not None:
        write_page(db, study, page)
    else:
        print_report(db, study, form)
