"""`autobatch search`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from autobatch import strict_json
from autobatch.cli.numbers import EffectiveBatch, Finite
from autobatch.errors import EXIT_INTERRUPTED, EXIT_NOTHING_FEASIBLE, UsageError
from autobatch.job.request import Job
from autobatch.probe.script_command import parse
from autobatch.units import parse_bytes, parse_duration
from autobatch.workload.check import MOST_EPOCHS
from autobatch.workload.profiles import PROFILES


@click.command(context_settings={"show_default": True, "allow_interspersed_args": False})
@click.argument("script", nargs=-1, metavar="[-- python train.py ARGS]", type=click.UNPROCESSED)
@click.option("--model", "-m", help="Preset (see `autobatch models`), hub id or local folder; not with a script.")
@click.option("--profile", type=click.Choice(list(PROFILES)), help="How much data, which effective batch.")
@click.option("--budget", "-b", default="30m", help="Wall clock for everything, confirmation included: 90s, 30m, 2h.")
@click.option("--data", help="JSON Lines, CSV, Parquet or a folder of text; without it, the preset's lengths.")
@click.option("--text-column", help="Column of the text in --data.")
@click.option("--summary-column", help="Column of the target text in --data.")
@click.option("--effective-batch", type=EffectiveBatch(), help="Samples per optimizer step, held; or 'free'.")
@click.option("--epochs", type=Finite(0, MOST_EPOCHS, min_open=True), help="Epochs of the full training.")
@click.option("--fix", multiple=True, metavar="KEY=VALUE", help="Hold a setting at one value. Repeatable.")
@click.option("--search", "searched", multiple=True, metavar="KEY[=V,V]", help="Search a setting too. Repeatable.")
@click.option("--space", help="YAML file with `fix:` and `search:` maps.")
@click.option("--device", default="auto", help="auto, cpu, cuda or cuda:N.")
@click.option("--devices", type=click.IntRange(min=1), default=1, help="Data-parallel devices of the full training.")
@click.option("--gpu-memory", help="Treat the card as this large, for example 24GiB.")
@click.option("--host-memory", help="Treat the host limit as this large, for example 60GiB.")
@click.option("--limit-gpu", type=Finite(0.1, 1.0), default=0.85, help="Share of the card that is safe.")
@click.option("--limit-host", type=Finite(0.1, 1.0), default=0.80, help="Share of host memory that is safe.")
@click.option("--sampler", type=click.Choice(["structured", "tpe", "gp", "random", "grid"]), default="structured")
@click.option("--phase", type=click.Choice(["train", "inference"]), default="train", help="What to tune.")
@click.option("--threshold", type=Finite(0, 1), default=0.01, help="Stop when less is left to gain.")
@click.option("--isolation", type=click.Choice(["fork", "spawn"]), default="fork", help="How probes are started.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Of the sampler and the probes.")
@click.option("--db", default="trials.db", help="SQLite file of studies and trials.")
@click.option("--study", help="Name of the study; the same name resumes it.")
@click.option("--trust-remote-code", is_flag=True, help="Let a model's own code run (only if you trust it).")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON; with --detach, the queued entry.")
@click.option("--quiet", "-q", is_flag=True, help="No live view.")
@click.option("--detach", is_flag=True, help="Queue the search for the daemon, and start that if there is none.")
@click.option("--on-done", metavar="CMD", help="With --detach: run this command when the search is done.")
@click.option("--no-color", is_flag=True, help="No colour in the live view.")
def command(  # noqa: D103 - click shows the help text below
    *,
    script: tuple[str, ...],
    model: str | None,
    budget: str,
    effective_batch: int | None,
    searched: tuple[str, ...],
    gpu_memory: str | None,
    host_memory: str | None,
    db: str,
    as_json: bool,
    quiet: bool,
    detach: bool,
    on_done: str | None,
    no_color: bool,
    **options: object,
) -> None:
    from autobatch.cli.interrupts import orderly_end
    from autobatch.job.run import run
    from autobatch.review.answer import answer_text
    from autobatch.review.live import make_view

    job = Job.from_dict(
        {
            **options,
            "model": _subject(model, script),
            "script": script,
            "budget_s": parse_duration(budget),
            "effective_batch": effective_batch,
            "search": searched,
            "gpu_memory_bytes": parse_bytes(gpu_memory) if gpu_memory else None,
            "host_memory_bytes": parse_bytes(host_memory) if host_memory else None,
            "database": db,
        },
    )
    if on_done and not detach:
        raise UsageError("--on-done is for searches that nobody watches.", "Add --detach, or leave --on-done out.")
    if detach:
        _submit(job, on_done, as_json=as_json)
        return
    with orderly_end():
        answer = run(job, make_view(sys.stderr, quiet=quiet, color=not no_color))
    click.echo(strict_json.dumps(answer, ensure_ascii=False, indent=2) if as_json else answer_text(answer))
    if answer["interrupted"]:
        sys.exit(EXIT_INTERRUPTED)
    if not answer["chosen"]:
        sys.exit(EXIT_NOTHING_FEASIBLE)


def _subject(model: str | None, script: tuple[str, ...]) -> str:
    """Return the model's name, or the script's."""
    if not script:
        return model or ""
    if model is not None:
        raise UsageError("A script trains its own model.", "Leave --model out, or the command after --.")
    return Path(parse(script).program).name


def _submit(job: Job, on_done: str | None, *, as_json: bool) -> None:
    from autobatch.daemon import control, standing

    database = Path(job.database)
    number = control.submit(database, job, on_done)
    if as_json:
        click.echo(strict_json.dumps(standing.search(database, number), ensure_ascii=False, indent=2))
        return
    click.echo(f"Queued as search {number}: `autobatch status` shows it, `autobatch logs -f {number}` follows it.")


command.help = """Find the fastest configuration that is safe, by short real trainings.

With a command after `--`, that script, as it is, is what is trained; without one, --model is.
"""
