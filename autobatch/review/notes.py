"""Notes for Optuna's dashboard, in Markdown: the answer for a study, what happened and why for a trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autobatch import attributes
from autobatch.review import words
from autobatch.review.markdown import markdown, plain, table
from autobatch.review.records import Trial
from autobatch.review.report import Report
from autobatch.units import format_duration

MARK = "*Written by autobatch, and again when the dashboard starts; delete this line to keep a text of yours.*"
_MEASURED = (
    ("samples/s", attributes.SAMPLES_PER_S, attributes.PREDICTED_SAMPLES_PER_S),
    ("peak on the card (GiB)", attributes.DEVICE_PEAK_GIB, attributes.PREDICTED_PEAK_GIB),
    ("s/step", attributes.STEP_S, ""),
    ("peak on the host (GiB)", attributes.HOST_PEAK_GIB, ""),
    ("wait for the loader (%)", attributes.LOADER_WAIT_PERCENT, ""),
)
_HEADINGS = ("trial", "stage", "settings", "verdict", "s/step", "samples/s", "card GiB", "host GiB")
_LISTED = (attributes.STEP_S, attributes.SAMPLES_PER_S, attributes.DEVICE_PEAK_GIB, attributes.HOST_PEAK_GIB)


def study_note(report: Report, trials: Sequence[Trial]) -> str:
    """Return the note of a study: its report, and its trials in a table."""
    listed = "\n".join(table(_HEADINGS, map(_cells, trials)))
    return f"{MARK}\n\n{markdown(report)}\n## Trials, the newest first\n\n{listed}\n"


def _cells(trial: Trial) -> Sequence[object]:
    settings = words.configuration(trial.settings, brief=True)
    figures = (words.number(trial.figure(name)) for name in _LISTED)
    return trial.number, trial.attributes.get(attributes.STAGE, ""), settings, trial.verdict, *figures


def trial_note(trial: Trial) -> str:
    """Return the note of a trial."""
    return "\n".join([MARK, "", *_lines(trial)])


def _lines(trial: Trial) -> Iterator[str]:
    yield f"## {plain(trial.verdict)}"
    yield from ("", plain(trial.hint), "", f"**Tried**: {plain(words.configuration(trial.settings))}")
    why = trial.attributes.get(attributes.WHY)
    if why:
        yield from ("", f"**Why**: {plain(why)}")
    rows = [row for row in _MEASURED if trial.figure(row[1]) is not None or trial.figure(row[2]) is not None]
    if rows:
        yield from ("", "| | measured | predicted |", "| --- | --- | --- |")
    for name, measured, predicted in rows:
        yield f"| {name} | {words.number(trial.figure(measured))} | {words.number(trial.figure(predicted))} |"
    seconds = trial.figure(attributes.PROBE_S)
    if seconds is not None:
        yield from ("", f"The probe took {format_duration(seconds)}.")
