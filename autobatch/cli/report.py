"""`report`: one study, from the answer to how far it may be trusted."""

from __future__ import annotations

from pathlib import Path

import click


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
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, the figures' data included.")
def report(db: Path, study: str | None, page: Path | None, *, as_markdown: bool, as_json: bool) -> None:
    """Report a study: the answer, its evidence, what failed and why, and how far to trust it."""
    from autobatch.review.listing import one_form
    from autobatch.review.writing import print_report, write_page

    form = one_form(html=page is not None, markdown=as_markdown, json=as_json)
    if page is not None:
        write_page(db, study, page)
    else:
        print_report(db, study, form)
