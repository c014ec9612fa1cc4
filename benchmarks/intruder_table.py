"""The results of `benchmarks.intruder` in a short table, and what in them is not as it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autobatch.review.words import configuration, number
from autobatch.verdict import Kind

Report = Mapping[str, Any]


def table(report: Report) -> list[str]:
    """Return the lines of the table: part, what, figure."""
    rows = [*_held(report), *_alone(report), *_arrives(report), *_compare(report)]
    return [f"{part:8} {what:34} {figure}" for part, what, figure in rows]


def wrong(report: Report) -> list[str]:
    """Return what is not as it should be, one line each; none where all is well."""
    parts = [name for name in ("held", "alone", "arrives", "compare") if name in report]
    found = [f"{name}: {report[name]['error']}" for name in parts if "error" in report[name]]
    whole = {name: report[name] for name in parts if "error" not in report[name]}
    searches = [name for name in whole if name != "compare"]
    found += [f"{name}: no answer: {_why(whole[name])}" for name in searches if not whole[name]["chosen"]]
    if "held" in whole:
        found += _wrong_held(whole["held"])
    if "arrives" in whole:
        found += _wrong_arrives(whole["arrives"])
    if "compare" in whole and not whole["compare"]["within"]:
        found.append("compare: the answers differ by more, or could not be measured")
    return found


def _why(part: Report) -> str:
    return f"{part['state']} {part['reason'] or part['stopped'] or ''}".strip()


def _wrong_held(part: Report) -> Iterator[str]:
    if part["looks_waiting"] < part["looks"]:
        yield f"held: {part['looks'] - part['looks_waiting']} of {part['looks']} looks did not find it waiting"
    if part["probes_before_it_ended"]:
        yield f"held: {part['probes_before_it_ended']} probes ran beside the process that held the card"


def _wrong_arrives(part: Report) -> Iterator[str]:
    if not part["beside_it"]:
        yield "arrives: the process met no probe: try another --arrives-s"
    for row in part["beside_it"]:
        if row["kind"] != Kind.DISTURBED:
            yield f"arrives: trial {row['trial']} ran beside the process and was not marked: {row['kind']}"
    for row in part["disturbed"]:
        if row["repeated_in"] is None:
            yield f"arrives: trial {row['trial']} was marked and not repeated"


Row = tuple[str, str, str]


def _held(report: Report) -> Iterator[Row]:
    part = _whole(report, "held")
    if part:
        yield "held", "status said", part["waited_for"]
        yield (
            "",
            "looks that found it waiting",
            f"{part['looks_waiting']} of {part['looks']} in {part['waited_s']:.0f} s",
        )
        yield "", "first probe after the process's end", f"{part['first_probe_after_s']:.1f} s"
        yield "", "answer", _answer(part)


def _alone(report: Report) -> Iterator[Row]:
    part = _whole(report, "alone")
    if part:
        yield "alone", "answer A", _answer(part)


def _arrives(report: Report) -> Iterator[Row]:
    part = _whole(report, "arrives")
    if part:
        yield "arrives", "probes beside the process", _trials(part["beside_it"])
        yield "", "marked as disturbed", _trials(part["disturbed"])
        again = (f"{row['trial']} in {row['repeated_in']} ({row['repeated_kind']})" for row in part["disturbed"])
        yield "", "repeated", ", ".join(again) or "none"
        yield "", "answer B", _answer(part)


def _compare(report: Report) -> Iterator[Row]:
    part = _whole(report, "compare")
    if part and part["same_configuration"]:
        yield "compare", "B against A", "the same configuration"
    elif part:
        for name, probes in part["measured"].items():
            yield (
                "compare",
                f"{name} side by side, samples/s",
                ", ".join(number(one["samples_per_s"]) for one in probes),
            )
        difference = part["rel_difference"]
        said = "not measured" if difference is None else f"{difference:+.1%} (within {part['tolerance']:.0%} wanted)"
        yield "", "B against A", said


def _whole(report: Report, name: str) -> Report:
    part: Report = report.get(name, {})
    return {} if "error" in part else part


def _answer(part: Report) -> str:
    chosen = part["chosen"]
    if not chosen:
        return f"none: {_why(part)}"
    figure = number(chosen["measurements"].get("samples_per_s"))
    return f"{figure} samples/s: {configuration(chosen['configuration'])} ({part['probes']} probes)"


def _trials(rows: list[Mapping[str, Any]]) -> str:
    return ", ".join(f"trial {row['trial']}" for row in rows) or "none"
