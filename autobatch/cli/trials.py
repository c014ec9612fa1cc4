"""`studies`, `trials` and `show`: what a database holds."""

from __future__ import annotations

from pathlib import Path

import click

from autobatch.review.listing import output_options

_DATABASE = click.option(
    "--db", type=click.Path(path_type=Path, dir_okay=False), default=Path("trials.db"), show_default=True,
    help="Database of the search.",
)  # fmt: skip
_LIMIT = click.option("--limit", type=click.IntRange(0), help="At most so many, the newest first; 0: all.")
_STUDY = click.option("--study", metavar="NAME", help="Study to read; the one worked on last unless told.")


@click.command()
@_DATABASE
@_LIMIT
@output_options
def studies(db: Path, limit: int | None, form: str | None) -> None:
    """List the studies of a database, the newest first: 50 in a table, all as JSON or CSV, unless told."""
    from autobatch.review.columns import list_studies

    list_studies(db, limit=limit, form=form)


@click.command()
@_DATABASE
@_STUDY
@click.option("--failed", is_flag=True, help="Only those that failed.")
@_LIMIT
@output_options
def trials(db: Path, study: str | None, *, failed: bool, limit: int | None, form: str | None) -> None:
    """List the trials of a study, the newest first: 50 in a table, all as JSON or CSV, unless told."""
    from autobatch.review.columns import list_trials

    list_trials(db, study, failed=failed, limit=limit, form=form)


@click.command()
@click.argument("trial", type=click.IntRange(0))
@_DATABASE
@_STUDY
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--log-lines", type=click.IntRange(0), default=20, show_default=True, help="Lines of the probe's log.")
def show(trial: int, db: Path, study: str | None, *, as_json: bool, log_lines: int) -> None:
    """Show one trial: settings, verdict, evidence, why it was tried, and the end of the probe's log."""
    from autobatch.review.trial import show as show_trial

    show_trial(db, study, trial, as_json=as_json, log_lines=log_lines)
