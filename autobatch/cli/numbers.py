"""Numbers on the command line."""

from __future__ import annotations

import math

import click

from autobatch.job.request import FREE


class Finite(click.FloatRange):
    """A number in a range; `nan`, which is in every range, and `inf` are none."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail."""
        number: float = super().convert(value, param, ctx)  # type: ignore[arg-type]  # click gives text
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class EffectiveBatch(click.IntRange):
    """A whole number from 1, or `free`."""

    name = "integer or 'free'"

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, `FREE`, or fail."""
        return FREE if value == "free" else super().convert(value, param, ctx)  # type: ignore[arg-type]  # as above
