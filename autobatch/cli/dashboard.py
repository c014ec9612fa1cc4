"""`dashboard`: Optuna's dashboard on a database."""

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
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0: any free one.")
@click.option("--prepare-only", is_flag=True, help="Write notes and figures into the database, and start nothing.")
def dashboard(db: Path, host: str, port: int, *, prepare_only: bool) -> None:
    """Open Optuna's dashboard on a database, with a note for every trial and figures of our own."""
    from autobatch.review.dashboard import run

    run(db, host, port, prepare_only=prepare_only)
