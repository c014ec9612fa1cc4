"""The report as one HTML page: no script, no network, readable on a phone and in print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from autobatch import __version__, attributes
from autobatch.review import svg, words
from autobatch.review.answer import host_is_card, is_inference, training_seconds, training_words
from autobatch.review.facts import flat, said, size_or_share
from autobatch.review.figure import Figure
from autobatch.review.markup import Html, element, inner, pairs, table
from autobatch.review.records import Study, Trial
from autobatch.review.report import Failure, Report
from autobatch.units import GIB, format_duration

_RIGHT = frozenset({0, 3, 4, 5, 6})
_HEADINGS = ("trial", "stage", "settings", "samples/s", "predicted", "card GiB", "predicted GiB")


_TITLE = "<title>autobatch: "
_HEAD_BYTES = 1024
"""Into which the title comes."""


def is_page(path: Path) -> bool:
    """Tell whether a file is a page that `html` made."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return head.startswith(b"<!DOCTYPE html>") and _TITLE.encode() in head


def html(report: Report) -> str:
    """Return the page."""
    style = files("autobatch.review").joinpath("report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", f"autobatch: {report.study.name}"),
        element("style", Html(style)),
    )
    body = element("body", *_header(report), *_sections(report))
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def _header(report: Report) -> Iterator[Html]:
    study = report.study
    trials = words.count(study.trials, "trial")
    made = report.made.strftime("%Y-%m-%d %H:%M %Z")
    yield element("h1", study.name)
    yield element("p", f"{study.model}, {trials}. Report of {made}, autobatch {__version__}.", class_="faint")


def _sections(report: Report) -> Iterator[Html]:
    yield _answer(report)
    yield from _section(*_settings(report.answer))
    yield from _section("Evidence: the best trials", _evidence(report))
    figures = [_figure(figure) for figure in report.figures]
    yield from _section("Figures", element("div", *figures, class_="figures") if figures else None)
    yield from _section(
        "What failed, and why", inner(_failure(f) for f in report.failures) if report.failures else None
    )
    yield from _section("How far to trust this", element("ul", *(element("li", line) for line in report.trust)))
    yield from _section("Workload and limits", pairs(_workload(report.study, report.answer)))
    yield from _section("Machine", _machine(report.study))
    if report.trials < report.study.trials:
        shown = (
            f"The best, the newest and the newest failed trials are shown: {report.trials} of {report.study.trials:,}."
        )
        yield element("footer", shown, class_="faint")


def _section(title: str, content: Html | None) -> Iterator[Html]:
    if content:
        yield element("section", element("h2", title), content)


def _answer(report: Report) -> Html:
    chosen = report.answer.get("chosen")
    if not chosen or not report.answer.get("stopped"):
        return element("section", *(element("p", line) for line in report.lines), class_="answer")
    lead, *_, command = report.lines
    lines = _second(report.lines)
    lines += [line.strip() for line in report.lines if line.startswith(("Stopped", "Interrupted"))]
    return element(
        "section",
        element("p", lead, class_="lead"),
        element("div", *(_tile(*tile) for tile in _tiles(report.answer, chosen)), class_="tiles"),
        *(element("p", line) for line in lines),
        element("code", command.removeprefix("Next: "), class_="command"),
        class_="answer",
    )


def _second(lines: Sequence[str]) -> list[str]:
    """Return the second of the answer's lines in one, with the figures from the line below it."""
    return [f"{one}: {below.strip()}." for one, below in pairwise(lines) if one.startswith("Second: ")]


def _tile(figure: str, name: str) -> Html:
    return element("div", element("b", figure), element("span", name), class_="tile")


def _tiles(answer: Mapping[str, Any], chosen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    measured, limits = chosen["measurements"], answer.get("limits") or {}
    yield from _speeds(answer.get("workload") or {}, chosen)
    for place, key in (("card", "device_peak_used_bytes"), ("host", "host_peak_bytes")):
        used, size = measured.get(key), limits.get("device_bytes" if place == "card" else "host_bytes")
        if used and size and not (place == "card" and host_is_card(limits)):
            yield words.percent(used / size), f"of the {place}: {used / GIB:.1f} of {size / GIB:.1f} GiB at most"


def _speeds(workload: Mapping[str, Any], chosen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    measured = chosen["measurements"]
    if is_inference(chosen):
        yield words.number(measured["eval_samples_per_s"]), "samples/s in evaluation"
        return
    yield words.number(measured.get("samples_per_s")), "samples/s"
    yield words.number(measured.get("step_s")), "s/step"
    seconds = training_seconds(workload, measured.get("samples_per_s"))
    if seconds is not None:
        yield format_duration(seconds), f"for {training_words(workload)}, without evaluation"


def _settings(answer: Mapping[str, Any]) -> tuple[str, Html | None]:
    """Return a title and the settings."""
    chosen = answer.get("chosen")
    if not chosen:
        return "Settings", None
    title = "Settings (those of training alone were not measured)" if is_inference(chosen) else "Settings"
    return title, pairs((name, said(value)) for name, value in chosen["configuration"].items())


def _evidence(report: Report) -> Html | None:
    return table(_HEADINGS, (_finalist(trial) for trial in report.finalists), _RIGHT) if report.finalists else None


def _finalist(trial: Trial) -> tuple[object, ...]:
    figures = (
        attributes.SAMPLES_PER_S,
        attributes.PREDICTED_SAMPLES_PER_S,
        attributes.DEVICE_PEAK_GIB,
        attributes.PREDICTED_PEAK_GIB,
    )
    stage, settings = trial.attributes.get(attributes.STAGE, ""), words.configuration(trial.settings, brief=True)
    return trial.number, stage, settings, *(_figure_text(trial.figure(name)) for name in figures)


def _figure_text(value: float | None) -> str:
    return "" if value is None else words.number(value)


def _figure(figure: Figure) -> Html:
    return element(
        "figure",
        element("h3", figure.title),
        Html(svg.draw(figure)),
        Html(svg.legend(figure)),
        element("figcaption", figure.caption),
    )


def _failure(failure: Failure) -> Html:
    return element(
        "div",
        element("h3", f"{failure.count:,} x {failure.kind}"),
        element("p", failure.hint),
        element("ul", *(element("li", _example(trial)) for trial in failure.examples)),
        class_="failure",
    )


def _example(trial: Trial) -> str:
    why = trial.attributes.get(attributes.WHY)
    said = f"trial {trial.number}: {words.configuration(trial.settings, brief=True)}"
    return f"{said} (tried because: {words.one_line(why)})" if why else said


def _workload(study: Study, answer: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    workload = study.workload
    plain = {
        name: value for name, value in workload.items() if isinstance(value, int | float | str) and name != "notes"
    }
    yield from plain.items()
    limits = answer.get("limits") or {}
    yield from ((name, size_or_share(name, value)) for name, value in limits.items() if value)


def _machine(study: Study) -> Html | None:
    found = list(flat(study.facts(attributes.MACHINE)))
    return pairs(found) if found else None
