"""`autobatch release`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--db", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=Path("trials.db"), show_default=True,
    help="Database of the search.",
)  # fmt: skip
@click.option("--study", required=True, metavar="NAME", help="Study that the configuration belongs to.")
@click.argument("configuration", required=False)
def command(db: Path, study: str, configuration: str | None) -> None:
    """Let a configuration be tried again that was running when a search was killed; without one, list those held."""
    from autobatch.store.ledger import Ledger
    from autobatch.store.recovery import close_dead

    with Ledger.open(db) as ledger:
        close_dead(ledger)
        if configuration is not None:
            ledger.release(study, configuration)
            click.echo(f"{configuration} may be tried again.")
            return
        held = ledger.quarantined(study)
    click.echo("\n".join(f"{one.digest}  {one}" for one in held) or "Nothing is held back.")
