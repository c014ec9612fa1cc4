"""`autobatch check` and `autobatch verify`: whether a frozen file still holds."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from autobatch.errors import EXIT_OK

EXIT_DIFFERS = 1
"""Something that matters differs, or the promise is not kept."""

_FILE = click.argument("file", type=click.Path(path_type=Path))
_DEVICE = click.option("--device", help="cpu, or cuda:N; unless told, the one it was frozen on.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@_FILE
@_DEVICE
@_JSON
def check(file: Path, device: str | None, *, as_json: bool) -> None:
    """Say whether FILE was frozen for this machine, these libraries, this model and these data.

    \b
    Exit codes: 0 nothing that matters differs, 1 something that matters differs,
    2 no frozen file, 3 the machine cannot be read.
    """
    from autobatch.export.frozen import load

    found = load(file).check(device)
    holds = not any(difference.matters for difference in found)
    if as_json:
        click.echo(json.dumps({"holds": holds, "differences": [asdict(d) for d in found]}, ensure_ascii=False, indent=2))
    else:
        for d in found:
            click.echo(f"{'!' if d.matters else ' '} {d.name}: {d.was} -> {d.now}. {d.why}")
        click.echo(f"{file} {'holds here' if holds else 'does not hold here: search again, or see `autobatch verify`'}.")
    sys.exit(EXIT_OK if holds else EXIT_DIFFERS)


@click.command(context_settings={"show_default": True})
@_FILE
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=2.0, help="Deadline of the run.")
@_DEVICE
@_JSON
def verify(file: Path, minutes: float, device: str | None, *, as_json: bool) -> None:
    """Run the configuration of FILE again for a few minutes, and compare with what it promises.

    \b
    Exit codes: 0 it holds, 1 it failed or is slower or larger than promised,
    2 no frozen file, 3 the machine cannot do it.
    """
    from autobatch.export.frozen import load
    from autobatch.export.verify import verify as run

    result = run(load(file), 60 * minutes, device)
    if as_json:
        click.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2))
    else:
        click.echo(f"{result.verdict.kind}: {result.verdict.hint}")
        for c in result.comparisons:
            said = "holds" if c.holds else f"more than {c.band:.0%} worse"
            click.echo(f"  {c.name}: promised {c.promised:.6g}, now {c.now:.6g} ({c.change:+.1%}): {said}")
    sys.exit(EXIT_OK if result.holds else EXIT_DIFFERS)
