"""The report as Markdown: the same facts in the same order, without the figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from autobatch import attributes
from autobatch.review import words
from autobatch.review.facts import flat
from autobatch.review.records import Trial
from autobatch.review.report import Report

_HEADINGS = ("trial", "stage", "settings", "samples/s", "predicted", "card GiB", "predicted GiB")


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def plain(text: object) -> str:
    """Return text as one line in which Markdown and HTML find nothing to act on."""
    safe = words.one_line(text)
    for mark in "\\`*_|<>[]#":
        safe = safe.replace(mark, f"\\{mark}")
    return safe


def _lines(report: Report) -> Iterator[str]:
    yield f"# {plain(report.study.name)}"
    yield from (
        "",
        f"{plain(report.study.model)}, {words.count(report.study.trials, 'trial')}, {report.made:%Y-%m-%d %H:%M %Z}",
    )
    yield from ("", "## Answer", "", *(_item(line) for line in report.lines))
    if report.finalists:
        yield from ("", "## Evidence: the best trials", "", *table(_HEADINGS, map(_finalist, report.finalists)))
    if report.failures:
        yield from ("", "## What failed, and why", "")
    for failure in report.failures:
        yield f"- {failure.count:,} x **{plain(failure.kind)}**: {plain(failure.hint)}"
        yield from (f"  - {plain(_example(trial))}" for trial in failure.examples)
    yield from ("", "## How far to trust this", "", *(f"- {plain(line)}" for line in report.trust))
    machine = report.study.facts(attributes.MACHINE)
    if machine:
        yield from ("", "## Machine", "", *(f"- {plain(name)}: {plain(value)}" for name, value in flat(machine)))


def _item(line: str) -> str:
    """Return a line of the answer as an item of a list; one that is indented belongs to the one before it."""
    lead = "  - " if line.startswith(" ") else "- "
    name, found, command = line.partition("Next: ")
    return f"{lead}Next: `{command.replace('`', ' ')}`" if found and not name else lead + plain(line)


def _finalist(trial: Trial) -> Sequence[object]:
    rates = (attributes.SAMPLES_PER_S, attributes.PREDICTED_SAMPLES_PER_S)
    names = (*rates, attributes.DEVICE_PEAK_GIB, attributes.PREDICTED_PEAK_GIB)
    stage = trial.attributes.get(attributes.STAGE, "")
    settings = words.configuration(trial.settings, brief=True)
    return trial.number, stage, settings, *(words.number(trial.figure(name)) for name in names)


def _example(trial: Trial) -> str:
    return f"trial {trial.number}: {words.configuration(trial.settings, brief=True)}"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Return the lines of a table."""
    yield _row(headings)
    yield _row(["---"] * len(headings))
    yield from map(_row, rows)


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(plain(cell) for cell in cells) + " |"
