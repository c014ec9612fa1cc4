"""The figures of a search, from its trials: what the report and the dashboard both show."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autobatch import attributes
from autobatch.review import words
from autobatch.review.figure import Figure, Level, Series
from autobatch.review.records import Study, Trial
from autobatch.settings import ARM_KEYS, MICRO_BATCH, WORKERS

LARGEST_ARMS = 6
"""Arms with a colour of their own, the fastest first; the rest share a neutral one."""
_CURVE_POINTS = 24
_Point = tuple[float, float]


@dataclass(frozen=True)
class Arm:
    """Trials that differ in the batch and the loader alone."""

    name: str
    hue: int
    trials: tuple[Trial, ...]


def all_figures(study: Study, trials: Sequence[Trial]) -> list[Figure]:
    """Return every figure that has something to show.

    Args:
        study: whose limits are drawn.
        trials: in the order in which they ran.

    """
    arms = _arms(trials)
    figures = (
        memory(study, arms),
        throughput(arms),
        loader_wait(trials),
        loader_memory(study, trials),
        time_line(trials),
        pareto(study, arms),
    )
    return [figure for figure in figures if not figure.empty]


def memory(study: Study, arms: Iterable[Arm]) -> Figure:
    """Peak on the card against the micro-batch: an affine fit an arm, the limits, and what ran out of memory."""
    series: list[Series] = []
    for arm in arms:
        series += [_points(arm, arm.trials, attributes.DEVICE_PEAK_GIB), _fitted(arm)]
    too_large = [t for arm in arms for t in arm.trials if t.too_large_for_card]
    lost = [t for t in too_large if t.figure(attributes.DEVICE_PEAK_GIB) is None]
    limit = study.device_limit_gib
    at_limit = tuple((float(t.micro_batch or 0), limit) for t in lost) if limit else ()
    crosses = Series("out of memory", at_limit, "crosses", -1, _notes(lost) if at_limit else ())
    return Figure(
        "memory",
        "Memory of the card against the micro-batch",
        "micro-batch",
        "peak (GiB)",
        "Within an arm memory is affine in the micro-batch; the dashed lines are fitted to the points. A cross on the"
        " card's limit is a probe that ran out of memory: how much it lacked, nobody knows.",
        (*series, crosses),
        tuple(_limits(study)),
        x_scale="log2",
    )


def throughput(arms: Iterable[Arm]) -> Figure:
    """Samples/s against the micro-batch."""
    series: list[Series] = []
    for arm in arms:
        ran = [trial for trial in arm.trials if not trial.failed]
        series += [_line(arm, ran), _points(arm, ran, attributes.SAMPLES_PER_S)]
    failed = [trial for arm in arms for trial in arm.trials if trial.failed]
    crosses = tuple((float(t.micro_batch or 0), t.samples_per_s or 0.0) for t in failed)
    return Figure(
        "throughput",
        "Throughput against the micro-batch",
        "micro-batch",
        "samples/s",
        "Where a line bends flat, a larger micro-batch only takes memory. Crosses failed: at zero, or above a limit.",
        (*series, Series("failed", crosses, "crosses", -1, _notes(failed))),
        x_scale="log2",
    )


def loader_wait(trials: Sequence[Trial]) -> Figure:
    """Share of time that the device waits for the loader, against the workers."""
    groups = _by_workers(trials)
    series = [_by(group, hue, WORKERS, attributes.LOADER_WAIT_PERCENT) for hue, group in enumerate(groups)]
    return Figure(
        "loader-wait",
        "Waiting for the loader against its workers",
        "DataLoader workers",
        "time waiting (%)",
        "The fewest workers that keep this near zero are enough.",
        tuple(series),
        x_scale="whole",
    )


def loader_memory(study: Study, trials: Sequence[Trial]) -> Figure:
    """Host memory against the workers."""
    groups = _by_workers(trials)
    series = [_by(group, hue, WORKERS, attributes.HOST_PEAK_GIB) for hue, group in enumerate(groups)]
    failed = [trial for group in groups for trial in group if trial.failed and WORKERS in trial.settings]
    limit = study.safe_host_gib
    crosses = Series(
        "failed", tuple((float(t.settings[WORKERS]), limit or 0.0) for t in failed), "crosses", -1, _notes(failed)
    )
    return Figure(
        "loader-memory",
        "Host memory against the workers",
        "DataLoader workers",
        "peak (GiB)",
        "Each worker adds its own copy of what it loads.",
        (*series, crosses),
        (Level("safe limit of the host", limit),) if limit else (),
        x_scale="whole",
    )


def time_line(trials: Sequence[Trial]) -> Figure:
    """Throughput of every trial over the wall clock, and the best so far."""
    ended = sorted((t for t in trials if t.end_s is not None and t.start_s is not None), key=lambda t: t.end_s or 0.0)
    begin = min((t.start_s or 0.0 for t in ended), default=0.0)
    ran = [t for t in ended if not t.failed]
    failed = [t for t in ended if t.failed]
    minutes = {t.number: ((t.end_s or 0.0) - begin) / 60 for t in ended}
    points = tuple((minutes[t.number], t.samples_per_s or 0.0) for t in ran)
    crosses = tuple((minutes[t.number], t.samples_per_s or 0.0) for t in failed)
    return Figure(
        "time-line",
        "Time line of the search",
        "minutes since the first trial",
        "samples/s",
        "Each point is a trial at the moment that it ended; the line is the best so far.",
        (
            Series("best so far", _best_so_far(ran, minutes), "steps", 0),
            Series("ran", points, "points", 1, _notes(ran)),
            Series("failed", crosses, "crosses", -1, _notes(failed)),
        ),
    )


def pareto(study: Study, arms: Iterable[Arm]) -> Figure:
    """Throughput against memory, with the front of those that no other beats in both."""
    measured = [t for arm in arms for t in arm.trials if t.ok and t.figure(attributes.DEVICE_PEAK_GIB) is not None]
    series = [_scatter(arm) for arm in arms]
    return Figure(
        "pareto",
        "Throughput against memory",
        "peak on the card (GiB)",
        "samples/s",
        "On the line lie the trials that no other beats in both.",
        (Series("best for their memory", _front(measured), "steps", -1), *series),
        tuple(Level(level.name, level.value, "x") for level in _limits(study)),
    )


def _arms(trials: Sequence[Trial]) -> list[Arm]:
    shown = words.varying(trial.settings for trial in trials)
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        if trial.micro_batch is not None:
            groups.setdefault(tuple(repr(trial.settings.get(name)) for name in ARM_KEYS), []).append(trial)
    ranked = sorted(groups.values(), key=lambda group: -max(trial.value or 0.0 for trial in group))
    arms = [Arm(words.arm(g[0].settings, shown), hue, tuple(g)) for hue, g in enumerate(ranked[:LARGEST_ARMS])]
    rest = tuple(trial for group in ranked[LARGEST_ARMS:] for trial in group)
    return [*arms, Arm("other arms", -1, rest)] if rest else arms


def _points(arm: Arm, trials: Iterable[Trial], measured: str) -> Series:
    return _by(trials, arm.hue, MICRO_BATCH, measured, arm.name)


def _by(trials: Iterable[Trial], hue: int, setting: str, measured: str, name: str | None = None) -> Series:
    found = [t for t in trials if setting in t.settings and t.figure(measured) is not None]
    points = tuple((float(t.settings[setting]), t.figure(measured) or 0.0) for t in found)
    label = (
        name if name is not None else (words.configuration(_without(found[0].settings), brief=True) if found else "")
    )
    return Series(label, points, "points", hue, _notes(found))


def _without(settings: Mapping[str, bool | int | float | str]) -> dict[str, bool | int | float | str]:
    return {name: value for name, value in settings.items() if name != WORKERS}


def _scatter(arm: Arm) -> Series:
    found = [t for t in arm.trials if t.samples_per_s and t.figure(attributes.DEVICE_PEAK_GIB) is not None]
    points = tuple((t.figure(attributes.DEVICE_PEAK_GIB) or 0.0, t.samples_per_s or 0.0) for t in found)
    return Series(arm.name, points, "points", arm.hue, _notes(found))


def _fitted(arm: Arm) -> Series:
    """Fit peak = a + b x micro-batch to an arm's points; needs two micro-batches."""
    points = _points(arm, arm.trials, attributes.DEVICE_PEAK_GIB).points
    batches = sorted({x for x, _ in points})
    if len(batches) < 2 or arm.hue < 0:  # noqa: PLR2004 - two points make a line
        return Series("", (), "dashes", arm.hue)
    slope, intercept = statistics.linear_regression(*zip(*points, strict=True))
    tried = [float(trial.micro_batch or 0) for trial in arm.trials]
    low, high = batches[0], max(tried)
    xs = [low * (high / low) ** (step / _CURVE_POINTS) for step in range(_CURVE_POINTS + 1)]
    return Series("", tuple((x, intercept + slope * x) for x in xs), "dashes", arm.hue)


