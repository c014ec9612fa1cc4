"""`autobatch release`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--db", type=click.Path(path_type=Path, dir_okay=False), default=Path("trials.db"), show_default=True,
    help="Database of the search.",
)  # fmt: skip
@click.option(
    "--study", metavar="NAME", help="Study that the configuration belongs to; the one worked on last unless told."
)
@click.argument("configuration", required=False)
def command(db: Path, study: str | None, configuration: str | None) -> None:
    """Let a configuration be tried again that was running when a search was killed; without one, list those held."""
    from autobatch.review import words
    from autobatch.review.database import Database
    from autobatch.store.ledger import Ledger
    from autobatch.store.recovery import close_dead

    name = Database(db).study(study).name  # read first: what is opened for writing is made
    with Ledger.open(db) as ledger:
        close_dead(ledger)
        if configuration is not None:
            ledger.release(name, configuration)
            click.echo(f"{configuration} may be tried again.")
            return
        held = ledger.held_back(name)
    lines = [f"{one.digest}  {words.configuration(one.to_dict())}" for one in held]
    click.echo("\n".join(lines) or f"Nothing of study {name} is held back.")
