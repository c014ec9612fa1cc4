"""`autobatch check` and `autobatch verify`: whether a frozen file still holds."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from autobatch import strict_json
from autobatch.cli.numbers import Finite
from autobatch.errors import EXIT_OK
from autobatch.review import words

EXIT_DIFFERS = 1
"""Something that matters differs, or the promise is not kept."""

_FILE = click.argument("file", type=click.Path(path_type=Path))
_DEVICE = click.option("--device", help="cpu, or cuda:N; unless told, the one it was frozen on.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_CODES = (
    "Exit codes: 0 it holds, 1 it does not, 2 no frozen file or no name of a device, "
    "3 the machine cannot be read or cannot do it."
)


@click.command(epilog=_CODES)
@_FILE
@_DEVICE
@_JSON
def check(file: Path, device: str | None, *, as_json: bool) -> None:
    """Say whether FILE was frozen for this machine, these libraries, this model and these data."""
    from autobatch.export.check import report
    from autobatch.export.frozen import load

    found = load(file).check(device)
    holds = not any(difference.matters for difference in found)
    data = {"holds": holds, "differences": [asdict(difference) for difference in found]}
    click.echo(strict_json.dumps(data, ensure_ascii=False, indent=2) if as_json else report(file, found))
    sys.exit(EXIT_OK if holds else EXIT_DIFFERS)


@click.command(epilog=_CODES, context_settings={"show_default": True})
@_FILE
@click.option("--minutes", type=Finite(0, 24 * 60, min_open=True), default=2.0, help="Deadline of the run.")
@_DEVICE
@_JSON
def verify(file: Path, minutes: float, device: str | None, *, as_json: bool) -> None:
    """Run the configuration of FILE again for a few minutes, and compare with what it promises."""
    from autobatch.export.frozen import load
    from autobatch.export.verify import report
    from autobatch.export.verify import verify as run

    frozen = load(file)
    for edit in frozen.edits:
        message = f"{edit.key} was edited by hand, {edit.frozen} -> {edit.now}: it is run as it was frozen."
        click.echo(words.one_line(message), err=True)
    if frozen.tampered:
        click.echo("Its provenance does not match its checksum: what is run may not be what was measured.", err=True)
    result = run(frozen, 60 * minutes, device)
    click.echo(strict_json.dumps(result.to_dict(), ensure_ascii=False, indent=2) if as_json else report(result))
    sys.exit(EXIT_OK if result.holds else EXIT_DIFFERS)
