"""`autobatch models`."""

from __future__ import annotations

import json

import click

_HEADINGS = ("preset", "parameters", "method", "tokens", "effective batch", "hub id")


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print whole workloads as JSON.")
def command(name: str | None, *, as_json: bool) -> None:  # noqa: D103 - click shows the help text below
    from autobatch.workload import presets

    if as_json:
        chosen = [presets.load(one) for one in ([name] if name else presets.names())]
        click.echo(json.dumps([workload.to_dict() for workload in chosen], ensure_ascii=False, indent=2))
    elif name:
        click.echo(presets.source(name), nl=False)
    else:
        click.echo(_table([_HEADINGS, *(_row(one) for one in presets.names())]))


command.help = "List the model presets, or print one as the file to start your own from."


def _row(name: str) -> tuple[str, ...]:
    from autobatch.workload import presets

    workload = presets.load(name)
    method = workload.method if workload.quantization == "none" else f"{workload.method} on {workload.quantization}"
    tokens = f"{workload.max_source_length}" + (f"/{workload.max_target_length}" if workload.max_target_length else "")
    count = f"{workload.model.parameters or 0:,}"
    return (name, count, method, tokens, str(workload.effective_batch), workload.model.hub_id)


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
