"""`daemon`, `queue`, `status`, `logs`, `pause`, `resume`, `stop`, `cancel`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from autobatch.store.queue import Wish

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
    from autobatch.daemon import control, places

    before = places.holder(db)
    found = control.start(db)
    click.echo(f"The daemon {'runs already' if before else 'is started'}: process {found.pid}, log {places.log(db)}")


@daemon.command()
@_DATABASE
@click.option("--now", is_flag=True, help="Do not wait for the probes at work.")
def stop(db: Path, *, now: bool) -> None:
    """End the daemon; its searches go on with its next start."""
    from autobatch.daemon import control

    when = "now" if now else "after the probes at work"
    click.echo(
        f"The daemon ends {when}." if control.stop(db, now=now) else f"No daemon works on {db}; nothing changed."
    )


@daemon.command()
@_DATABASE
def unit(db: Path) -> None:
    """Print a systemd unit for this database."""
    from autobatch.daemon import control

    click.echo(control.unit(db), nl=False)


def _print_status(state: dict[str, Any]) -> None:
    from autobatch.units import format_duration

    found = state["daemon"]
    click.echo(f"daemon: process {found['pid']}" if found else "daemon: none; `autobatch daemon start` starts it")
    for one in state["searches"]:
        speed = f", {one['samples_per_s']:.3g} samples/s chosen" if one["samples_per_s"] else ""
        reason = f" - {one['reason']}" if one["reason"] else ""
        used = f"{format_duration(one['worked_s'])} of {format_duration(one['budget_s'])} used"
        where = f" on {one['device']}" if one["device"] else ""
        click.echo(f"{one['search']:>4}  {one['state']:<9} {one['model']}{where}, {used}{speed}{reason}")


@click.command()
@_DATABASE
@_JSON
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until interrupted.")
def status(db: Path, *, as_json: bool, watch: bool) -> None:
    """Show the daemon and its searches."""
    from autobatch.daemon import control

    while True:
        state = control.status(db)
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
    from autobatch.daemon import control

    items = [control.describe(item) for item in control.open_queue(db).items(unfinished=True)]
    if as_json:
        click.echo(json.dumps(items, ensure_ascii=False))
    elif not items:
        click.echo("The queue is empty.")
    else:
        _print_status({"daemon": control.status(db)["daemon"], "searches": items})


@click.command()
@_DATABASE
@click.option("--follow", "-f", is_flag=True, help="Go on printing as it grows, until interrupted.")
@click.argument("search", type=int, required=False)
def logs(db: Path, search: int | None, *, follow: bool) -> None:
    """Print the log of a search of the queue; without a number, the daemon's."""
    from autobatch.daemon import places
    from autobatch.errors import UsageError

    path = places.log(db, search)
    if not path.exists():
        message = f"There is no log {path}."
        raise UsageError(message, "`autobatch status` lists the searches; one that has not begun has none.")
    with path.open(encoding="utf-8", errors="replace") as stream:
        while True:
            click.echo(stream.read(), nl=False)
            if not follow:
                return
            time.sleep(0.5)


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
