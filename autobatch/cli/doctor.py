"""`autobatch doctor`."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import TYPE_CHECKING

import click

from autobatch.errors import EXIT_MACHINE, EXIT_OK

if TYPE_CHECKING:
    from autobatch.machine.doctor import Finding

_MARKS = {"ok": "  ok  ", "note": " note ", "warning": " warn ", "problem": "FAILED"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(*, as_json: bool) -> None:  # noqa: D103 - click shows the help text below
    from autobatch.machine.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps([finding.to_dict() for finding in findings], ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_lines(findings)))
    sys.exit(EXIT_MACHINE if any(finding.level == "problem" for finding in findings) else EXIT_OK)


command.help = (
    "Examine this machine: GPU, driver, libraries, memory limits, isolation, and what to do about each. "
    f"The exit code is {EXIT_MACHINE} where something must be mended first."
)


def _lines(findings: list[Finding]) -> list[str]:
    lines: list[str] = []
    for area, group in groupby(findings, key=lambda finding: finding.area):
        lines.append(area)
        for finding in group:
            lines.append(f"[{_MARKS[finding.level]}] {finding.what}")
            lines.extend([f"         -> {finding.do}"] if finding.do else [])
    levels = [str(finding.level) for finding in findings]
    return [*lines, f"{levels.count('problem')} to mend, {levels.count('warning')} to mind."]
