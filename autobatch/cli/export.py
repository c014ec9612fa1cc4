"""`autobatch export`."""

from __future__ import annotations

from pathlib import Path

import click

from autobatch.errors import UsageError
from autobatch.export.targets import NAMES


@click.command(context_settings={"show_default": True})
@click.argument("output", required=False, type=click.Path(path_type=Path))
@click.option("--study", metavar="NAME", help="Study to export; the one worked on last unless told.")
@click.option("--db", type=click.Path(path_type=Path), default=Path("trials.db"), help="Database of the search.")
@click.option("--format", "target", type=click.Choice(NAMES), default="hf", help="Tool that will load it.")
@click.option("--into", type=click.Path(path_type=Path), help="Merge the tuned keys into this YAML file of yours.")
@click.option("--dry-run", is_flag=True, help="With --into: show the diff, write nothing.")
@click.option("--force", is_flag=True, help="Overwrite a file that autobatch did not write.")
def command(  # noqa: D103 - click shows the help text below
    output: Path | None,
    study: str | None,
    db: Path,
    target: str,
    into: Path | None,
    *,
    dry_run: bool,
    force: bool,
) -> None:
    from autobatch.export import frozen, into_file, source
    from autobatch.export.summary import summary
    from autobatch.review import words

    if output is None and into is None:
        what = "There is nothing to write to."
        raise UsageError(what, "Name a file, for example `autobatch export best.yaml`, or merge with --into.")
    if dry_run and into is None:
        what = "--dry-run shows what --into would change, and there is no --into."
        raise UsageError(what, "Name the file to merge into with --into, or leave --dry-run out.")
    chosen = source.read(db, study)
    freezes = output is not None and not dry_run
    merged = into_file.prepare(chosen, into, target, dry_run=dry_run, said=freezes) if into else None
    if output is not None and freezes:
        frozen.save(chosen, output, target, force=force)
        click.echo(f"Wrote {words.one_line(output)} ({target}).\n{summary(chosen, target)}")
    if merged is not None and into is not None:
        if not dry_run:
            into_file.apply(merged, into)
        click.echo(into_file.report(merged, into, dry_run=dry_run))


command.help = """Freeze the chosen configuration of a study into OUTPUT, which a training run loads.

\b
--format hf            transformers' HfArgumentParser (the default)
--format trl           TRL: SFTConfig and ModelConfig
--format llamafactory  LLaMA-Factory
--format axolotl       axolotl
--format accelerate    accelerate launch --config_file
--format deepspeed     DeepSpeed's JSON
--format env           environment variables, for a shell
"""
