"""A figure as plain data: the report draws it as SVG, the dashboard as Plotly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mark = Literal["points", "line", "dashes", "crosses", "steps"]


@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Attributes:
        name: for the legend; empty keeps it out of there.
        points: (x, y) in the units of the axes.
        mark: how they are drawn; `crosses` are failures.
        hue: which colour and marker of the palette; -1 is neutral.
        notes: one tooltip a point, or none at all.

    """

    name: str
    points: tuple[tuple[float, float], ...]
    mark: Mark
    hue: int = -1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Level:
    """A line across the whole figure, such as the card's limit."""

    name: str
    value: float
    axis: Literal["x", "y"] = "y"


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        key: its name in HTML and in the dashboard: letters, digits, hyphens.
        title, x_label, y_label: units included.
        caption: one or two sentences: what to see in it.
        x_scale: `log2` for x by powers of two, `whole` for counts.

    """

    key: str
    title: str
    x_label: str
    y_label: str
    caption: str
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    x_scale: Literal["linear", "log2", "whole"] = "linear"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(series.points for series in self.series)
