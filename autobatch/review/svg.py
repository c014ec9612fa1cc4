"""Draws a figure as SVG: text in it is sized for a phone, colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from autobatch.review.figure import Figure, Level, Series

HUES = 6
"""Colours that the style sheet has: classes `h0` to `h5`, and `n` for neutral."""

_WIDTH, _HEIGHT = 400.0, 278.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 10.0, 26.0, 40.0
_TICKS = 5
_SIZE = 4.0
_LABEL_GAP = 11.0

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Axis:
    """One axis: from data to pixels, with its ticks in data units."""

    scale: Scale
    ticks: tuple[float, ...]


def draw(figure: Figure) -> str:
    """Return an `<svg>` element."""
    x, y = _axes(figure)
    title = escape(figure.title)
    body = [*_frame(figure, x, y), *_levels(figure.levels, x, y)]
    for series in figure.series:
        body += _series(series, x.scale, y.scale)
    head = f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{title}">'
    return "\n".join([head, *body, "</svg>"])


def legend(figure: Figure) -> str:
    """Return the legend as HTML, which wraps where SVG would not."""
    entries = {series.name: _key(series) for series in figure.series if series.name and series.points}
    items = "".join(f"<li>{mark}{escape(name)}</li>" for name, mark in entries.items())
    return f'<ul class="legend">{items}</ul>'


def _key(series: Series) -> str:
    shape = "".join(_series(Series("", ((8.0, 8.0),), series.mark, series.hue), float, float))
    if series.mark in {"line", "dashes", "steps"}:
        shape = f'<path class="{series.mark} {_hue(series)}" d="M1 8H15"/>'
    return f'<svg class="key" viewBox="0 0 16 16" aria-hidden="true">{shape}</svg>'


def _axes(figure: Figure) -> tuple[Axis, Axis]:
    xs = [x for series in figure.series for x, _ in series.points]
    ys = [y for series in figure.series for _, y in series.points]
    xs += [level.value for level in figure.levels if level.axis == "x"]
    ys += [level.value for level in figure.levels if level.axis == "y"]
    pixels = (_LEFT, _WIDTH - _RIGHT), (_HEIGHT - _BOTTOM, _TOP)
    smallest = 1.0 if figure.x_scale == "whole" else 0.0
    x = _log(xs, *pixels[0]) if figure.x_scale == "log2" else _linear(xs, *pixels[0], smallest)
    return x, _linear(ys, *pixels[1])


def _linear(values: Sequence[float], start: float, end: float, smallest: float = 0.0) -> Axis:
    high = max(values, default=0.0) or 1.0
    step = max(_nice(high / _TICKS), smallest)
    top = step * math.ceil(high / step + 0.2)
    ticks = tuple(step * n for n in range(round(top / step) + 1))
    return Axis(lambda value: start + (end - start) * value / top, ticks)


def _log(values: Sequence[float], start: float, end: float) -> Axis:
    logs = [math.log2(value) for value in values if value > 0] or [0.0]
    low = math.floor(min(logs)) - 0.3
    high = max(math.ceil(max(logs)), low + 1) + 0.3
    every = max(1, math.ceil((high - low) / 10))
    ticks = tuple(2.0**n for n in range(math.ceil(low), math.floor(high) + 1, every))
    return Axis(lambda value: start + (end - start) * (math.log2(max(value, 2**low)) - low) / (high - low), ticks)


def _nice(rough: float) -> float:
    """Return the next step of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * 0.999)


def _frame(figure: Figure, x: Axis, y: Axis) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for tick in y.ticks:
        at = y.scale(tick)
        yield f'<path class="grid" d="M{_LEFT:.1f} {at:.1f}H{right:.1f}"/>'
        yield _text("tick", _LEFT - 5, at + 4, f"{tick:,.4g}", "end")
    for tick in x.ticks:
        at = x.scale(tick)
        yield f'<path class="grid" d="M{at:.1f} {bottom:.1f}v4"/>'
        yield _text("tick", at, bottom + 16, f"{tick:,.4g}", "middle")
    middle = (_LEFT + right) / 2
    yield _text("name", middle, _HEIGHT - 6, figure.x_label, "middle")
    yield _text("name", 2, 11, figure.y_label)


def _levels(levels: Sequence[Level], x: Axis, y: Axis) -> Iterator[str]:
    for index, level in enumerate(levels):
        if level.axis == "y":
            at = y.scale(level.value)
            yield f'<path class="level" d="M{_LEFT:.1f} {at:.1f}H{_WIDTH - _RIGHT:.1f}"/>'
            yield _text("level-name", _LEFT + 4, at - 3, level.name)
        else:
            at = x.scale(level.value)
            yield f'<path class="level" d="M{at:.1f} {_TOP:.1f}V{_HEIGHT - _BOTTOM:.1f}"/>'
            height = _HEIGHT - _BOTTOM - 6 - index * _LABEL_GAP
            yield _text("level-name", at - 3, height, level.name, "end")


def _text(style: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _series(series: Series, x: Scale, y: Scale) -> Iterator[str]:
    pixels = [(x(a), y(b)) for a, b in series.points]
    if series.mark in {"line", "dashes", "steps"}:
        if pixels:
            yield f'<path class="{series.mark} {_hue(series)}" d="{_path(pixels, steps=series.mark == "steps")}"/>'
        return
    notes = series.notes or ("",) * len(pixels)
    for (at_x, at_y), note in zip(pixels, notes, strict=True):
        hint = f"<title>{escape(note)}</title>" if note else ""
        outline = _CROSS if series.mark == "crosses" else _SHAPES[series.hue % len(_SHAPES)]
        style = f"{'cross' if series.mark == 'crosses' else 'point'} {_hue(series)}"
        yield f'<path class="{style}" transform="translate({at_x:.1f} {at_y:.1f})" d="{outline}">{hint}</path>'


def _path(pixels: Sequence[tuple[float, float]], *, steps: bool) -> str:
    first, *rest = pixels
    parts = [f"M{first[0]:.1f} {first[1]:.1f}"]
    parts += [f"H{a:.1f}V{b:.1f}" if steps else f"L{a:.1f} {b:.1f}" for a, b in rest]
    return "".join(parts)


def _hue(series: Series) -> str:
    return "n" if series.hue < 0 else f"h{series.hue % HUES}"


_S = _SIZE
_CROSS = f"M{-_S} {-_S}L{_S} {_S}M{-_S} {_S}L{_S} {-_S}"
_SHAPES = (
    f"M{-_S} 0A{_S} {_S} 0 1 0 {_S} 0A{_S} {_S} 0 1 0 {-_S} 0Z",
    f"M{-_S} {-_S}H{_S}V{_S}H{-_S}Z",
    f"M0 {-1.2 * _S}L{1.1 * _S} {_S}H{-1.1 * _S}Z",
    f"M0 {-1.3 * _S}L{1.3 * _S} 0L0 {1.3 * _S}L{-1.3 * _S} 0Z",
    f"M0 {1.2 * _S}L{1.1 * _S} {-_S}H{-1.1 * _S}Z",
    f"M{-_S} {-_S / 3}H{_S}V{_S / 3}H{-_S}Z",
)
"""A shape a hue, so that they are told apart without colour."""
