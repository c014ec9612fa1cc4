"""One trial in words: what was tried, why, what came of it, and how far the prediction was right."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autobatch import attributes, strict_json
from autobatch.review import terminal, words
from autobatch.review.database import Database
from autobatch.review.records import Study, Trial
from autobatch.store import read
from autobatch.store.read import ProbeRecord
from autobatch.units import GIB, format_duration

_MEASURED = (
    ("throughput (samples/s)", attributes.SAMPLES_PER_S, attributes.PREDICTED_SAMPLES_PER_S),
    ("peak on the card (GiB)", attributes.DEVICE_PEAK_GIB, attributes.PREDICTED_PEAK_GIB),
    ("s/step", attributes.STEP_S, None),
    ("real tokens/s", attributes.TOKENS_PER_S, None),
    ("peak on the host (GiB)", attributes.HOST_PEAK_GIB, None),
    ("wait for the loader (%)", attributes.LOADER_WAIT_PERCENT, None),
)

_LOG_BYTES = 1 << 16


def facts(study: Study, trial: Trial, probes: Sequence[ProbeRecord]) -> dict[str, Any]:
    """Return all that is known of a trial, JSON-ready; `probes` are its rows in the ledger."""
    return {
        "study": study.name,
        "trial": trial.number,
        "state": trial.state,
        "verdict": trial.verdict,
        "hint": trial.hint,
        "settings": dict(trial.settings),
        "attributes": dict(trial.attributes),
        "probes": [_probe_facts(record) for record in probes],
    }


def text(study: Study, trial: Trial, probes: Sequence[ProbeRecord], log_lines: int = 20) -> str:
    """Return the trial as a person reads it; of the probe's log, the last lines."""
    parts = [
        f"trial {trial.number} of {study.name}: {trial.verdict}",
        *([f"  {trial.hint}"] if trial.hint else []),
        *_section("why it was tried", _why(trial)),
        *_section("settings", (f"{name}: {value}" for name, value in trial.settings.items())),
        *_section("measured", _measured(trial)),
        *(line for record in probes for line in _probe(record, log_lines)),
    ]
    return words.clean("\n".join(parts))


def show(path: Path, name: str | None, number: int, *, as_json: bool, log_lines: int = 20) -> None:
    """Print one trial.

    Raises:
        DatabaseError: the database cannot be read.
        UsageError: there is no such study or trial.

    """
    database = Database(path)
    study = database.study(name)
    trial = database.trial(study, number)
    probes = read.probe(path, study.name, number)
    if as_json:
        terminal.say(strict_json.dumps(facts(study, trial, probes), indent=2))
    else:
        terminal.say(text(study, trial, probes, log_lines))


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


def _probe(record: ProbeRecord, log_lines: int) -> Iterator[str]:
    """Tell one probe: its verdict with the evidence for it, what we did to it, and the end of its log."""
    probe, verdict = record.probe, record.probe.verdict
    attempt = f", attempt {probe.attempt}" if probe.attempt > 1 else ""
    ended = f"{verdict.kind}, {verdict.confidence}" if verdict else "still running, or its end was not written"
    yield from _section(f"evidence ({probe.purpose}{attempt}: {ended})", _evidence(record))
    evidence = verdict.evidence if verdict else {}
    exception = evidence.get("exception")
    if isinstance(exception, Mapping) and exception.get("traceback"):
        yield from _section("traceback", str(exception["traceback"]).splitlines())
    log = str(evidence.get("log") or _log_file(record)).splitlines()
    yield from _section("end of the probe's log", log[-log_lines:] if log_lines else [])


def _log_file(record: ProbeRecord) -> str:
    """Return the end of the log in the probe's folder, where that is still there."""
    folders = (event.facts["folder"] for event in record.events if event.facts.get("folder"))
    path = Path(str(next(folders, ""))) / "log.txt"
    if not path.is_file():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _LOG_BYTES))
        return log.read(_LOG_BYTES).decode(errors="replace")


def _evidence(record: ProbeRecord) -> Iterator[str]:
    verdict = record.probe.verdict
    for name, value in (verdict.evidence if verdict else {}).items():
        if name == "exception" and isinstance(value, Mapping):
            yield f"exception: {value.get('type')}: {value.get('message')}"
        elif name != "log":
            yield f"{name}: {_said(name, value)}"
    for event in record.events:
        if event.event == "intent":
            yield f"we ended it: {event.facts.get('reason')}"
    for key, place in (("device_bytes", "card"), ("host_bytes", "host")):
        seen = [value for event in record.events if isinstance(value := event.facts.get(key), int | float)]
        if seen:
            yield f"most memory seen on the {place}: {max(seen) / GIB:.2f} GiB, in {len(seen)} samples"


def _said(name: str, value: object) -> str:
    if name.endswith("_bytes") and isinstance(value, int | float):
        return f"{value / GIB:.2f} GiB"
    return json.dumps(value) if isinstance(value, Mapping | list) else words.one_line(value)


def _probe_facts(record: ProbeRecord) -> dict[str, Any]:
    probe, verdict = record.probe, record.probe.verdict
    return {
        "purpose": probe.purpose,
        "attempt": probe.attempt,
        "begun_at": probe.begun_at,
        "ended_at": probe.ended_at,
        "verdict": verdict.to_dict() if verdict else None,
        "events": [{"at": event.at, "event": event.event, **event.facts} for event in record.events],
    }
