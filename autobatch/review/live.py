"""The live view of a search: a panel in a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TextIO, cast

from rich.console import RenderableType
from rich.live import Live

from autobatch.review import terminal, words
from autobatch.review.panel import StandingPanel
from autobatch.review.picture import Picture, Scene, expectation
from autobatch.settings import Configuration
from autobatch.verdict import Verdict

_REFRESHES_PER_S = 4


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
        return StandingPanel(self.picture)


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
