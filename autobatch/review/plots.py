"""The same figures for Plotly, as the dashboard shows them."""

from __future__ import annotations

from typing import Any

from plotly import graph_objects

from autobatch.review.figure import Figure, Series

_COLORS = ("#0b6e4f", "#0072b2", "#d55e00", "#8a3fa0", "#b8860b", "#c2417c")
_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "line-ew-open")
_NEUTRAL, _BAD = "#6b7683", "#b3261e"
_DASHES = {"dashes": "dot", "line": "solid", "steps": "solid"}


def plot(figure: Figure) -> graph_objects.Figure:
    """Return the figure for Plotly."""
    made = graph_objects.Figure([_trace(series) for series in figure.series if series.points])
    axis: dict[str, Any] = {"title": {"text": figure.x_label}}
    if figure.x_scale == "log2":
        ticks = sorted({x for series in figure.series if series.mark not in _DASHES for x, _ in series.points})
        axis |= {"type": "log", "tickvals": ticks, "ticktext": [f"{x:g}" for x in ticks]}
    if figure.x_scale == "whole":
        axis |= {"dtick": 1}
    for level in figure.levels:
        line = made.add_hline if level.axis == "y" else made.add_vline
        line(
            level.value,
            line={"color": _BAD, "dash": "dash", "width": 1},
            annotation_text=level.name,
            annotation_position="top left",
        )
    made.update_layout(
        title={"text": figure.title},
        xaxis=axis,
        yaxis={"title": {"text": figure.y_label}, "rangemode": "tozero"},
        legend={"orientation": "h", "y": -0.25},
        template="none",
    )
    return made


def _trace(series: Series) -> graph_objects.Scatter:
    xs, ys = zip(*series.points, strict=True)
    color = _NEUTRAL if series.hue < 0 else _COLORS[series.hue % len(_COLORS)]
    look: dict[str, Any]
    if series.mark in _DASHES:
        shape = "hv" if series.mark == "steps" else "linear"
        look = {"mode": "lines", "line": {"color": color, "dash": _DASHES[series.mark], "shape": shape}}
    else:
        crosses = series.mark == "crosses"
        symbol = "x" if crosses else _SYMBOLS[series.hue % len(_SYMBOLS)]
        look = {
            "mode": "markers",
            "marker": {"color": _BAD if crosses else color, "symbol": symbol, "size": 9},
            "cliponaxis": False,
        }
    named = {"name": series.name, "showlegend": bool(series.name)}
    # tooltips are HTML to Plotly; what stands in angle brackets must not act
    notes = [note.replace("<", "&lt;") for note in series.notes] or None
    return graph_objects.Scatter(
        x=xs, y=ys, text=notes, hovertemplate="%{text}<extra></extra>" if notes else None, **named, **look
    )
