"""The panel of the live view: a search at a glance, in as many lines as the terminal has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autobatch.review import words
from autobatch.review.picture import Picture, expectation
from autobatch.units import GIB, format_duration

_BAR_WIDTH = 24
_NARROW = 64
"""Columns below which there is no room for bars beside their figures."""
_LEAST = 5
"""Highest rank of a row."""


@dataclass(frozen=True)
class _Row:
    name: str
    content: RenderableType
    rank: int = 0
    """Where lines are scarce, rows of the highest rank are left out first, those of rank 0 never."""

    def cut(self, options: ConsoleOptions) -> _Row:
        """Return the row as one line; a bar is one already."""
        if not isinstance(self.content, Text):
            return self
        line = self.content.copy()
        line.no_wrap, line.overflow = True, "crop" if options.ascii_only else "ellipsis"
        return replace(self, content=line)


class StandingPanel:
    """A picture of a search for rich to draw; it is put together anew for each size of the terminal."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw every row whole; where that is too high, those that matter less as one line each, or not at all."""
        rows = list(_rows(self._picture, bars=options.max_width >= _NARROW))
        for kept, whole in ((_LEAST, _LEAST), *((rank, 0) for rank in range(_LEAST, -1, -1)), (0, -1)):
            shown = [row if row.rank <= whole else row.cut(options) for row in rows if row.rank <= kept]
            panel = self._panel(shown)
            if len(console.render_lines(panel, options, pad=False)) <= options.max_height:
                break
        yield panel

    def _panel(self, rows: Sequence[_Row]) -> Panel:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(ratio=1)
        for row in rows:
            grid.add_row(Text(row.name), row.content)
        title = Text(words.one_line(f"autobatch search {self._picture.scene.model}"))
        return Panel(grid, title=title, title_align="left")


def _rows(picture: Picture, *, bars: bool) -> Iterator[_Row]:
    yield _budget(picture, bars=bars)
    standing = picture.standing()
    yield from _probe(picture, standing)
    yield from _memory(picture, standing, bars=bars)
    yield _Row("best", Text(picture.best_line, style="green"))
    if picture.left_to_gain is not None:
        left = f"{words.percent(picture.left_to_gain, 1)} over the best, as far as the models can tell"
        yield _Row("to gain", Text(left), 3)
    counts = picture.counts
    yield _Row("so far", Text(f"{counts['ok']} ran, {counts['failed']} failed, stage {picture.stage}"), 2)
    for index, line in enumerate(reversed(picture.last)):
        yield _Row("", Text(line, style="dim"), _LEAST) if index else _Row("last", Text(line), 3)
    for index, note in enumerate(reversed(picture.notes)):
        yield _Row("", Text(note), _LEAST) if index else _Row("note", Text(note), 4)


def _budget(picture: Picture, *, bars: bool) -> _Row:
    left, budget = picture.left_s, picture.scene.budget_s
    if left is None or not budget:
        return _Row("budget", Text(f"{format_duration(picture.elapsed_s)} so far, no limit"))
    text = f"{format_duration(left)} left of {format_duration(budget)}"
    return _Row("budget", _bar(picture.elapsed_s / budget, text, "cyan", bars=bars))


def _probe(picture: Picture, standing: Mapping[str, Any]) -> Iterator[_Row]:
    if picture.running is None:
        yield _Row("probe", Text("none: choosing the next", style="dim"))
        return
    number, configuration, why = picture.running
    since = format_duration(picture.clock() - picture.running_since)
    phase = f", {standing['phase']}" if standing.get("phase") else ""
    yield _Row("probe", Text(f"trial {number}{phase}, {since}: {words.configuration(configuration, brief=True)}"))
    if expected := expectation(why):
        yield _Row("", Text(f"why: {expected}", style="dim"), 4)


def _memory(picture: Picture, standing: Mapping[str, Any], *, bars: bool) -> Iterator[_Row]:
    limits = picture.scene.limits
    rows = (
        ("card", standing.get("device_bytes"), limits.device_bytes, limits.device_fraction),
        ("host", standing.get("host_bytes"), limits.host_bytes, limits.host_fraction),
    )
    # on the CPU the host is the card
    for place, used, size, fraction in rows[limits.device_bytes == limits.host_bytes :]:
        if size:
            text = f"{(used or 0) / GIB:.1f} of {size / GIB:.1f} GiB, safe to {size * fraction / GIB:.1f}"
            style = "red" if (used or 0) > size * fraction else "green"
            yield _Row(place, _bar((used or 0) / size, text, style, bars=bars), 1)


def _bar(share: float, text: str, style: str, *, bars: bool) -> RenderableType:
    if not bars:
        return Text(text)
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column()
    grid.add_row(ProgressBar(total=1.0, completed=min(1.0, share), width=_BAR_WIDTH, complete_style=style), Text(text))
    return grid
