"""One trial in words: what was tried, why, what came of it, and how far the prediction was right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autobatch import attributes
from autobatch.review import terminal, words
from autobatch.review.database import Database
from autobatch.review.records import Study, Trial
from autobatch.units import format_duration

_MEASURED = (
    ("throughput (samples/s)", attributes.SAMPLES_PER_S, attributes.PREDICTED_SAMPLES_PER_S),
    ("peak on the card (GiB)", attributes.DEVICE_PEAK_GIB, attributes.PREDICTED_PEAK_GIB),
    ("s/step", attributes.STEP_S, None),
    ("real tokens/s", attributes.TOKENS_PER_S, None),
    ("peak on the host (GiB)", attributes.HOST_PEAK_GIB, None),
    ("wait for the loader (%)", attributes.LOADER_WAIT_PERCENT, None),
)


def facts(study: Study, trial: Trial) -> dict[str, Any]:
    """Return all that is known of a trial, JSON-ready."""
    return {
        "study": study.name,
        "trial": trial.number,
        "state": trial.state,
        "verdict": trial.verdict,
        "hint": trial.hint,
        "settings": dict(trial.settings),
        "attributes": dict(trial.attributes),
    }


def text(study: Study, trial: Trial) -> str:
    """Return the trial as a person reads it."""
    parts = [
        f"trial {trial.number} of {study.name}: {trial.verdict}",
        *([f"  {trial.hint}"] if trial.hint else []),
        *_section("why it was tried", _why(trial)),
        *_section("settings", (f"{name}: {value}" for name, value in trial.settings.items())),
        *_section("measured", _measured(trial)),
    ]
    return words.clean("\n".join(parts))


def show(path: Path, name: str | None, number: int, *, as_json: bool) -> None:
    """Print one trial.

    Raises:
        DatabaseError: the database cannot be read.
        UsageError: there is no such study or trial.

    """
    database = Database(path)
    study = database.study(name)
    trial = database.trial(study, number)
    terminal.say(json.dumps(facts(study, trial), indent=2) if as_json else text(study, trial))


def _section(title: str, lines: Iterator[str] | list[str]) -> list[str]:
    body = [f"  {line}" for line in lines]
    return ["", title, *body] if body else []


def _why(trial: Trial) -> Iterator[str]:
    stage = trial.attributes.get(attributes.STAGE)
    if stage:
        yield f"stage: {stage}"
    why = trial.attributes.get(attributes.WHY)
    if why:
        yield words.one_line(why)
    chance = trial.figure(attributes.CHANCE_TO_FIT)
    if chance is not None:
        yield f"chance to fit, as predicted: {words.percent(chance)}"


def _measured(trial: Trial) -> Iterator[str]:
    for name, measured, predicted in _MEASURED:
        value = trial.figure(measured)
        expected = trial.figure(predicted) if predicted else None
        if value is not None or expected is not None:
            beside = f" (predicted {words.number(expected)}{_off(value, expected)})" if expected is not None else ""
            yield f"{name}: {words.number(value)}{beside}"
    seconds = trial.figure(attributes.PROBE_S)
    if seconds is not None:
        yield f"the probe took {format_duration(seconds)}"


def _off(measured: float | None, predicted: float) -> str:
    return f", {100 * (predicted / measured - 1):+.0f} %" if measured else ""