def _line(arm: Arm, trials: Iterable[Trial]) -> Series:
    best: dict[float, float] = {}
    for x, y in _points(arm, trials, attributes.SAMPLES_PER_S).points if arm.hue >= 0 else ():
        best[x] = max(y, best.get(x, 0.0))
    return Series("", tuple(sorted(best.items())), "line", arm.hue)


def _limits(study: Study) -> Iterable[Level]:
    if study.device_limit_gib is not None and study.safe_limit_gib is not None:
        yield Level(f"card {study.device_limit_gib:.0f} GiB", study.device_limit_gib)
        if study.safe_limit_gib < study.device_limit_gib:
            yield Level(f"safe {study.safe_limit_gib:.1f} GiB", study.safe_limit_gib)


def _by_workers(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Group trials that differ in their workers alone; only groups with two numbers of workers tell something."""
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        key = tuple(repr(trial.settings.get(name)) for name in (*ARM_KEYS, MICRO_BATCH))
        groups.setdefault(key, []).append(trial)
    telling = [g for g in groups.values() if len({t.settings.get(WORKERS) for t in g} - {None}) > 1]
    return sorted(telling, key=len, reverse=True)[:LARGEST_ARMS]


def _best_so_far(ran: Iterable[Trial], minutes: Mapping[int, float]) -> tuple[_Point, ...]:
    best, points = 0.0, []
    for trial in ran:
        if trial.ok and (trial.samples_per_s or 0.0) > best:
            best = trial.samples_per_s or 0.0
            points.append((minutes[trial.number], best))
    return (*points, (max(minutes.values()), best)) if points else ()


def _front(measured: Iterable[Trial]) -> tuple[_Point, ...]:
    pairs = sorted((t.figure(attributes.DEVICE_PEAK_GIB) or 0.0, -(t.samples_per_s or 0.0)) for t in measured)
    front: list[_Point] = []
    for memory_gib, negative in pairs:
        if not front or -negative > front[-1][1]:
            front.append((memory_gib, -negative))
    return tuple(front)


def _notes(trials: Iterable[Trial]) -> tuple[str, ...]:
    return tuple(
        f"trial {t.number}: {words.configuration(t.settings, brief=True)}: {t.verdict}"
        + (f", {words.number(t.samples_per_s)} samples/s" if t.samples_per_s else "")
        for t in trials
    )
