"""`plan`: what should fit, before a GPU or weights are there."""

from __future__ import annotations

import click


@click.command()
@click.option("--model", "-m", required=True, help="Preset (see `autobatch models`), workload file, folder or hub id.")
@click.option("--gpu", default="rtx-3090", show_default=True, help="Card by name, or its size such as 24GiB.")
@click.option("--compare", metavar="GPU,GPU", help="Cards side by side, in place of --gpu.")
@click.option("--ram", metavar="SIZE", help="Host memory, such as 60GiB.")
@click.option(
    "--effective-batch", type=click.IntRange(1), help="Samples per optimizer step; the workload's own unless given."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(
    model: str, gpu: str, compare: str | None, ram: str | None, effective_batch: int | None, *, as_json: bool
) -> None:
    """Predict the memory of every arm, and the micro-batches that should fit, without a GPU and without weights."""
    from autobatch.estimate import report

    wanted = compare.split(",") if compare else [gpu]
    found = report.make(model, wanted, ram, effective_batch)
    click.echo(found.to_json() if as_json else found.to_text())
