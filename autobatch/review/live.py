"""The live view of a search: a panel in a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TextIO, cast

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autobatch.review import terminal, words
from autobatch.review.picture import Picture, Scene, expectation
from autobatch.settings import Configuration
from autobatch.units import GIB, format_duration
from autobatch.verdict import Verdict

_REFRESHES_PER_S = 4
_BAR_WIDTH = 24


class View:
    """Looks on while a search runs; the root of all views shows nothing.

    A view is an observer of the search and a context manager around it.
    """

    def __init__(self) -> None:
        self.picture = Picture()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, scene: Scene) -> None:
        """Take in what is known before the search: model, budget, limits, and how to watch a probe."""
        self.picture.begin(scene)

    def stage(self, name: str) -> None:
        """Take in that a stage begins."""
        self.picture.stage = name

    def trial_started(self, number: int, configuration: Configuration, why: Mapping[str, Any]) -> None:
        """Take in that a probe begins."""
        self.picture.trial_started(number, configuration, why)

    def trial_finished(self, number: int, configuration: Configuration, verdict: Verdict) -> None:
        """Take in that a probe has ended."""
        self.picture.trial_finished(number, configuration, verdict)

    def message(self, text: str) -> None:
        """Take in something that a person would want to know."""
        self.picture.notes.append(words.one_line(text))


class QuietView(View):
    """Shows nothing."""


class PlainView(View):
    """One line an event, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = terminal.tolerant(stream)

    def stage(self, name: str) -> None:
        """Print that a stage begins."""
        super().stage(name)
        self._line(f"stage {name}")

    def trial_started(self, number: int, configuration: Configuration, why: Mapping[str, Any]) -> None:
        """Print what is tried and why."""
        super().trial_started(number, configuration, why)
        expected = expectation(why)
        because = f" ({expected})" if expected else ""
        self._line(f"trial {number} starts: {words.configuration(configuration, brief=True)}{because}")

    def trial_finished(self, number: int, configuration: Configuration, verdict: Verdict) -> None:
        """Print what came of it."""
        self._line(self.picture.trial_finished(number, configuration, verdict))

    def message(self, text: str) -> None:
        """Print the message."""
        super().message(text)
        self._line(text)

    def _line(self, text: str) -> None:
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        self._stream.write(f"{now} {words.one_line(text)}\n")
        self._stream.flush()


class LiveView(View):
    """A panel that is drawn again four times a second, and is gone when the search is over."""

    def __init__(self, stream: TextIO, *, color: bool = True) -> None:
        super().__init__()
        console = terminal.console(stream, color=color)
        self._live = Live(
            console=console, get_renderable=self.render, refresh_per_second=_REFRESHES_PER_S, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def render(self) -> RenderableType:
        """Return the panel as it stands now."""
        picture = self.picture
        rows = Table.grid(padding=(0, 1), expand=True)
        rows.add_column(style="bold", no_wrap=True)
        rows.add_column(ratio=1)
        for name, content in self._rows(picture):
            rows.add_row(Text(name), content)
        title = Text(words.one_line(f"autobatch search {picture.scene.model}"))
        return Panel(rows, title=title, title_align="left")

    def _rows(self, picture: Picture) -> Iterator[tuple[str, RenderableType]]:
        yield "budget", _budget(picture)
        standing = picture.standing()
        yield "probe", _probe(picture, standing)
        yield from _memory(picture, standing)
        yield "best", Text(picture.best_line, style="green")
        if picture.left_to_gain is not None:
            yield (
                "to gain",
                Text(f"{words.percent(picture.left_to_gain, 1)} over the best, as far as the models can tell"),
            )
        yield "so far", Text(f"{picture.counts['ok']} ran, {picture.counts['failed']} failed, stage {picture.stage}")
        for index, line in enumerate(reversed(picture.last)):
            yield "" if index else "last", Text(line, style="dim" if index else "")
        for index, note in enumerate(picture.notes):
            yield "" if index else "note", Text(note)


def make_view(stream: TextIO, *, quiet: bool = False, color: bool = True) -> View:
    """Return the view that suits the stream: a panel in a terminal, plain lines elsewhere, nothing when quiet.

    A view whose stream is closed or full shows nothing from then on; the search does not end for that.
    """
    if quiet:
        return QuietView()
    patient = cast("TextIO", terminal.PatientStream(stream))
    if not patient.isatty() or os.environ.get("TERM") == "dumb":
        return PlainView(patient)
    return LiveView(patient, color=color)


def _budget(picture: Picture) -> RenderableType:
    left, budget = picture.left_s, picture.scene.budget_s
    if left is None or not budget:
        return Text(f"{format_duration(picture.elapsed_s)} so far, no limit")
    return _bar(picture.elapsed_s / budget, f"{format_duration(left)} left of {format_duration(budget)}", "cyan")


def _probe(picture: Picture, standing: Mapping[str, Any]) -> RenderableType:
    if picture.running is None:
        return Text("none: choosing the next", style="dim")
    number, configuration, why = picture.running
    since = format_duration(picture.clock() - picture.running_since)
    phase = f", {standing['phase']}" if standing.get("phase") else ""
    what = Text(f"trial {number}{phase}, {since}: {words.configuration(configuration, brief=True)}")
    expected = expectation(why)
    return Group(what, Text(f"why: {expected}", style="dim")) if expected else what


def _memory(picture: Picture, standing: Mapping[str, Any]) -> Iterator[tuple[str, RenderableType]]:
    limits = picture.scene.limits
    rows = (
        ("card", standing.get("device_bytes"), limits.device_bytes, limits.device_fraction),
        ("host", standing.get("host_bytes"), limits.host_bytes, limits.host_fraction),
    )
    # on the CPU the host is the card
    for place, used, size, fraction in rows[limits.device_bytes == limits.host_bytes :]:
        if size:
            text = f"{(used or 0) / GIB:.1f} of {size / GIB:.1f} GiB, safe to {size * fraction / GIB:.1f}"
            yield place, _bar((used or 0) / size, text, "red" if (used or 0) > size * fraction else "green")


def _bar(share: float, text: str, style: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column()
    grid.add_row(ProgressBar(total=1.0, completed=min(1.0, share), width=_BAR_WIDTH, complete_style=style), Text(text))
    return grid
