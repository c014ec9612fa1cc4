"""`daemon`, `queue`, `status`, `logs`, `pause`, `resume`, `stop`, `cancel`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from autobatch.errors import EXIT_MACHINE, EXIT_OK
from autobatch.store.entry import Wish

_DATABASE = click.option(
    "--db", type=click.Path(path_type=Path, dir_okay=False), default=Path("trials.db"), show_default=True,
    help="Database of the searches.",
)  # fmt: skip
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def daemon() -> None:
    """Run searches in the background, one a GPU, from a queue in the database."""


@daemon.command()
@_DATABASE
def run(db: Path) -> None:
    """Run in the foreground, for systemd and containers. SIGTERM ends it after the probes at work, a second one now."""
    from autobatch.daemon.supervisor import Supervisor

    Supervisor(db).run()


@daemon.command()
@_DATABASE
def start(db: Path) -> None:
    """Start in the background."""
    from autobatch.daemon import control, places, presence

    is_new, before = not db.exists(), presence.find(db)
    found = control.start(db)
    click.echo(f"The daemon {'runs already' if before else 'is started'}: process {found.pid}, log {places.log(db)}")
    if is_new:
        click.echo(f"{db} is new: `autobatch search --detach ...` queues a search.")


@daemon.command()
@_DATABASE
@click.option("--now", is_flag=True, help="Do not wait for the probes at work.")
def stop(db: Path, *, now: bool) -> None:
    """End the daemon; its searches go on with its next start."""
    from autobatch.daemon import control

    when = "now" if now else "after the probes at work"
    is_told = control.stop(db, now=now)
    click.echo(f"The daemon ends {when}." if is_told else f"No daemon works on {db}; nothing changed.")


@daemon.command()
@_DATABASE
def unit(db: Path) -> None:
    """Print a systemd unit for this database."""
    from autobatch.daemon.unit import unit as text_of

    click.echo(text_of(db), nl=False)


@daemon.command("status", epilog="Exit codes: 0 a daemon works, 3 none does, 4 the database cannot be used.")
@_DATABASE
@_JSON
def daemon_status(db: Path, *, as_json: bool) -> None:
    """Say whether a daemon works on this database: since when, its process, its log, and its queue by states."""
    from autobatch.daemon.standing import daemon_status as read
    from autobatch.daemon.telling import daemon_lines

    state = read(db)
    click.echo(json.dumps(state, ensure_ascii=False) if as_json else "\n".join(daemon_lines(state)))
    sys.exit(EXIT_OK if state["running"] else EXIT_MACHINE)


def _print_status(state: dict[str, Any]) -> None:
    from autobatch.daemon.telling import status_lines

    click.echo("\n".join(status_lines(state)))


@click.command()
@_DATABASE
@_JSON
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until interrupted.")
def status(db: Path, *, as_json: bool, watch: bool) -> None:
    """Show the daemon and its searches."""
    from autobatch.daemon.standing import status as read

    with _until_interrupted():
        while True:
            state = read(db)
            if watch and not as_json:
                click.clear()
            if as_json:
                click.echo(json.dumps(state, ensure_ascii=False))
            else:
                _print_status(state)
            if not watch:
                return
            time.sleep(2)


@click.command()
@_DATABASE
@_JSON
def queue(db: Path, *, as_json: bool) -> None:
    """List the searches that are not over."""
    from autobatch.daemon.standing import status as read

    state = read(db, unfinished=True)
    if as_json:
        click.echo(json.dumps(state["searches"], ensure_ascii=False))
    else:
        _print_status(state)


@click.command()
@_DATABASE
@click.option("--follow", "-f", is_flag=True, help="Go on as it grows, until the search is over or you interrupt.")
@click.argument("search", type=int, required=False)
def logs(db: Path, search: int | None, *, follow: bool) -> None:
    """Print the log of a search of the queue; without a number, the daemon's."""
    from autobatch.daemon.reading import lines

    with _until_interrupted():
        for text in lines(db, search, follow=follow):
            click.echo(text, nl=False)


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Let Ctrl-C end what only looks on: nothing is interrupted by that."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo()


def _wish_command(name: str, wanted: Wish, text: str) -> click.Command:
    @click.command(name, help=text)
    @_DATABASE
    @click.argument("search", type=int)
    def command(db: Path, search: int) -> None:
        from autobatch.daemon import control

        click.echo(control.said(control.wish(db, search, wanted), wanted))

    return command


pause = _wish_command("pause", Wish.PAUSE, "Hold a search before its next probe.")
resume = _wish_command("resume", Wish.RUN, "Go on with a paused search.")
stop_search = _wish_command("stop", Wish.STOP, "End a search after the probe at work, and keep what is known.")
cancel = _wish_command("cancel", Wish.CANCEL, "End a search at once.")
